"""An object as a local file: parallel, pinned to one version, verified, and put in place in one step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, cast, get_args

from ._checksums import CRCS, Crc, RangeCrc, encode
from ._concurrency import ProgressReporter
from ._conditions import version_args
from ._connection import Connection
from ._download_parts import Parts
from ._errors import S3IntegrityError, S3InvalidRequestError, S3ObjectChangedError
from ._info import object_info
from ._local_files import (
    check_path,
    check_target,
    in_thread,
    local_errors,
    make_parent,
    partial_path,
    run_local,
    write_file,
)
from ._partial_file import RESUMABLE, Journal, PartialFile, Source
from ._ranges import Pin, RangeReader, once_more, open_reader
from ._settings import MAX_PART_SIZE, MAX_POOL_CONNECTIONS
from ._types import ObjectInfo, ProgressHook, StrPath, Verify
from ._verify import Verifier

T = TypeVar("T")

JOURNAL_CRC: Final[Crc] = "CRC64NVME"
"""Of a journal's parts where the object itself has no CRC over its whole."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What was asked for, checked."""

    bucket: str
    key: str
    version_id: str | None
    target: Path
    journal: Path | None
    part_size: int
    concurrency: int
    durable: bool
    verify: Verify
    at: int | None


async def download_file(
    conn: Connection,
    bucket: str,
    key: str,
    path: StrPath,
    *,
    part_size: int | None = None,
    concurrency: int | None = None,
    on_progress: ProgressHook | None = None,
    resume: StrPath | None = None,
    durable: bool = True,
    verify: Verify = "if-available",
    version_id: str | None = None,
    at: int | None = None,
) -> ObjectInfo:
    """
    The object as a file at *path*: the old file or the whole new one, never a part of it.

    The first reply brings the object from its start; with more than two parts of *part_size* bytes, up to
    *concurrency* - 1 further connections fetch ranges from its end, held to the same version. Memory: at most
    4 MiB, and *part_size* bytes, per connection. The bytes go to a temporary file beside *path* (0600), are
    verified and, with *durable*, synced to disk before the rename; the new file has the permissions of the
    one it replaces. A link at *path* is replaced, not followed. Missing directories are made. *at* is the
    descriptor of the directory of *path* for callers who hold it open: what stands at the names before the
    last is not looked at then. It does not go with *resume*.

    A failure or cancel removes the temporary file; a cancel that comes during the rename may leave the whole
    new file. With *resume*, the path of a small journal, the temporary file stays instead, and the next call
    with that journal fetches only what is missing of the same version; both go away on success.

    Raises `S3LocalFileError` for what the disk refuses, `S3IntegrityError` for damaged bytes (after one more
    try) and, with `verify="require"`, for objects without a usable checksum, `S3ObjectChangedError` when the
    object was replaced twice while it was read.
    """
    request = _Request(
        bucket=bucket,
        key=key,
        version_id=version_id,
        target=check_path(path),
        journal=None if resume is None else check_path(resume),
        part_size=_bounded("part_size", part_size, conn.settings.part_size, MAX_PART_SIZE),
        concurrency=_bounded(
            "concurrency", concurrency, conn.settings.transfer_concurrency, MAX_POOL_CONNECTIONS
        ),
        durable=durable,
        verify=verify,
        at=at,
    )
    if verify not in get_args(Verify):
        raise S3InvalidRequestError(
            f"verify is {verify!r}", remedy=f"Pass one of {', '.join(get_args(Verify))}."
        )
    if request.journal == request.target:
        raise S3InvalidRequestError(
            f"resume and path are both {str(request.target)!r}", remedy="Give the journal its own file."
        )
    async with AsyncExitStack() as stack:
        progress = _Progress(stack, on_progress, key)
        return await once_more(conn, lambda: _Attempt(conn, request, progress).run())


class _Progress:
    """One reporter for all attempts, made when the size is known."""

    def __init__(self, stack: AsyncExitStack, hook: ProgressHook | None, key: str) -> None:
        self._stack = stack
        self._hook = hook
        self._key = key
        self._reporter: ProgressReporter | None = None

    async def start(self, total: int) -> None:
        """Begin, or begin again, at no bytes."""
        if self._reporter is None:
            reporter = ProgressReporter(self._hook, total=total, key=self._key)
            self._reporter = await self._stack.enter_async_context(reporter)
        else:
            self._reporter.restart(total)

    def add(self, count: int) -> None:
        """Count bytes that are in the file."""
        if self._reporter is not None:
            self._reporter.add(count)


class _Attempt:
    """One try to bring the object home."""

    def __init__(self, conn: Connection, request: _Request, progress: _Progress) -> None:
        self._conn = conn
        self._request = request
        self._progress = progress

    async def run(self) -> ObjectInfo:
        """The object, once it is a file."""
        request = self._request
        if request.journal is not None:
            saved = await self._local("read", request.journal, partial(Journal.read, request.journal))
            if saved is not None and (info := await self._unchanged(saved)) is not None:
                await self._progress.start(info.size)
                return await self._large(info, None, saved)
        conn, bucket, key, version_id = self._conn, request.bucket, request.key, request.version_id
        info, reader = await open_reader(conn, bucket, key, version_id=version_id)
        try:
            self._insist(Verifier(conn, reader.pin, info.checksum), verified=info.checksum is not None)
            await self._progress.start(info.size)
            if info.size <= request.part_size:
                return await self._small(info, reader)
            return await self._large(info, reader, None)
        finally:
            reader.close()

    async def _unchanged(self, saved: Journal) -> ObjectInfo | None:
        """The object as it is now, when the journal is about exactly that; `None` when it is out of date."""
        request, source = self._request, saved.source
        head = await self._conn.call(
            "HeadObject",
            lambda s3: s3.head_object(
                Bucket=request.bucket,
                Key=request.key,
                ChecksumMode="ENABLED",
                **version_args(request.version_id),
                **self._conn.owner,
            ),
            bucket=request.bucket,
            key=request.key,
        )
        info = object_info(request.key, head)
        now = (request.bucket, request.key, info.etag, info.size)
        if now != (source.bucket, source.key, source.etag, source.size) or source.algorithm not in CRCS:
            self._conn.log.info("storage.download_not_resumed", bucket=request.bucket, key=request.key)
            return None
        return info

    async def _small(self, info: ObjectInfo, reader: RangeReader) -> ObjectInfo:
        """One reply, one trip to a thread."""
        request = self._request
        data = await reader.read()
        reader.close()
        verifier = Verifier(self._conn, reader.pin, info.checksum)
        verified = await verifier.data(data)
        self._insist(verifier, verified=verified)

        def store() -> None:
            check_target(request.target, request.at)
            if request.at is None:
                make_parent(request.target, durable=request.durable)
            write_file(request.target, data, durable=request.durable, at=request.at)
            if request.journal is not None:
                partial_path(request.target, RESUMABLE).unlink(missing_ok=True)
                request.journal.unlink(missing_ok=True)

        await self._local("write", request.target, store)
        self._progress.add(len(data))
        return replace(info, verified=verified)

    async def _large(self, info: ObjectInfo, reader: RangeReader | None, saved: Journal | None) -> ObjectInfo:
        """Parts into a partial file, which is put in place at the end or left out of sight."""
        request, conn = self._request, self._conn
        pin = reader.pin if reader else self._pin(info)
        file = PartialFile(request.target, keep=request.journal is not None, at=request.at)
        journal = saved or self._new_journal(info)
        try:
            await self._local("write", file.target, partial(file.open, info.size, durable=request.durable))
            parts = Parts(
                conn,
                pin,
                file,
                part_size=journal.source.part_size if journal else request.part_size,
                algorithm=journal.source.algorithm if journal else _whole_crc(info),
                journal=journal,
                on_bytes=self._progress.add,
            )
            await parts.keep_saved()
            await parts.fetch(reader, request.concurrency)
            verified = await self._verified(Verifier(conn, pin, info.checksum), file, parts.crcs)
            await self._local("write", file.target, partial(file.commit, durable=request.durable))
        except BaseException as exc:
            useless = isinstance(exc, S3IntegrityError | S3ObjectChangedError)
            put_away = partial(_put_away, file, journal, remove=useless)
            await conn.clean_up("download_file", lambda: in_thread(put_away))
            raise
        if journal is not None:
            await self._local("remove", journal.path, partial(journal.close, remove=True))
        return replace(info, verified=verified)

    async def _verified(self, verifier: Verifier, file: PartialFile, crcs: RangeCrc | None) -> bool:
        """Whether the file was compared with a checksum; raises when it differs, or has none and must."""
        checksum = verifier.checksum
        if checksum is None:
            verified = False
        elif crcs is not None and checksum.type == "FULL_OBJECT" and crcs.algorithm == checksum.algorithm:
            verifier.demand(matches=encode(crcs.algorithm, crcs.value(verifier.pin.size)) == checksum.value)
            verified = True
        else:
            where = {"operation": "GetObject", "bucket": verifier.pin.bucket, "key": verifier.pin.key}
            with local_errors("read", file.target, **where):
                verified = await verifier.file(file.read)
        self._insist(verifier, verified=verified)
        return verified

    def _insist(self, verifier: Verifier, *, verified: bool) -> None:
        if self._request.verify == "require" and not verified:
            raise verifier.missing()

    def _pin(self, info: ObjectInfo) -> Pin:
        request = self._request
        return Pin(request.bucket, request.key, info.etag, info.size, request.version_id, info.version_id)

    def _new_journal(self, info: ObjectInfo) -> Journal | None:
        request = self._request
        if request.journal is None:
            return None
        algorithm = _whole_crc(info) or JOURNAL_CRC
        source = Source(request.bucket, request.key, info.etag, info.size, request.part_size, algorithm)
        return Journal(request.journal, source)

    async def _local(self, doing: str, path: Path, function: Callable[[], T]) -> T:
        request = self._request
        return await run_local(
            doing, path, function, operation="GetObject", bucket=request.bucket, key=request.key
        )


def _put_away(file: PartialFile, journal: Journal | None, *, remove: bool) -> None:
    """After a failure: nothing stays but what a later call can go on with."""
    try:
        file.close(discard=remove)
    finally:
        if journal is not None:
            journal.close(remove=remove)


def _whole_crc(info: ObjectInfo) -> Crc | None:
    """The algorithm of a stored checksum that the CRCs of parts combine to."""
    checksum = info.checksum
    if checksum is None or checksum.type != "FULL_OBJECT" or checksum.algorithm not in CRCS:
        return None
    return cast("Crc", checksum.algorithm)


def _bounded(name: str, value: int | None, default: int, most: int) -> int:
    """*value*, else *default*; `S3InvalidRequestError` unless it is an int from 1 to *most*."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not 1 <= value <= most:
        raise S3InvalidRequestError(
            f"{name} is {value}", remedy=f"Pass 1 to {most}, or leave it out for {default}."
        )
    return value
