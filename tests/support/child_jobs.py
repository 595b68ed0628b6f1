"""What children do before they are killed: calls of the SDK as a program makes them."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import resource
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from greenlang_async_storage import (
    Bucket,
    S3Error,
    S3LocalFileError,
    StorageSession,
    StorageSettings,
    UploadItem,
    _local_files,
    _partial_file,
)
from greenlang_async_storage._uploads import _journal
from tests.support.children import Tell

MIB: Final = 1024 * 1024
Kind: TypeAlias = Literal["file", "stream", "journal", "many", "fetch", "fetch-journal", "fetch-many"]
Moment: TypeAlias = Literal["before", "after"]


async def warm_up() -> None:
    """Open a session once, so that botocore's models are read before the forks."""
    settings = StorageSettings(
        endpoint_url="http://127.0.0.1:1", region="us-east-1", access_key_id="a", secret_access_key="b"
    )
    async with StorageSession(settings):
        pass


def content(seed: int, size: int) -> bytes:
    """Always the same bytes for one *seed*."""
    return random.Random(seed).randbytes(size)


async def stream(data: bytes) -> AsyncIterator[bytes]:
    """*data* as a producer gives it."""
    for start in range(0, len(data), MIB):
        yield data[start : start + MIB]


async def transfer(
    tell: Tell,
    settings: dict[str, Any],
    kind: Kind,
    places: dict[str, str],
    *,
    options: dict[str, Any] | None = None,
    watched: bool = False,
    lingers: bool = False,
) -> None:
    """
    One transfer of *kind* between keys and local paths (*places*); with *lingers* the process stays after it.

    Tells "done" or the fields of the `S3Error` it ended with, and, when *watched*, the bytes done so far.
    """
    options = dict(options or {})
    if watched:
        options["on_progress"] = lambda at: tell(at.done)
    async with StorageSession(StorageSettings(**settings)) as session:
        try:
            await carry(session.data_lake, kind, places, options)
        except S3Error as error:
            tell(facts(error))
        else:
            tell("done")
        if lingers:
            await asyncio.Event().wait()


async def carry(lake: Bucket, kind: Kind, places: dict[str, str], options: dict[str, Any]) -> None:
    """The call itself."""
    [(key, path), *_] = places.items()
    if kind == "file":
        await lake.upload_file(key, path, **options)
    elif kind == "journal":
        await lake.upload_file(key, path, resume=f"{path}.journal", **options)
    elif kind == "stream":
        data = await asyncio.to_thread(Path(path).read_bytes)
        await lake.upload_stream(key, stream(data), **options)
    elif kind == "many":
        items = [UploadItem(name, Path(source)) for name, source in places.items()]
        (await lake.upload_many(items, **options)).raise_for_errors()
    elif kind == "fetch":
        await lake.download_file(key, path, **options)
    elif kind == "fetch-journal":
        await lake.download_file(key, path, resume=f"{path}.journal", **options)
    else:
        (await lake.download_many(list(places), Path(path).parent, **options)).raise_for_errors()


async def dies_at_rename(tell: Tell, moment: Moment, **arguments: Any) -> None:
    """`transfer`, whose process kills itself right before or after it puts the finished file in place."""
    replace = os.replace

    def replace_and_die(*places: Any, **at: Any) -> None:
        if moment == "after":
            replace(*places, **at)
        os.kill(os.getpid(), signal.SIGKILL)

    _local_files.os.replace = replace_and_die  # type: ignore[attr-defined]
    await transfer(tell, **arguments)


Refusal: TypeAlias = Literal["file-size", "descriptors", "full-disk", "read-only"]
NOBODY: Final = 65534


async def refused(
    tell: Tell,
    how: Refusal,
    settings: dict[str, Any],
    kind: Kind,
    places: dict[str, str],
    *,
    options: dict[str, Any] | None = None,
    limit: int = 0,
    warm: bool = True,
) -> None:
    """A call the operating system refuses *how*; tells as `transfer` does, and the slots still in use."""
    async with StorageSession(StorageSettings(**settings)) as session:
        lake = session.data_lake
        if warm:
            await lake.exists("warm")
        REFUSALS[how](limit)
        try:
            await carry(lake, kind, places, options or {})
        except S3Error as error:
            tell(facts(error))
        else:
            tell("done")
        tell(session.statistics().in_flight)


def facts(error: S3Error) -> dict[str, Any]:
    """What a test asks of an error, in JSON."""
    number = error.errno if isinstance(error, S3LocalFileError) else None
    return {
        "type": type(error).__name__,
        "errno": None if number is None else errno.errorcode[number],
        "text": str(error),
        "retryable": error.retryable,
    }


def _small_files(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _no_descriptor(_: int) -> None:
    """The next one would be the lowest free number, which is beyond the limit."""
    spare = os.open(os.devnull, os.O_RDONLY)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _full_disk(_: int) -> None:
    """New temporary files are the device that is always full; no space is set aside for them."""
    create = _local_files.create_private

    def create_full(target: Path, at: int | None = None) -> tuple[int, Path]:
        descriptor, path = create(target, at)
        full = os.open("/dev/full", os.O_RDWR)
        os.dup2(full, descriptor)
        os.close(full)
        return descriptor, path

    for module in (_local_files, _partial_file, _journal):
        module.create_private = create_full  # type: ignore[attr-defined]
    _partial_file.preallocate = lambda descriptor, size: None  # type: ignore[attr-defined]


def _no_rights(_: int) -> None:
    """Root may write anywhere: go on as a user who may not."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)


REFUSALS: Final[dict[Refusal, Callable[[int], None]]] = {
    "file-size": _small_files,
    "descriptors": _no_descriptor,
    "full-disk": _full_disk,
    "read-only": _no_rights,
}
