"""`sync`: a folder and a prefix, or two prefixes, made equal; goes on after a kill."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from greenlang_async_storage import StorageSession, WriteOptions

from ._arguments import (
    CacheControl,
    Concurrency,
    EncryptionChoice,
    Metadata,
    StorageClass,
    Tags,
    complete_place,
    write_options,
)
from ._command import Command, command
from ._errors import ExitCode, UsageError, common_code, exit_code, facts_of, text_of
from ._format import count_text, seconds_text, size_text
from ._targets import Local, Place, Remote, place

if TYPE_CHECKING:
    from greenlang_async_storage.ingest import IngestSummary, Plan, PlanCounts

_Side = Annotated[
    str, typer.Argument(help="A folder, or a place such as data-lake:bronze/.", autocompletion=complete_place)
]

_Include = Annotated[
    list[str] | None, typer.Option("--include", metavar="GLOB", help="Only these; again for more.")
]
_Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Not these; again for more.")
]
_Delete = Annotated[
    bool, typer.Option("--delete", help="Delete from the target what the source does not have.")
]
_MaxDeletes = Annotated[
    str | None,
    typer.Option(metavar="N|N%", help="Refuse to delete more, as a number or a share; 50% if not given."),
]
_AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty-source", help="Let an empty source empty the target.")
]
_Journal = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Remember what is done, so that a killed run goes on from there."),
]
_SizeOnly = Annotated[
    bool, typer.Option("--size-only", help="Files of equal size count as equal; else checksums decide.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be done.")]
_FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")]
_Follow = Annotated[bool, typer.Option("--follow-symlinks", help="Else links are left out.")]


def register(app: typer.Typer) -> None:
    """Add `sync`."""
    command(app, "sync")(sync)


async def sync(
    run: Command,
    *,
    source: _Side,
    target: _Side,
    include: _Include = None,
    exclude: _Exclude = None,
    delete: _Delete = False,
    max_deletes: _MaxDeletes = None,
    allow_empty_source: _AllowEmpty = False,
    dry_run: _DryRun = False,
    journal: _Journal = None,
    size_only: _SizeOnly = False,
    follow_symlinks: _Follow = False,
    fail_fast: _FailFast = False,
    concurrency: Concurrency = None,
    metadata: Metadata = None,
    tag: Tags = None,
    cache_control: CacheControl = None,
    storage_class: StorageClass = None,
    encryption: EncryptionChoice = None,
) -> ExitCode | None:
    """
    Make TARGET equal to SOURCE: send what is new or differs, by size and checksum, never by time.

    Patterns: *.csv (any depth), raw/** or tmp/ (from the top). Without --journal a killed run is simply
    compared again; with it, what was recorded as done is not even looked up. --json: one document: counts of
    the plan, summary and failures; with --dry-run JSON lines, one per action, then the counts.
    """
    options = _options(metadata, tag, cache_control, storage_class, encryption)
    sides = place(source), place(target)
    most = _limit(max_deletes)
    if options and not (isinstance(sides[0], Local) and isinstance(sides[1], Remote)):
        raise UsageError("--metadata, --tag and the other options of writes go with uploads only.")
    async with run.session() as session:
        with run.meter("compare") as meter:
            common: dict[str, object] = {
                "include": include or [],
                "exclude": exclude or [],
                "delete": delete,
                "compare": "size" if size_only else "checksum",
                "journal": journal,
                "on_progress": meter.ingest_hook,
            }
            upload: dict[str, object] = {"follow_symlinks": follow_symlinks, "options": options}
            plan = await _planned(session, sides, common=common, upload=upload)
        async with plan:
            if dry_run:
                return await _show(run, plan)
            with run.meter("sync") as meter:
                summary = await plan.apply(
                    concurrency=concurrency,
                    on_progress=meter.ingest_hook,
                    max_deletes=most,
                    allow_empty_source=allow_empty_source,
                    fail_fast=fail_fast,
                    statistics=session.statistics,
                )
            return await _tell(run, plan, summary)


def _options(
    metadata: list[str] | None,
    tag: list[str] | None,
    cache_control: str | None,
    storage_class: str | None,
    encryption: str | None,
) -> WriteOptions:
    """The write options that fit every object of a tree."""
    return write_options(
        metadata=metadata,
        tag=tag,
        content_type=None,
        cache_control=cache_control,
        storage_class=storage_class,
        encryption=encryption,
        no_overwrite=False,
        if_match=None,
    )


async def _planned(
    session: StorageSession,
    sides: tuple[Place, Place],
    *,
    common: dict[str, object],
    upload: dict[str, object],
) -> Plan:
    """The plan for whichever two sides these are."""
    from greenlang_async_storage.ingest import plan_copy, plan_download, plan_upload

    source, target = sides
    if isinstance(source, Local) and isinstance(target, Local):
        raise UsageError("neither side is in a store: use rsync.")
    for side in sides:
        if isinstance(side, Local) and side.is_pipe:
            raise UsageError("'-' is no folder: use put or get for standard input and output.")
        if isinstance(side, Remote) and side.bucket_name == "":
            raise UsageError(f"{side.text!r} names no bucket: write s3://bucket/prefix.")
    if isinstance(source, Local):
        assert isinstance(target, Remote)  # noqa: S101  # two local sides were refused
        return await plan_upload(
            source.path,
            target.bucket(session),
            target.key,
            **common,  # type: ignore[arg-type]  # spelled out by the caller
            **upload,  # type: ignore[arg-type]
        )
    if isinstance(target, Local):
        return await plan_download(source.bucket(session), source.key, target.path, **common)  # type: ignore[arg-type]
    return await plan_copy(
        source.bucket(session),
        source.key,
        target.bucket(session),
        target.key,
        **common,  # type: ignore[arg-type]  # as above
    )


def _limit(text: str | None) -> float:
    """`--max-deletes` as the plan takes it: an int is a number, a float a share."""
    if text is None:
        return 0.5
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    if match is None or ("." in match[1] and not match[2]) or (match[2] and float(match[1]) > 100):
        raise UsageError(f"--max-deletes is {text!r}: give a number such as 100, or a share such as 10%.")
    return float(match[1]) / 100 if match[2] else int(match[1])


async def _show(run: Command, plan: Plan) -> ExitCode:
    """A dry run: every action, then the counts."""
    async for action in plan:
        await run.text(f"{action.kind:<8}  {size_text(action.size):>10}  {action.key}  ({action.reason})")
        await run.record(action)
    codes = await _failures(run, plan)
    await run.record({"counts": _counts(plan.counts)})
    await run.text(f"dry run: {_planned_text(plan.counts)}")
    return codes


def _counts(counts: PlanCounts) -> dict[str, int]:
    names = ("new", "changed", "unchanged", "deletes", "bytes", "skipped", "failed")
    return {name: getattr(counts, name) for name in names}


def _planned_text(counts: PlanCounts) -> str:
    if not (counts.transfers or counts.deletes):
        return f"nothing to do, {counts.unchanged:,} unchanged"
    return (
        f"{count_text(counts.new, 'new object')}, {counts.changed:,} changed ({size_text(counts.bytes)}), "
        f"{counts.deletes:,} to delete, {counts.unchanged:,} unchanged"
    )


async def _failures(run: Command, plan: Plan) -> ExitCode:
    """Tell what failed; the exit code of it all."""
    codes: list[ExitCode] = []
    async for failure in plan.failures():
        codes.append(exit_code(failure.error))
        if run.as_json:
            await run.record({"failure": {"key": failure.key, "error": facts_of(failure.error)}})
        else:
            run.note_always(f"{failure.key}: {text_of(failure.error)}")
    return common_code(codes)


async def _tell(run: Command, plan: Plan, summary: IngestSummary) -> ExitCode:
    codes: list[ExitCode] = []
    failures: list[dict[str, object]] = []
    async for failure in plan.failures():
        codes.append(exit_code(failure.error))
        if run.as_json:
            failures.append({"key": failure.key, "kind": failure.kind, "error": facts_of(failure.error)})
        else:
            run.note_always(f"{failure.key}: {text_of(failure.error)}")
    numbers = ("done", "skipped", "deleted", "failed", "bytes", "seconds", "held_back", "nothing_changed")
    await run.document(
        {
            "counts": _counts(plan.counts),
            "summary": {name: getattr(summary, name) for name in numbers},
            "failures": failures,
        }
    )
    if not run.options.quiet:
        await run.text(_summary_text(summary))
    return common_code(codes)


def _summary_text(summary: IngestSummary) -> str:
    if summary.nothing_changed:
        return f"nothing changed: sent no object, {summary.skipped:,} unchanged"
    text = (
        f"sent {count_text(summary.done, 'object')} ({size_text(summary.bytes)} in "
        f"{seconds_text(summary.seconds)}), deleted {summary.deleted:,}, {summary.skipped:,} unchanged"
    )
    if summary.held_back:
        text += f", {summary.held_back:,} deletes held back because of failures"
    if summary.failed:
        text += f"; {count_text(summary.failed, 'failure')}"
    return text
