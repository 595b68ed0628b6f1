"""From here to a store: files, folders, standard input."""

from __future__ import annotations

import asyncio
import glob
import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from greenlang_async_storage import (
    Bucket,
    S3LocalFileError,
    StorageSession,
    UploadItem,
    UploadResult,
    WriteOptions,
)

from ._command import Command
from ._errors import ExitCode, UsageError
from ._format import size_text
from ._streams import file_pieces, stdin_pieces
from ._tally import Tally
from ._targets import Local, Remote, uri

_LOOKED_UP: Final = 500
"""Files a thread finds per trip."""


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """What `put`, `cp` and `mv` were asked for."""

    sources: Sequence[Local]
    target: Remote
    options: WriteOptions = field(default_factory=WriteOptions)
    recursive: bool = False
    remove: bool = False
    """Delete each file once it is stored."""
    concurrency: int | None = None
    part_size: int | None = None
    resume: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A file to send."""

    path: Path
    key: str


async def upload(run: Command, session: StorageSession, plan: UploadPlan) -> ExitCode:
    """Send everything *plan* names; one failure never stops the rest."""
    bucket = plan.target.bucket(session)
    sources = await asyncio.to_thread(_expanded, plan.sources)
    if any(source.is_pipe for source in sources):
        if len(sources) > 1 or plan.recursive or plan.remove:
            raise UsageError("'-' (standard input) stands alone: one source, no --recursive, no mv.")
        return await _one(run, bucket, plan, sources[0])
    folders = [source for source in sources if await asyncio.to_thread(os.path.isdir, source.path)]
    if folders and not plan.recursive:
        raise UsageError(f"{folders[0].path!r} is a folder: add --recursive to send what is in it.")
    if len(sources) == 1 and not folders:
        return await _one(run, bucket, plan, sources[0])
    if not plan.target.is_folder and len(sources) > 1:
        raise UsageError(
            f"{plan.target.text!r} would be one object for {len(sources)} sources: end it with '/'."
        )
    return await _many(run, session, bucket, plan, sources)


async def _one(run: Command, bucket: Bucket, plan: UploadPlan, source: Local) -> ExitCode:
    name = Path(source.path).name
    key = plan.target.key
    if plan.target.is_folder:
        if source.is_pipe or not name:
            raise UsageError(f"{plan.target.text!r} names no object: give standard input a whole key.")
        key += name
    tally = Tally(run, "upload", "uploaded")
    with run.meter(f"upload {name or source.path}") as meter:
        if source.is_pipe or not await asyncio.to_thread(_is_plain, source.path):
            pieces = stdin_pieces() if source.is_pipe else file_pieces(source.path)
            result = await bucket.upload_stream(
                key,
                pieces,
                part_size=plan.part_size,
                concurrency=plan.concurrency,
                on_progress=meter.hook,
                **plan.options,
            )
        else:
            result = await bucket.upload_file(
                key,
                source.path,
                part_size=plan.part_size,
                concurrency=plan.concurrency,
                on_progress=meter.hook,
                resume=plan.resume,
                **plan.options,
            )
    if plan.remove:
        await asyncio.to_thread(os.unlink, source.path)
    await _stored(tally, bucket, source.path, result)
    what = f"{size_text(result.size)} to {uri(bucket, key)}"
    if not run.options.quiet:
        await run.text(f"{'moved' if plan.remove else 'uploaded'} {what}")
    return ExitCode.OK


async def _many(
    run: Command, session: StorageSession, bucket: Bucket, plan: UploadPlan, sources: Sequence[Local]
) -> ExitCode:
    if plan.resume or plan.options.get("if_match"):
        raise UsageError("--resume and --if-match are for one object; use `sync` to go on with a tree.")
    tally = Tally(run, "upload", "moved" if plan.remove else "uploaded")
    prefix = plan.target.key if plan.target.is_folder else f"{plan.target.key}/"
    sent: dict[int, Path] = {}

    async def items() -> AsyncIterator[UploadItem]:
        number = 0
        async for found in _found(run, tally, sources, prefix):
            sent[number] = found.path
            number += 1
            yield UploadItem(found.key, found.path, **plan.options)

    with run.meter("upload") as tally.meter:
        async with (
            tally.meter.watch(session),
            bucket.stream_uploads(items(), concurrency=plan.concurrency) as outcomes,
        ):
            async for outcome in outcomes:
                path = sent.pop(outcome.index)
                if outcome.result is None:
                    await tally.failed(_reason(outcome.error), source=str(path))
                    continue
                try:
                    if plan.remove:
                        await asyncio.to_thread(path.unlink, missing_ok=True)
                except OSError as error:  # stored, and still here too
                    await tally.failed(error, source=str(path))
                    continue
                await _stored(tally, bucket, str(path), outcome.result)
    if plan.remove:
        await asyncio.to_thread(_prune, sources)
    return await tally.finish(f"to {uri(bucket, prefix)}")


def _reason(error: BaseException | None) -> BaseException:
    assert error is not None  # noqa: S101  # an outcome has a result or an error
    return error


async def _stored(tally: Tally, bucket: Bucket, source: str, result: UploadResult) -> None:
    await tally.done(
        source=source,
        bucket=bucket.name,
        key=result.key,
        uri=uri(bucket, result.key),
        size=result.size,
        etag=result.etag,
        version_id=result.version_id,
    )


def _expanded(sources: Sequence[Local]) -> list[Local]:
    """Globs the shell left as they are (quoted, or on a shell without), unless a file has that very name."""
    found: list[Local] = []
    for source in sources:
        if source.is_pipe or not glob.has_magic(source.path) or os.path.lexists(source.path):
            found.append(source)
            continue
        names = sorted(glob.glob(source.path, recursive=True))  # noqa: PTH207  # a pattern, absolute or not
        if not names:
            raise S3LocalFileError(
                f"no file matches {source.path!r}", errno=2, remedy="Check the pattern and the folder."
            )
        found += [Local(name) for name in names]
    return found


def _is_plain(path: str) -> bool:
    """Whether it is a file, or nothing at all, which the upload itself will say better."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  # also /dev/stdin
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


async def _found(run: Command, tally: Tally, sources: Sequence[Local], prefix: str) -> AsyncIterator[Found]:
    """Every file below *sources*, looked up in a thread, some hundred at a time."""
    for source in sources:
        walk = _walk(source.path, prefix)
        while batch := await asyncio.to_thread(_take, walk):
            for entry in batch:
                if isinstance(entry, Found):
                    yield entry
                elif isinstance(entry, str):
                    run.note(entry)
                else:
                    await tally.failed(entry, source=str(entry.filename))


def _take(walk: Iterator[Found | str | OSError]) -> list[Found | str | OSError]:
    return [entry for _, entry in zip(range(_LOOKED_UP), walk, strict=False)]


def _walk(top: str, prefix: str) -> Iterator[Found | str | OSError]:
    """Files with their keys, notes on what is left out, and folders that cannot be read."""
    if not os.path.isdir(top):  # noqa: PTH112
        yield Found(Path(top), prefix + Path(top).name)
        return
    troubles: list[OSError] = []
    for folder, names, files in os.walk(top, onerror=troubles.append):
        yield from troubles
        troubles.clear()
        names.sort()
        for name in names:
            if (Path(folder) / name).is_symlink():
                yield f"left out: {Path(folder) / name} is a link to a folder"
        for name in sorted(files):
            path = Path(folder) / name
            if path.exists() and not path.is_file():
                yield f"left out: {path} is no plain file"
            else:
                yield Found(path, prefix + path.relative_to(top).as_posix())
    yield from troubles


def _prune(sources: Sequence[Local]) -> None:
    """Remove the folders a move has emptied."""
    for source in sources:
        for folder, _, _ in os.walk(source.path, topdown=False):
            try:
                os.rmdir(folder)  # noqa: PTH106
            except OSError:
                continue
