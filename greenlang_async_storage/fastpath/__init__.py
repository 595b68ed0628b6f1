"""
aioboto3's S3 client at a fraction of its CPU: compiled calls and an HTTP/1.1 transport behind the same
methods.
"""

from greenlang_async_storage.fastpath._enable import enable, is_enabled
from greenlang_async_storage.fastpath._payload import Payload
from greenlang_async_storage.fastpath._statistics import Statistics, statistics

__all__ = ["Payload", "Statistics", "enable", "is_enabled", "statistics"]
