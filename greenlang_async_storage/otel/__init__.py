"""
OpenTelemetry spans around a bucket's calls: `lake = traced(session.data_lake)`.

Needs the extra `[otel]`. A bucket that is not wrapped pays nothing.
"""

from __future__ import annotations

from ._traced import traced

__all__ = ["traced"]
