"""`rm`, `stale-uploads` and the question before something is deleted for good."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import typer

from greenlang_async_storage import Bucket, ObjectInfo, S3AccessDeniedError, S3NotFoundError, StorageSession

from ._arguments import Literal, Recursive, VersionId, Yes, complete_place
from ._command import Command, command
from ._download import nothing_there
from ._errors import CommandError, ExitCode, UsageError
from ._format import count_text, parse_age, seconds_text, size_text, time_text
from ._streams import closing, stdin_pieces
from ._tally import Tally
from ._targets import Remote, glob_prefix, matcher, remote, uri

_BATCH: Final = 10_000
"""Keys per `delete_many`, whose report holds an outcome for each."""


def register(app: typer.Typer) -> None:
    """Add the commands that delete."""
    command(app, "rm")(rm)
    stale = typer.Typer(help="Find and abort uploads that were never finished.", no_args_is_help=True)
    command(stale, "list")(stale_list)
    command(stale, "abort")(stale_abort)
    app.add_typer(stale, name="stale-uploads")


@dataclass(frozen=True, slots=True)
class _Found:
    """What would be deleted."""

    count: int = 0
    size: int = 0
    newest: datetime | None = None


async def rm(
    run: Command,
    *,
    targets: Annotated[
        list[str],
        typer.Argument(
            help="Objects, folders (with -r), or globs such as 'temp:run-7/*.tmp'.",
            autocompletion=complete_place,
        ),
    ],
    recursive: Recursive = False,
    literal: Literal = False,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be deleted.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="A missing object is no failure.")] = False,
    version_id: VersionId = None,
) -> ExitCode | None:
    """
    Delete objects.

    Folders and globs are counted and confirmed first; what is written after the question stays. Without a
    terminal they need --yes. --json: JSON lines, one per object, then a summary.
    """
    wanted = [remote(text) for text in targets]
    tally = Tally(run, "delete", "would delete" if dry_run else "deleted")
    async with run.session() as session:
        for target in wanted:
            if recursive or (target.is_glob and not literal):
                await _many(run, session, target, tally, yes=yes, dry_run=dry_run, literal=literal)
                continue
            try:
                await _one(session, target, tally, version_id, dry_run=dry_run, force=force)
            except (S3NotFoundError, S3AccessDeniedError) as error:
                await tally.failed(error, uri=target.text)
    return await tally.finish()


async def _one(
    session: StorageSession,
    target: Remote,
    tally: Tally,
    version_id: str | None,
    *,
    dry_run: bool,
    force: bool,
) -> None:
    """S3 deletes what is not there without a word: a mistyped key must not look deleted."""
    bucket = target.bucket(session)
    key = target.key if target.key and target.key.endswith("/") else target.require_key("rm")
    if not force and version_id is None:
        with suppress(S3AccessDeniedError):  # a role may be allowed to delete and not to read
            await bucket.head(key)
    if not dry_run:
        await bucket.delete(key, version_id=version_id)
    await tally.done(bucket=bucket.name, key=key, uri=uri(bucket, key), version_id=version_id)


async def _many(
    run: Command,
    session: StorageSession,
    target: Remote,
    tally: Tally,
    *,
    yes: bool,
    dry_run: bool,
    literal: bool,
) -> None:
    bucket = target.bucket(session)
    newest: datetime | None = None
    if not (yes or dry_run):
        found = await _counted(_meant(bucket, target, literal=literal))
        if not found.count:
            raise nothing_there(bucket, target.key)
        what = f"{count_text(found.count, 'object')} ({size_text(found.size)}) at {uri(bucket, target.key)}"
        await confirm(run, f"Delete {what}?")
        newest = found.newest
    before = tally.count + tally.codes.total()
    with run.meter("delete") as tally.meter:
        async with closing(_meant(bucket, target, literal=literal)) as items:
            while batch := await _taken(items, newest):
                await _delete(bucket, batch, tally, dry_run=dry_run)
    tally.meter = None
    if tally.count + tally.codes.total() == before:
        raise nothing_there(bucket, target.key)


async def _taken(items: AsyncIterator[ObjectInfo], newest: datetime | None) -> list[ObjectInfo]:
    """The next few thousand, without what is newer than what was asked about."""
    batch: list[ObjectInfo] = []
    async for item in items:
        if newest is None or item.last_modified is None or item.last_modified <= newest:
            batch.append(item)
            if len(batch) == _BATCH:
                break
    return batch


async def _delete(bucket: Bucket, batch: list[ObjectInfo], tally: Tally, *, dry_run: bool) -> None:
    sizes = {item.key: item.size for item in batch}
    if dry_run:
        for item in batch:
            await tally.done(bucket=bucket.name, key=item.key, uri=uri(bucket, item.key), size=item.size)
        return
    report = await bucket.delete_many([item.key for item in batch])
    for outcome in report.succeeded:
        key = outcome.key
        await tally.done(bucket=bucket.name, key=key, uri=uri(bucket, key), size=sizes[key])
    for outcome in report.failed:
        if outcome.error is not None:
            await tally.failed(outcome.error, uri=uri(bucket, outcome.key))


async def _meant(bucket: Bucket, target: Remote, *, literal: bool) -> AsyncIterator[ObjectInfo]:
    """The objects a folder or glob stands for; `a/b` is the folder `a/b/`, never `a/bc`."""
    if target.is_glob and not literal:
        prefix, matches = glob_prefix(target.key), matcher(target.key)
    else:
        prefix = target.key if target.is_folder else f"{target.key}/"
        matches = lambda _key: True  # noqa: E731
    async with closing(bucket.list_objects(prefix)) as found:
        async for item in found:
            if matches(item.key):
                yield item


async def _counted(items: AsyncIterator[ObjectInfo]) -> _Found:
    count = size = 0
    newest: datetime | None = None
    async with closing(items) as found:
        async for item in found:
            count += 1
            size += item.size
            if item.last_modified is not None and (newest is None or item.last_modified > newest):
                newest = item.last_modified
    return _Found(count, size, newest)


async def confirm(run: Command, question: str) -> None:
    """Ask on the terminal; raise unless the answer is yes, or where nobody can be asked."""
    if sys.stdin is None or not sys.stdin.isatty() or run.as_json:
        raise UsageError(f"{question} Nobody can be asked here: add --yes.")
    await run.out.flush()
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = b""
    async with closing(stdin_pieces()) as pieces:
        async for piece in pieces:
            answer = piece
            break
    if answer.strip().lower() not in {b"y", b"yes"}:
        raise CommandError("nothing was deleted.")


_OlderThan = Annotated[
    str, typer.Option("--older-than", metavar="TIME", help="Begun at least this long ago: 90s, 15m, 24h, 7d.")
]
_StalePlace = Annotated[
    str, typer.Argument(help="s3://bucket/prefix or data-lake:prefix.", autocompletion=complete_place)
]


async def stale_list(run: Command, *, target: _StalePlace, older_than: _OlderThan = "24h") -> ExitCode | None:
    """
    List uploads that were begun and neither finished nor aborted: their parts are stored, and billed.

    --json: JSON lines, one per upload (uri, upload_id, initiated).
    """
    return await _stale(run, target, older_than, dry_run=True)


async def stale_abort(
    run: Command, *, target: _StalePlace, older_than: _OlderThan = "24h", yes: Yes = False
) -> ExitCode | None:
    """
    Abort such uploads and free their parts.

    Keep --older-than above the longest upload that may be running. --json: JSON lines, one per upload
    (aborted, error).
    """
    age = parse_age(older_than, "--older-than")
    if not yes:
        await confirm(
            run, f"Abort all uploads in {target} begun over {seconds_text(age.total_seconds())} ago?"
        )
    return await _stale(run, target, older_than, dry_run=False)


async def _stale(run: Command, text: str, older_than: str, *, dry_run: bool) -> ExitCode | None:
    target, age = remote(text), parse_age(older_than, "--older-than")
    code: ExitCode | None = None
    async with run.session() as session:
        bucket = target.bucket(session)
        found = await bucket.abort_stale_uploads(target.key, older_than=age, dry_run=dry_run)
    for upload in found:
        record = {
            "uri": uri(bucket, upload.key),
            "upload_id": upload.upload_id,
            "initiated": upload.initiated,
            "aborted": upload.aborted,
            "error": upload.error,
        }
        await run.record(record)
        await run.text(f"{time_text(upload.initiated)}  {uri(bucket, upload.key)}")
        if upload.error is not None and not run.as_json:
            code = run.failed(upload.error)
        elif upload.error is not None:
            code = ExitCode.FAILURE
    await run.out.flush()
    run.note(f"{count_text(len(found), 'upload')} {'found' if dry_run else 'aborted'}")
    return code
