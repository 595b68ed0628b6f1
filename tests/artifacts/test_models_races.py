"""Many saves of one version, saves that are cut off, and readers that look on meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    S3ConnectionError,
    S3Error,
    S3NotFoundError,
    S3PreconditionFailedError,
    StorageSession,
    StorageSettings,
)
from greenlang_async_storage.artifacts import ModelManifest, ModelStore
from greenlang_async_storage.artifacts._manifest import MAX_RESERVATION, manifest_bytes, reservation_bytes
from greenlang_async_storage.artifacts._publishing import Publication
from tests.support.faulty import FaultyClient, lose_request

KEYS = ["metrics.json", "model.bin", "manifest.json"]
ON_MINIO = pytest.mark.parametrize("server", ["minio"], indirect=True)
"""moto looks first and stores later: two of its threads may both find what they expect."""


@pytest.fixture
def settings(settings: StorageSettings) -> StorageSettings:
    """One attempt for each request, so that a fault is a failure."""
    return settings.model_copy(update={"max_attempts": 1, "retry_mode": "none"})


@pytest.fixture
def store(lake: Bucket) -> ModelStore:
    """Models of the application `common`."""
    return ModelStore(lake)


def put_of(name: str, faults: FaultyClient) -> None:
    """Lose the request that stores the file *name*."""

    async def fault(call: Any, arguments: dict[str, Any]) -> Any:
        if arguments["Key"].endswith(name):
            return await lose_request(call, arguments)
        return await call(**arguments)

    faults.always["put_object"] = fault


@ON_MINIO
@pytest.mark.asyncio
async def test_one_of_many_saves_wins(store: ModelStore) -> None:
    """Ten rounds of eight racers: one version each, whole, and a clear error for the others."""
    for round_ in range(10):
        name = f"m{round_}"
        # Every other round all have the same metrics, so that they race for the model itself.
        saves = [
            store.save(name, "1", f"model {number}".encode(), {"n": number if round_ % 2 else 0})
            for number in range(8)
        ]
        found = await asyncio.gather(*saves, return_exceptions=True)
        [winner] = [one for one in found if isinstance(one, ModelManifest)]
        lost = [one for one in found if not isinstance(one, ModelManifest)]
        assert all(isinstance(one, S3PreconditionFailedError) for one in lost), lost
        number = found.index(winner)
        assert await store.load(name) == f"model {number}".encode()
        assert await store.metrics(name) == {"n": number if round_ % 2 else 0}


@ON_MINIO
@pytest.mark.asyncio
async def test_racing_formats_leave_one_version(store: ModelStore) -> None:
    """Data under two extensions: the manifest decides which is the version."""
    found = await asyncio.gather(
        store.save("m", "1", b"onnx", format="onnx"),
        store.save("m", "1", b"bin", format="bin"),
        return_exceptions=True,
    )
    [winner] = [one for one in found if isinstance(one, ModelManifest)]
    assert await store.load("m") == winner.format.encode()


@pytest.mark.asyncio
@pytest.mark.parametrize("cut", KEYS)
async def test_a_save_that_was_cut_off_is_invisible_and_goes_on(
    store: ModelStore, lake: Bucket, cut: str
) -> None:
    """Whichever file was the last: nothing is visible, and the same save called again finishes."""
    faults = FaultyClient.install(lake)
    put_of(cut, faults)
    with pytest.raises(S3ConnectionError):
        await store.save("m", "1", b"weights", {"a": 1})
    faults.always.clear()
    assert await store.versions("m") == await store.versions("m", allow_legacy=True) == []
    with pytest.raises(S3NotFoundError):
        await store.load("m", "1", allow_legacy=True)
    saved = await store.save("m", "1", b"weights", {"a": 1})
    assert await store.manifest("m") == saved
    assert await store.load("m") == b"weights"


@pytest.mark.asyncio
@pytest.mark.parametrize("cut", KEYS)
async def test_another_model_takes_over_when_told(store: ModelStore, lake: Bucket, cut: str) -> None:
    """Left-overs of another model are replaced only by `take_over=True`; twice cut off is no obstacle."""
    faults = FaultyClient.install(lake)
    put_of(cut, faults)
    with pytest.raises(S3ConnectionError):
        await store.save("m", "1", b"old weights", {"a": 1})
    with pytest.raises(S3ConnectionError):
        await store.save("m", "1", b"weights in between", {"a": 3}, take_over=True)
    faults.always.clear()
    with pytest.raises(S3PreconditionFailedError, match="take_over=True"):
        await store.save("m", "1", b"new weights", {"a": 2})
    assert await store.versions("m") == []
    await store.save("m", "1", b"new weights", {"a": 2}, take_over=True)
    assert await store.versions("m") == ["1"]
    assert await store.load("m") == b"new weights"
    assert await store.metrics("m") == {"a": 2}


@pytest.mark.asyncio
@pytest.mark.parametrize("pause", KEYS)
async def test_a_save_taken_for_dead_cannot_finish(
    store: ModelStore, lake: Bucket, settings: StorageSettings, pause: str
) -> None:
    """It goes on after another took over: it fails, and the other's version stays whole."""
    faults = FaultyClient.install(lake)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(call: Any, arguments: dict[str, Any]) -> Any:
        if arguments["Key"].endswith(pause):
            reached.set()
            await go_on.wait()
        return await call(**arguments)

    faults.always["put_object"] = hold
    slow = asyncio.create_task(store.save("m", "1", b"slow", {"who": "slow"}))
    await reached.wait()
    async with StorageSession(settings) as other:
        winner = ModelStore(other.data_lake)
        saved = await winner.save("m", "1", b"quick", {"who": "quick"}, take_over=True)
        go_on.set()
        with pytest.raises(S3PreconditionFailedError):
            await slow
        assert await winner.manifest("m") == saved
        assert await winner.load("m") == b"quick"
        assert await winner.metrics("m") == {"who": "quick"}


@ON_MINIO
@pytest.mark.asyncio
async def test_of_many_that_take_over_one_wins(store: ModelStore, lake: Bucket) -> None:
    """All of them race for what a dead save left."""
    faults = FaultyClient.install(lake)
    put_of("manifest.json", faults)
    with pytest.raises(S3ConnectionError):
        await store.save("m", "1", b"dead", {})
    faults.always.clear()
    saves = [store.save("m", "1", f"{number}".encode(), {"n": number}, take_over=True) for number in range(6)]
    found = await asyncio.gather(*saves, return_exceptions=True)
    winners = [one for one in found if isinstance(one, ModelManifest)]
    assert len(winners) <= 1
    assert all(isinstance(one, S3PreconditionFailedError | ModelManifest) for one in found), found
    if not winners:  # all were overtaken by others: nothing is visible, and one more gets through
        assert await store.versions("m") == []
        winners = [await store.save("m", "1", b"last", {"n": 6}, take_over=True)]
    assert await store.manifest("m") == winners[0]
    number = (await store.metrics("m"))["n"]
    assert await store.load("m") == (b"last" if number == 6 else f"{number}".encode())


@pytest.mark.asyncio
async def test_who_was_overtaken_writes_nothing_more(
    store: ModelStore, lake: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A take-over that lost its reservation leaves the files of the one that has it alone."""
    faults = FaultyClient.install(lake)
    put_of("manifest.json", faults)
    with pytest.raises(S3ConnectionError):
        await store.save("m", "1", b"dead", {})
    faults.always.clear()
    replace, placed, overtaken = Publication._replace, asyncio.Event(), asyncio.Event()
    order: list[Publication] = []

    async def in_turn(self: Publication, key: str, *arguments: Any) -> Any:
        if self not in order:
            order.append(self)
        if key.endswith("metrics.json"):
            if self is order[0]:
                await placed.wait()
                try:
                    return await replace(self, key, *arguments)
                finally:
                    overtaken.set()
            done = await replace(self, key, *arguments)
            placed.set()
            return done
        await overtaken.wait()
        return await replace(self, key, *arguments)

    monkeypatch.setattr(Publication, "_replace", in_turn)
    first = asyncio.create_task(store.save("m", "1", b"first", {"n": 1}, take_over=True))
    while not order:  # noqa: ASYNC110  # until it has its reservation
        await asyncio.sleep(0.01)
    await store.save("m", "1", b"second", {"n": 2}, take_over=True)
    with pytest.raises(S3PreconditionFailedError):
        await first
    assert await store.metrics("m") == {"n": 2}
    assert await store.load("m") == b"second"


@pytest.mark.asyncio
async def test_readers_never_see_half_a_version(store: ModelStore) -> None:
    """Whoever reads while versions are saved finds each of them whole or not at all."""
    seen: set[str] = set()
    done, all_seen = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            for version in await store.versions("m"):
                assert await store.load("m", version) == version.encode() * 1000
                assert await store.metrics("m", version) == {"v": version}
                seen.add(version)
            if len(seen) == 12:
                all_seen.set()

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for number in range(12):
        await store.save("m", str(number), str(number).encode() * 1000, {"v": str(number)})
    await all_seen.wait()
    done.set()
    await asyncio.gather(*readers)


@pytest.mark.asyncio
@pytest.mark.parametrize("moment", range(1, 60, 7))
async def test_a_cancelled_save_leaves_nothing_visible(store: ModelStore, moment: int) -> None:
    """Cancelled after any number of steps: the version is whole, or absent and saved by the next call."""
    task = asyncio.create_task(store.save("m", "1", {"weights": [1]}, {"a": 1}))
    for _ in range(moment):
        await asyncio.sleep(0)
    task.cancel()
    cancelled = False
    try:
        await task
    except asyncio.CancelledError:
        cancelled = True
    visible = await store.versions("m")
    assert visible == ["1"] or cancelled
    if not visible:
        await store.save("m", "1", {"weights": [1]}, {"a": 1})
    assert await store.load("m", trust=True) == {"weights": [1]}


@ON_MINIO
@pytest.mark.asyncio
async def test_two_promotions_at_once_do_not_overwrite_each_other(store: ModelStore) -> None:
    """One of them wins, the others are told; the stage stands for the winner's version."""
    for version in "123":
        await store.save("m", version, b"")
    await store.promote("m", "1")
    found = await asyncio.gather(
        *(store.promote("m", version, expected="1") for version in "23"), return_exceptions=True
    )
    [winner] = [one for one in found if not isinstance(one, BaseException)]
    assert all(isinstance(one, S3Error) for one in found if one is not winner)
    assert (await store.stage("m")).version == winner.version


def test_a_listing_tells_reservations_from_manifests() -> None:
    """By size: the longest reservation is shorter than the shortest manifest."""
    shortest = ModelManifest("b", "a", "n", "1", "p", "", None, None, 0, "0" * 64, "0" * 64)
    assert len(reservation_bytes("f" * 32)) < MAX_RESERVATION < len(manifest_bytes(shortest))
