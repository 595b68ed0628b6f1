"""`StorageSession.statistics()` as Prometheus metric families."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from greenlang_async_storage import S3SessionClosedError, Statistics, StorageSession

_PREFIX: Final = "greenlang_storage"
_GAUGES: Final[Mapping[str, str]] = {
    "in_flight": "Requests and open bodies that hold a pool slot.",
    "pool_size": "Slots of the connection pool.",
    "pool_waiting": "Calls that wait for a slot.",
    "cleanups_pending": "Clean-ups of cancelled calls that still run.",
}
_COUNTERS: Final[Mapping[str, str]] = {
    "requests": "Calls made to the store.",
    "attempts": "Requests sent to the store, retries included.",
    "retries": "Attempts after the first of a call.",
    "throttles": "Replies that asked to slow down.",
    "errors": "Calls that failed for good.",
    "possible_orphans": "Multipart uploads not proved completed or aborted.",
}
_BYTES: Final[Mapping[str, str]] = {
    "sent": "Bytes of request bodies the store acknowledged.",
    "received": "Bytes of objects that were read.",
}


class StorageCollector(Collector):
    """
    The counters of one session, read when Prometheus scrapes; nothing runs between scrapes.

    *session* is a `StorageSession`, or a function that gives the current one or `None`, such as
    `lambda: getattr(app.state, "greenlang_storage", None)`. `greenlang_storage_up` is 1 while it is open or
    was opened; before that it is the only metric. *labels* are put on every one, for processes with more
    sessions. Counters start anew with each session: `rate()` knows such resets.
    """

    def __init__(
        self,
        session: StorageSession | Callable[[], StorageSession | None],
        *,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._session = session
        self._labels = dict(labels or {})

    def describe(self) -> Iterator[Metric]:
        """No families: registering must not need an open session."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every family with its present value."""
        found = self._statistics()
        yield self._gauge("up", "Whether the storage session was opened.", float(found is not None))
        if found is None:
            return
        for name, text in _GAUGES.items():
            yield self._gauge(name, text, getattr(found, name))
        for name, text in _COUNTERS.items():
            yield self._counter(name, text, getattr(found, name))
        for way, text in _BYTES.items():
            yield self._counter(f"{way}_bytes", text, getattr(found, f"bytes_{way}"))

    def _statistics(self) -> Statistics | None:
        session = self._session if isinstance(self._session, StorageSession) else self._session()
        if session is None:
            return None
        try:
            return session.statistics()
        except S3SessionClosedError:
            return None

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family
