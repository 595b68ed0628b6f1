"""From one place in a store to another, made by the store itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greenlang_async_storage import Bucket, ObjectInfo, StorageSession, UploadResult

from ._command import Command
from ._download import base_and_keys, is_many, nothing_there
from ._errors import ExitCode, UsageError
from ._removal import remove_unchanged
from ._streams import closing
from ._tally import Tally, default_width, for_each
from ._targets import Remote, uri


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What `cp` and `mv` were asked for between two places in a store."""

    sources: Sequence[Remote]
    target: Remote
    recursive: bool = False
    literal: bool = False
    remove: bool = False
    concurrency: int | None = None


async def copy(run: Command, session: StorageSession, plan: CopyPlan) -> ExitCode:
    """Copy everything *plan* names; one failure never stops the rest."""
    many = any(is_many(each, recursive=plan.recursive, literal=plan.literal) for each in plan.sources)
    if not many and len(plan.sources) == 1:
        return await _one(run, session, plan, plan.sources[0])
    if not plan.target.is_folder:
        if len(plan.sources) > 1 or not plan.recursive:
            raise UsageError(f"{plan.target.text!r} would be one object for many: end it with '/'.")
        plan = _with_folder(plan)
    tally = Tally(run, "move" if plan.remove else "copy", "moved" if plan.remove else "copied")
    with run.meter("copy") as tally.meter:
        async with tally.meter.watch(session):
            for source in plan.sources:
                await _many(session, plan, source, tally)
    return await tally.finish(f"to {uri(plan.target.bucket(session), plan.target.key)}")


def _with_folder(plan: CopyPlan) -> CopyPlan:
    return CopyPlan(
        plan.sources,
        plan.target.with_key(f"{plan.target.key}/"),
        recursive=plan.recursive,
        literal=plan.literal,
        remove=plan.remove,
        concurrency=plan.concurrency,
    )


async def _one(run: Command, session: StorageSession, plan: CopyPlan, source: Remote) -> ExitCode:
    origin, key = source.bucket(session), source.require_key("copy")
    target = plan.target.bucket(session)
    destination = plan.target.key + (source.name if plan.target.is_folder else "")
    result = await _transfer(origin, key, target, destination, remove=plan.remove)
    tally = Tally(run, "move" if plan.remove else "copy", "")
    await _copied(tally, origin, key, target, result)
    if not run.options.quiet:
        await run.text(f"{'moved' if plan.remove else 'copied'} to {uri(target, destination)}")
    return ExitCode.OK


async def _many(session: StorageSession, plan: CopyPlan, source: Remote, tally: Tally) -> None:
    base, keys = base_and_keys(session, source, recursive=plan.recursive, literal=plan.literal)
    target = plan.target.bucket(session)
    folder = plan.target.key
    inside = target.name == base.name and folder.startswith(base.prefix)
    if inside and (folder == base.prefix or plan.recursive):
        raise UsageError(
            f"{uri(target, folder)} lies inside {uri(base, '')}: its copies would be copied again for ever."
        )
    before = tally.count + tally.codes.total()

    async def work(key: str) -> None:
        full = base.prefix + key
        if inside and full.startswith(folder):
            return  # a copy this very command may have made
        origin = session.bucket(base.name)
        try:
            result = await _transfer(origin, full, target, folder + key, remove=plan.remove)
        except Exception as error:  # noqa: BLE001  # it is this object's outcome
            await tally.failed(error, source=uri(base, key))
        else:
            await _copied(tally, origin, full, target, result)

    async with closing(keys) as wanted:
        await for_each(wanted, work, width=default_width(session, plan.concurrency))
    if tally.count + tally.codes.total() == before:
        if len(plan.sources) == 1:
            raise nothing_there(source.bucket(session), source.key)
        await tally.failed(nothing_there(source.bucket(session), source.key))


async def _transfer(
    origin: Bucket, key: str, target: Bucket, destination: str, *, remove: bool
) -> UploadResult:
    """One copy or move; across buckets a move deletes only what it copied."""
    if origin.name == target.name:
        return await (origin.move if remove else origin.copy)(key, destination)
    before: ObjectInfo | None = await origin.head(key) if remove else None
    result = await target.copy(key, destination, source_bucket=origin.name)
    if before is not None:
        await remove_unchanged(origin, before)
    return result


async def _copied(tally: Tally, origin: Bucket, key: str, target: Bucket, result: UploadResult) -> None:
    await tally.done(
        source=uri(origin, key),
        bucket=target.name,
        key=result.key,
        uri=uri(target, result.key),
        size=result.size,
        etag=result.etag,
        version_id=result.version_id,
    )
