"""Every public operation once: what the store holds before, what is called, what has to come of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from greenlang_async_storage import BatchReport, MultipartUpload, S3Error, S3NotFoundError, UploadItem
from tests.faults._table_scene import OLD, RIVAL, SMALL, Scenario, Stage, State, Thing, all_alike, large


def _holds(key: str = "key", data: bytes = OLD, **more: Any) -> Callable[[int], State]:
    return lambda _: {key: Thing(data, **more)}


def _holds_large(key: str = "key", **more: Any) -> Callable[[int], State]:
    return lambda part: {key: Thing(large(part), **more)}


_OPTIONS: Final[Mapping[str, Any]] = {"metadata": {"origin": "new"}, "tags": {"a": "1"}}
_WRITTEN: Final[Mapping[str, Any]] = {"metadata": {"origin": "new"}, "tags": {"a": "1"}}


async def _none(work: Awaitable[object]) -> None:
    """Do it; what a write tells of itself is compared with the store instead."""
    await work


def _put(data: Callable[[Stage], bytes], **more: Any) -> Callable[[Stage], Awaitable[object]]:
    return lambda s: _none(s.lake.upload_bytes("key", data(s), timeout=s.timeout, **_OPTIONS, **more))


async def _swap(s: Stage) -> None:
    await s.lake.upload_bytes("key", SMALL, if_match=s.etags["key"], timeout=s.timeout, **_OPTIONS)


async def _file(s: Stage) -> None:
    await s.lake.upload_file("key", s.folder / "source", part_size=s.part, timeout=s.timeout, **_OPTIONS)


def _streamed(data: Callable[[Stage], bytes], **more: Any) -> Callable[[Stage], Awaitable[object]]:
    async def pieces(whole: bytes, size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(whole), size):
            yield whole[start : start + size]

    return lambda s: _none(
        s.lake.upload_stream(
            "key",
            pieces(data(s), s.part // 2 + 1),
            part_size=s.part,
            timeout=s.timeout,
            **_OPTIONS,
            **more,
        )
    )


async def _read(s: Stage) -> bytes:
    return await s.lake.download_bytes("key", timeout=s.timeout)


async def _read_range(s: Stage) -> bytes:
    return await s.lake.download_bytes("key", range=(100, 900), timeout=s.timeout)


async def _read_missing(s: Stage) -> bool:
    try:
        await s.lake.download_bytes("key", timeout=s.timeout)
    except S3NotFoundError:
        return False
    return True


async def _iterate(s: Stage) -> bytes:
    async with s.lake.open_download("key") as body:
        return b"".join([chunk async for chunk in body])


async def _to_file(s: Stage) -> None:
    await s.lake.download_file("key", s.folder / "target", part_size=s.part, timeout=s.timeout)


async def _head(s: Stage) -> int:
    return (await s.lake.head("key", timeout=s.timeout)).size


async def _list(s: Stage) -> list[str]:
    return [found.key async for found in s.lake.list_objects("list/", page_size=2)]


async def _list_versions(s: Stage) -> list[str]:
    return [found.key async for found in s.lake.list_versions("list/")]


async def _list_prefixes(s: Stage) -> list[str]:
    return [found async for found in s.lake.list_prefixes()]


def _listed(_: int) -> State:
    return {f"list/{number}": Thing(SMALL) for number in range(5)}


_LISTED: Final = [f"list/{number}" for number in range(5)]


def _moved(_s: Scenario, _result: object, error: S3Error | None) -> Iterator[tuple[str, S3Error | None]]:
    """What fails after the copy says in a note that it was made; before the delete nothing was touched."""
    copied = error is not None and any("was made" in note for note in getattr(error, "__notes__", ()))
    yield "key", None if copied else error
    if error is not None and not copied and error.outcome == "not_applied":
        error = S3Error("not begun", outcome="not_applied")
    yield "source", error


def _of_batch(
    scenario: Scenario, result: object, error: S3Error | None
) -> Iterator[tuple[str, S3Error | None]]:
    """What the report says of each; where the batch as a whole failed, its error is that of all."""
    if not isinstance(result, BatchReport):
        yield from all_alike(scenario, result, error)
        return
    for outcome in [*result.succeeded, *result.failed]:
        yield outcome.key, outcome.error


_BATCH: Final = ("one", "two", "three")


async def _upload_many(s: Stage) -> object:
    items = [UploadItem(key, SMALL + key.encode(), **_OPTIONS) for key in _BATCH]
    return await s.lake.upload_many(items, concurrency=2, timeout=s.timeout)


async def _download_many(s: Stage) -> object:
    return await s.lake.download_many(_BATCH, s.folder, concurrency=2, timeout=s.timeout)


async def _delete_many(s: Stage) -> object:
    return await s.lake.delete_many(_BATCH, timeout=s.timeout)


def _batch(**more: Any) -> Callable[[int], State]:
    return lambda _: {key: Thing(SMALL + key.encode(), **more) for key in _BATCH}


def _opened(s: Stage) -> MultipartUpload:
    assert s.upload is not None
    return s.upload


async def _create(s: Stage) -> None:
    upload = await s.lake.create_multipart("key", timeout=s.timeout)
    s.upload = upload


async def _numbers(s: Stage) -> list[int]:
    return [part.number for part in await s.lake.list_parts(_opened(s), timeout=s.timeout)]


async def _complete(s: Stage) -> None:
    await s.lake.complete_multipart(_opened(s), s.parts, timeout=s.timeout)


async def _abort(s: Stage) -> None:
    await s.lake.abort_multipart(_opened(s), timeout=s.timeout)


async def _sweep(s: Stage) -> int:
    found = await s.lake.abort_stale_uploads(older_than=timedelta(0), timeout=s.timeout)
    for stale in found:
        if stale.error is not None:
            raise stale.error
    return len(found)


def _writes() -> Iterator[Scenario]:
    small = _holds(data=SMALL, **_WRITTEN)
    whole = _holds_large(**_WRITTEN)
    yield Scenario("upload_bytes", _put(lambda _: SMALL), _holds(), small)
    yield Scenario("upload_bytes, create only", _put(lambda _: SMALL, if_none_match=True), after=small)
    yield Scenario("upload_bytes, if_match", _swap, _holds(), small)
    yield Scenario("upload_bytes, in parts", _put(lambda s: s.large), _holds(), whole)
    yield Scenario(
        "upload_bytes, in parts, create only", _put(lambda s: s.large, if_none_match=True), after=whole
    )
    yield Scenario("upload_file", _file, _holds(), small, files=lambda _: {"source": (SMALL, SMALL)})
    yield Scenario(
        "upload_file, in parts",
        _file,
        _holds(),
        whole,
        files=lambda part: {"source": (large(part), large(part))},
    )
    yield Scenario("upload_stream", _streamed(lambda _: SMALL), _holds(), small)
    yield Scenario("upload_stream, in parts", _streamed(lambda s: s.large), _holds(), whole)
    yield Scenario("upload_many", _upload_many, after=_batch(**_WRITTEN), truth=_of_batch, key=None)


def _reads() -> Iterator[Scenario]:
    small, whole = _holds(data=SMALL), _holds_large()
    rival = lambda _: RIVAL  # noqa: E731
    large_rival = lambda part: large(part, b"liar")[::-1]  # noqa: E731
    yield Scenario("download_bytes", _read, small, gives=lambda _: SMALL, rival=rival, rival_gives=rival)
    yield Scenario(
        "download_bytes, range",
        _read_range,
        small,
        gives=lambda _: SMALL[100:900],
        rival=rival,
        rival_gives=lambda _: RIVAL[100:900],
        checked=False,
    )
    yield Scenario("download_bytes, missing", _read_missing, gives=lambda _: False)
    yield Scenario(
        "open_download",
        _iterate,
        whole,
        gives=large,
        rival=large_rival,
        rival_gives=large_rival,
        restarts=False,
        timed=False,
    )
    yield Scenario("download_file", _to_file, small, files=lambda _: {"target": (OLD, SMALL)}, rival=rival)
    yield Scenario(
        "download_file, in ranges",
        _to_file,
        whole,
        files=lambda part: {"target": (OLD, large(part))},
        rival=large_rival,
    )
    yield Scenario(
        "download_many",
        _download_many,
        _batch(),
        files=lambda _: {key: (None, SMALL + key.encode()) for key in _BATCH},
        truth=_of_batch,
        key=None,
    )
    yield Scenario("head", _head, small, gives=lambda _: len(SMALL))
    yield Scenario(
        "exists",
        lambda s: s.lake.exists("key", timeout=s.timeout),
        small,
        gives=lambda _: True,
        missing=False,
    )
    yield Scenario(
        "exists, missing", lambda s: s.lake.exists("key", timeout=s.timeout), gives=lambda _: False
    )
    yield Scenario(
        "get_tags",
        lambda s: s.lake.get_tags("key", timeout=s.timeout),
        _holds(tags={"a": "1"}),
        gives=lambda _: {"a": "1"},
    )
    yield Scenario("list_objects", _list, _listed, gives=lambda _: _LISTED, key=None, timed=False)
    yield Scenario(
        "list_versions",
        _list_versions,
        _listed,
        gives=lambda _: _LISTED,
        key=None,
        timed=False,
        versioning=True,
    )
    yield Scenario("list_prefixes", _list_prefixes, _listed, gives=lambda _: ["list/"], key=None, timed=False)


def _changes() -> Iterator[Scenario]:
    def copy(s: Stage) -> Awaitable[None]:
        return _none(s.lake.copy("source", "key", timeout=s.timeout))

    def move(s: Stage) -> Awaitable[None]:
        return _none(s.lake.move("source", "key", timeout=s.timeout))

    tagged: Mapping[str, Any] = {"tags": {"a": "1"}}
    yield Scenario("copy", copy, _holds("source", SMALL, **tagged), _holds("key", SMALL, **tagged), key=None)
    yield Scenario("copy, in parts", copy, _holds_large("source", **tagged), _holds_large(**tagged), key=None)
    yield Scenario(
        "move",
        move,
        _holds("source", SMALL, **tagged),
        lambda _: {"key": Thing(SMALL, **tagged), "source": None},
        truth=_moved,
        believes=frozenset({"HeadObject", "DeleteObject"}),
        key=None,
    )
    yield Scenario(
        "delete", lambda s: s.lake.delete("key", timeout=s.timeout), _holds(), lambda _: {"key": None}
    )
    yield Scenario(
        "delete_many",
        _delete_many,
        _batch(),
        lambda _: dict.fromkeys(_BATCH),
        truth=_of_batch,
        key=None,
    )
    yield Scenario(
        "set_tags",
        lambda s: s.lake.set_tags("key", {"b": "2"}, timeout=s.timeout),
        _holds(tags={"a": "1"}),
        _holds(tags={"b": "2"}),
    )


def _primitives() -> Iterator[Scenario]:
    yield Scenario("create_multipart", _create, upload=False)
    yield Scenario("list_parts", _numbers, upload=True, gives=lambda _: [1, 2])
    yield Scenario("complete_multipart", _complete, _holds(), _holds_large(), upload=True)
    yield Scenario("abort_multipart", _abort, upload=True)
    yield Scenario("abort_stale_uploads", _sweep, upload=True, gives=lambda _: 1, key=None)


SCENARIOS: Final[Mapping[str, Scenario]] = {
    scenario.name: scenario for scenario in [*_writes(), *_reads(), *_changes(), *_primitives()]
}
