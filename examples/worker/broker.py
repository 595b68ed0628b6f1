"""The broker, and one storage session for each worker process."""

from __future__ import annotations

import os

from taskiq import AsyncBroker, InMemoryBroker, SimpleRetryMiddleware, TaskiqEvents, TaskiqState
from taskiq_redis import RedisAsyncResultBackend

from examples.worker.redis_stream import DurableStreamBroker
from greenlang_async_storage import (
    S3ConnectionError,
    S3ThrottlingError,
    S3TimeoutError,
    StorageSession,
    StorageSettings,
)

BUCKETS = {
    "data_lake_bucket": "greenlang-dev-us-east-1-data-lake-internal",
    "reports_bucket": "greenlang-dev-us-east-1-reports-internal",
}


def storage_settings() -> StorageSettings:
    """The environment's settings; buckets it does not name get a development name."""
    named = StorageSettings()
    missing = {field: name for field, name in BUCKETS.items() if getattr(named, field) is None}
    return named.model_copy(update=missing)


def new_broker(url: str | None) -> AsyncBroker:
    """A broker on the Redis at *url*; without one, in this process alone."""
    if url is None:
        # It would forget all but the last 100 verdicts.
        broker: AsyncBroker = InMemoryBroker(max_stored_results=-1)
    else:
        idle = int(os.environ.get("WORKER_IDLE_TIMEOUT_MS", "60000"))
        results = RedisAsyncResultBackend[object](url, result_ex_time=3600)
        broker = DurableStreamBroker(
            url, idle_timeout=idle, xread_block=min(idle, 1000), xread_count=10
        ).with_result_backend(results)
    # The SDK has tried three times before it gives up: this is for a store that is away for longer.
    transient = [S3ConnectionError, S3ThrottlingError, S3TimeoutError]
    return broker.with_middlewares(
        SimpleRetryMiddleware(default_retry_count=5, types_of_exceptions=transient)
    )


broker = new_broker(os.environ.get("REDIS_URL"))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_session(state: TaskiqState) -> None:
    """One session, so one connection pool, for all tasks of the process."""
    session = StorageSession(storage_settings())
    state.session = await session.__aenter__()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_session(state: TaskiqState) -> None:
    """Waits for what is in flight."""
    await state.session.aclose()
