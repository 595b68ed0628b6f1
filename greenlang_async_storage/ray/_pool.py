"""The driver's side: actors, and manifests given to them as fast as they are done and no faster."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

import anyio
import ray
import ray.exceptions

from greenlang_async_storage import Outcome, S3ConnectionError, S3InvalidRequestError, StorageSettings

from ._report import Finished, Tally
from ._worker import StorageWorker

T = TypeVar("T")
MANIFESTS_PER_ACTOR = 2
"""One being done and one waiting, so that no actor waits for the driver."""
CLOSE_TIMEOUT = 30.0


class Manifest:
    """Items for one call of a worker's method, and what tells them apart when the worker is lost for good."""

    __slots__ = ("arguments", "bucket", "keys", "method", "start")

    def __init__(self, method: str, start: int, bucket: str, keys: list[str], *arguments: object) -> None:
        self.method = method
        self.start = start
        self.bucket = bucket
        self.keys = keys
        self.arguments = arguments


async def connect(address: str | None) -> None:
    """Use the cluster at *address*, the one this process is connected to, or a new one on this machine."""
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    await asyncio.to_thread(
        functools.partial(ray.init, ignore_reinit_error=True, log_to_driver=False, **options)
    )


def check_count(name: str, value: int, limit: int) -> int:
    """*value*, when it is a number from 1 to *limit*."""
    if not 1 <= value <= limit:
        raise S3InvalidRequestError(
            f"{name}={value} is not within 1 to {limit}", remedy=f"Pass {name}=1 or more."
        )
    return value


class ActorPool(Generic[T]):
    """Actors for one batch; an async context manager that closes their sessions and ends them."""

    def __init__(
        self, settings: StorageSettings, actors: int | None, concurrency: int, restarts: int
    ) -> None:
        count = int(ray.cluster_resources().get("CPU", 1)) if actors is None else actors
        self._count = check_count("actors", max(count, 1) if actors is None else count, 10_000)
        # Ray does a method again when its actor died, on the actor that takes its place.
        actor = ray.remote(StorageWorker).options(
            num_cpus=1,
            max_restarts=restarts,
            max_task_retries=restarts,
            max_concurrency=MANIFESTS_PER_ACTOR + 1,
        )
        self._actors = [actor.remote(settings, concurrency) for _ in range(self._count)]
        self._begun: list[Any] = []

    async def __aenter__(self) -> ActorPool[T]:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                async with anyio.create_task_group() as closing:
                    for actor in self._begun:
                        closing.start_soon(_close, actor)
        finally:
            for actor in self._actors:
                ray.kill(actor)

    async def run(self, manifests: AsyncIterator[Manifest], tally: Tally[T]) -> None:
        """Have every manifest done; the input is read as fast as actors take it."""
        lock = asyncio.Lock()
        waiting: list[anyio.CancelScope] = []

        async def lane(actor: Any) -> None:  # noqa: ANN401  # Ray's handles have no types
            while True:
                async with lock:
                    manifest = await anext(manifests, None)
                if manifest is None:
                    return
                await tally.add(await _done(actor, manifest))

        async def begin(actor: Any) -> None:  # noqa: ANN401  # see lane
            with anyio.CancelScope() as wait:
                waiting.append(wait)
                # A full cluster has no room for it yet: a manifest given to it would wait as long.
                await actor.ready.remote()
            waiting.remove(wait)
            if wait.cancel_called:
                return
            self._begun.append(actor)
            async with anyio.create_task_group() as lanes:
                for _ in range(MANIFESTS_PER_ACTOR):
                    lanes.start_soon(lane, actor)
            # The input is at its end: who has not begun by now is not needed.
            for other in waiting:
                other.cancel()

        try:
            async with anyio.create_task_group() as beginning:
                for actor in self._actors:
                    beginning.start_soon(begin, actor)
        except BaseExceptionGroup as group:
            # What failed first; the others failed because the group was ending.
            failure: BaseException = group
            while isinstance(failure, BaseExceptionGroup):
                failure = failure.exceptions[0]
            raise failure from None


async def _done(actor: Any, manifest: Manifest) -> Finished[Any]:  # noqa: ANN401  # see lane
    method: Callable[..., Any] = getattr(actor, manifest.method).remote
    reference = method(manifest.start, *manifest.arguments)
    try:
        finished: Finished[Any] = await reference
    except ray.exceptions.RayActorError as error:
        return _lost(manifest, error)
    except BaseException:
        # The worker's own clean-up then ends what it began.
        ray.cancel(reference)
        raise
    return finished


def _lost(manifest: Manifest, cause: Exception) -> Finished[Any]:
    """The outcomes of items whose actor could not be replaced any more."""
    outcomes = []
    for index, key in enumerate(manifest.keys, manifest.start):
        error = S3ConnectionError(
            "the worker process that had this item died, and so did those that took its place",
            bucket=manifest.bucket,
            key=key,
            outcome="unknown",
            remedy="See the worker's log in Ray; raise restarts=, or give the actors more memory.",
        )
        error.__cause__ = cause
        outcomes.append(Outcome[Any](index, key, manifest.bucket, error=error))
    return Finished(outcomes, 0, "")


async def _close(actor: Any) -> None:  # noqa: ANN401  # see lane
    try:
        await actor.close.remote()
    except ray.exceptions.RayError:
        return  # it is dead already
