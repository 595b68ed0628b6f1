"""HTTP/1.1 for compiled and for ordinary calls of a client, and the errors it adds to botocore's."""

from greenlang_async_storage.fastpath.transport._errors import PoolTimeoutError, TruncatedBodyError
from greenlang_async_storage.fastpath.transport._pool import PoolStatistics
from greenlang_async_storage.fastpath.transport._raw import RawResponse
from greenlang_async_storage.fastpath.transport._session import HTTPSession

__all__ = ["HTTPSession", "PoolStatistics", "PoolTimeoutError", "RawResponse", "TruncatedBodyError"]
