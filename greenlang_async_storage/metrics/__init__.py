"""
A session's counters for Prometheus: `REGISTRY.register(StorageCollector(session))`.

Needs the extra `[metrics]`. Costs nothing but what a scrape reads.
"""

from __future__ import annotations

from ._collector import StorageCollector

__all__ = ["StorageCollector"]
