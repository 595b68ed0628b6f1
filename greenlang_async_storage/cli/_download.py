"""From a store to here: files, folders, standard output."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenlang_async_storage import Bucket, ByteRange, ObjectInfo, Outcome, StorageSession

from ._command import Command
from ._errors import CommandError, ExitCode, UsageError
from ._format import size_text
from ._removal import remove_unchanged
from ._streams import closing
from ._tally import Tally, default_width, for_each
from ._targets import Local, Remote, folder_of, glob_prefix, matcher, uri


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What `get`, `cp` and `mv` were asked for."""

    sources: Sequence[Remote]
    target: Local
    recursive: bool = False
    literal: bool = False
    remove: bool = False
    """Delete each object once it is here, if it is still the one that was read."""
    concurrency: int | None = None
    version_id: str | None = None
    resume: str | None = None
    require_checksum: bool = False


def is_many(source: Remote, *, recursive: bool, literal: bool) -> bool:
    """Whether *source* stands for many objects."""
    return recursive or (source.is_glob and not literal)


async def download(run: Command, session: StorageSession, plan: DownloadPlan) -> ExitCode:
    """Fetch everything *plan* names; one failure never stops the rest."""
    many = any(is_many(each, recursive=plan.recursive, literal=plan.literal) for each in plan.sources)
    if plan.target.is_pipe:
        if many or plan.remove:
            raise UsageError("'-' (standard output) takes single objects: name each, or give a folder.")
        for source in plan.sources:
            await to_stdout(
                run, source.bucket(session), source.require_key("get"), version_id=plan.version_id
            )
        return ExitCode.OK
    if len(plan.sources) == 1 and not many:
        return await _one(run, session, plan, plan.sources[0])
    if plan.version_id or plan.resume:
        raise UsageError("--version-id and --resume are for one object; use `sync` to go on with a tree.")
    tally = Tally(run, "download", "moved" if plan.remove else "downloaded")
    with run.meter("download") as tally.meter:
        async with tally.meter.watch(session):
            for source in plan.sources:
                await _many(session, plan, source, tally)
    return await tally.finish(f"to {plan.target.path}")


async def to_stdout(
    run: Command,
    bucket: Bucket,
    key: str,
    *,
    range: ByteRange | None = None,
    version_id: str | None = None,
) -> None:
    """One object as it comes; a checksum that does not match is raised after the last byte."""
    async with bucket.open_download(key, range=range, version_id=version_id) as body:
        async for chunk in body:
            await run.out.write(chunk)


async def _one(run: Command, session: StorageSession, plan: DownloadPlan, source: Remote) -> ExitCode:
    bucket, key = source.bucket(session), source.require_key("get")
    path = await asyncio.to_thread(_path_for, plan.target.path, source.name)
    with run.meter(f"download {source.name}") as meter:
        info = await bucket.download_file(
            key,
            path,
            concurrency=plan.concurrency,
            on_progress=meter.hook,
            resume=plan.resume,
            version_id=plan.version_id,
            verify="require" if plan.require_checksum else "if-available",
        )
    if plan.remove:
        await remove_unchanged(bucket, info)
    await _fetched(Tally(run, "download", ""), bucket, info, path)
    if not run.options.quiet:
        verb = "moved" if plan.remove else "downloaded"
        await run.text(f"{verb} {size_text(info.size)} to {path}{'' if info.verified else ' (not verified)'}")
    return ExitCode.OK


def _path_for(target: str, name: str) -> Path:
    if not (target.endswith(("/", os.sep)) or os.path.isdir(target)):  # noqa: PTH112
        return Path(target)
    if name in {"", ".", ".."}:
        raise UsageError(f"{name!r} cannot be a file name: give the whole path to write to.")
    return Path(target) / name


async def _many(session: StorageSession, plan: DownloadPlan, source: Remote, tally: Tally) -> None:
    """All of one source, its folders below the target; never outside of it."""
    base, wanted = base_and_keys(session, source, recursive=plan.recursive, literal=plan.literal)
    directory = Path(plan.target.path)
    before = tally.count + tally.codes.total()

    async def finish(outcome: Outcome[ObjectInfo]) -> None:
        if outcome.result is None:
            assert outcome.error is not None  # noqa: S101  # an outcome has a result or an error
            await tally.failed(outcome.error, uri=uri(base, outcome.key))
            return
        try:
            if plan.remove:
                await remove_unchanged(base, outcome.result)
        except Exception as error:  # noqa: BLE001  # it is this object's outcome
            await tally.failed(error, uri=uri(base, outcome.key))
            return
        await _fetched(tally, base, outcome.result, directory / outcome.key)

    async with base.stream_downloads(wanted, directory, concurrency=plan.concurrency) as outcomes:
        width = default_width(session, plan.concurrency) if plan.remove else 1
        await for_each(outcomes, finish, width=width)
    if tally.count + tally.codes.total() == before:
        if len(plan.sources) == 1:
            raise nothing_there(source.bucket(session), source.key)
        await tally.failed(nothing_there(source.bucket(session), source.key))


def base_and_keys(
    session: StorageSession, source: Remote, *, recursive: bool, literal: bool
) -> tuple[Bucket, AsyncIterator[str]]:
    """
    The folder *source* is about, as a view that cannot be left, and the keys meant, relative to it.

    `a/b` and `a/b/` with --recursive are the folder `a/b/`; of `a/b/*.csv` the folder is `a/b/`.
    """
    bucket = source.bucket(session)
    if source.is_glob and not literal:
        folder = folder_of(glob_prefix(source.key))
        base = bucket.scoped(folder) if folder else bucket
        return base, _keys(base, source.key.removeprefix(folder), recursive=recursive)
    if not recursive:
        folder = folder_of(source.require_key("get"))
        return (bucket.scoped(folder) if folder else bucket), _single(source.name)
    base = bucket if source.key == "" else bucket.scoped(source.key)
    return base, _keys(base, None, recursive=True)


async def _single(key: str) -> AsyncIterator[str]:
    yield key


async def _keys(base: Bucket, pattern: str | None, *, recursive: bool) -> AsyncIterator[str]:
    """Keys that match, without the markers some programs make for folders."""
    matches = matcher(pattern) if pattern is not None else None
    below = matcher(f"{pattern}/**") if pattern is not None and recursive else None
    async with closing(base.list_objects(glob_prefix(pattern or ""))) as found:
        async for item in found:
            meant = matches is None or matches(item.key) or (below is not None and below(item.key))
            if meant and not item.key.endswith("/"):
                yield item.key


def nothing_there(bucket: Bucket, key: str) -> CommandError:
    """Why a pattern or folder came to nothing."""
    return CommandError(
        f"no object matches {uri(bucket, key)}: check the place with `greenlang-storage ls`.",
        ExitCode.NOT_FOUND,
    )


async def _fetched(tally: Tally, bucket: Bucket, info: ObjectInfo, path: Path) -> None:
    await tally.done(
        bucket=bucket.name,
        key=bucket.prefix + info.key,
        uri=uri(bucket, info.key),
        path=str(path),
        size=info.size,
        etag=info.etag,
        version_id=info.version_id,
        verified=info.verified,
    )
