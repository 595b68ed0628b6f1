"""The three ways to make a plan."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

from greenlang_async_storage import Bucket, S3InvalidRequestError, StrPath, WriteOptions

from ._entries import path_fault
from ._globs import PathFilter
from ._identity import store_of
from ._plan import Plan
from ._planner import Planner, Rules
from ._progress import Reporter
from ._resume import OpenUploads
from ._senders import Copier, Downloader, Sender, Uploader
from ._sides import BucketSide, FolderSide, Side
from ._store import SIDE_FILES, UPLOADS, Store
from ._threads import SerialThread
from ._types import Compare, IngestHook
from ._walk import is_case_insensitive

_PER_OBJECT: Final = frozenset({"if_match", "if_none_match"})


async def plan_upload(
    directory: StrPath,
    bucket: Bucket,
    prefix: str = "",
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    delete: bool = False,
    compare: Compare = "checksum",
    journal: StrPath | None = None,
    on_progress: IngestHook | None = None,
    follow_symlinks: bool = False,
    options: WriteOptions | None = None,
) -> Plan:
    """
    What makes the objects under *prefix* equal to the files in *directory*; nothing is changed yet.

    A file is sent when it is new, of another size, or of another checksum than the store holds; never for its
    time. *include* and *exclude* are patterns such as `*.csv`, `raw/**` or `tmp/` (docs/ingest.md); what they
    leave out is neither sent nor deleted. *delete* plans to remove objects without a file. Symlinks are left
    alone unless *follow_symlinks*; devices, pipes and empty folders always. *options* go with every object.

    *journal* is the path of a small file: with it, a killed run goes on where it stopped, and the next plan
    neither asks for nor hashes what is as it was last found equal. One pair of source and target each; a
    second run on it is refused while the first lasts. Memory: one page of the listing, 512 keys, the names
    of the folders on the way; the plan itself is on disk (TMPDIR).

    Raises:
        S3LocalFileError: *directory* cannot be read, or the journal is in use (`errno` EAGAIN).
        S3InvalidRequestError: a bad prefix, or the journal of another plan.
        S3Error: the store cannot be listed or asked. Single files that cannot be read are failures instead.
    """
    rules = _rules("upload", delete=delete, compare=compare)
    given = dict(options or {})
    if wrong := _PER_OBJECT & given.keys():
        raise ValueError(f"options has {sorted(wrong)}, which fit one object; leave them out")
    accept = PathFilter(include, exclude)
    root, view = await _resolved(directory), _scoped(bucket, prefix)
    path = await _journal_path(journal)
    about = {"kind": "upload", "directory": str(root), **await _place("target", view)}
    own = await asyncio.to_thread(_own_files, root, path)
    source = FolderSide(root, accept, follow=follow_symlinks, own=own)
    uploads = None if path is None else OpenUploads(path.with_name(f"{path.name}{UPLOADS}"), view)
    sender = Uploader(root, view, follow=follow_symlinks, options=options or {}, uploads=uploads)
    return await _plan(rules, (source, BucketSide(view, accept)), sender, Store(path, about), on_progress)


async def plan_download(
    bucket: Bucket,
    prefix: str,
    directory: StrPath,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    delete: bool = False,
    compare: Compare = "checksum",
    journal: StrPath | None = None,
    on_progress: IngestHook | None = None,
) -> Plan:
    """
    What makes the files in *directory* equal to the objects under *prefix*; nothing is changed yet.

    As `plan_upload`, the other way round. No file outside *directory* is ever written or deleted: keys that
    would leave it (by `..`, an absolute path, a symlink) are failures, and so is the second of two keys whose
    names are one on a disk that ignores case. A file changed since the plan was made is left alone, as a
    failure. A missing *directory* is made by `apply()`. Keys that end in `/` are skipped.

    Raises:
        S3LocalFileError: *directory* cannot be read, or the journal is in use (`errno` EAGAIN).
        S3InvalidRequestError: a bad prefix, or the journal of another plan.
        S3Error: the store cannot be listed or asked.
    """
    rules = _rules("download", delete=delete, compare=compare)
    accept = PathFilter(include, exclude)
    root, view = await _resolved(directory), _scoped(bucket, prefix)
    rules.fold_names = await asyncio.to_thread(is_case_insensitive, root)
    path = await _journal_path(journal)
    about = {"kind": "download", "directory": str(root), **await _place("source", view)}
    own = await asyncio.to_thread(_own_files, root, path)
    target = FolderSide(root, accept, own=own, missing_ok=True)
    sides = BucketSide(view, accept, path_fault), target
    return await _plan(rules, sides, Downloader(view, root), Store(path, about), on_progress)


async def plan_copy(
    source_bucket: Bucket,
    source_prefix: str,
    target_bucket: Bucket,
    target_prefix: str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    delete: bool = False,
    compare: Compare = "checksum",
    journal: StrPath | None = None,
    on_progress: IngestHook | None = None,
) -> Plan:
    """
    What makes one prefix equal to another, also in another bucket or store; nothing is changed yet.

    Where the same credentials reach both at one endpoint, the store copies by itself; else the objects are
    streamed through this process, with metadata, content headers and tags. Content is compared by ETag, then
    by checksums both have. Otherwise as `plan_upload`.

    Raises:
        S3InvalidRequestError: one prefix lies within the other, a bad prefix, or the journal of another plan.
        S3LocalFileError: the journal is in use (`errno` EAGAIN).
        S3Error: a store cannot be listed or asked.
    """
    rules = _rules("copy", delete=delete, compare=compare)
    accept = PathFilter(include, exclude)
    source, target = _scoped(source_bucket, source_prefix), _scoped(target_bucket, target_prefix)
    stores = await store_of(source), await store_of(target)
    same_store = stores[0] == stores[1]
    if stores[0].endpoint == stores[1].endpoint and source.name == target.name:
        _refuse_overlap(source, target)
    # A scoped view takes both keys of a copy for its own, so both have to be told from one prefix.
    inside = None
    if same_store and source_bucket.prefix == target_bucket.prefix:
        cut = len(source_bucket.prefix)
        inside = target_bucket, source.prefix[cut:], target.prefix[cut:]
    path = await _journal_path(journal)
    about = {"kind": "copy", **await _place("source", source), **await _place("target", target)}
    sides = BucketSide(source, accept), BucketSide(target, accept)
    return await _plan(rules, sides, Copier(source, target, inside=inside), Store(path, about), on_progress)


async def _plan(
    rules: Rules, sides: tuple[Side, Side], sender: Sender, store: Store, on_progress: IngestHook | None
) -> Plan:
    """Fill the spool of a new plan; on a failure everything is given back."""
    thread = SerialThread("ingest-plan")
    try:
        await thread.call(store.open)
        async with Reporter(on_progress, "plan") as report:
            planner = Planner(rules, sides, (thread, store), report)
            await planner.run()
    except BaseException:
        await thread.aclose(store.close)
        raise
    return Plan((thread, store), sender, planner.tally, planner.tally.counts(sides[0].skipped))


def _rules(kind: str, *, delete: bool, compare: Compare) -> Rules:
    if compare not in get_args(Compare):
        raise ValueError(f"compare is {compare!r}; pass one of {', '.join(get_args(Compare))}")
    return Rules(kind, delete, compare)  # type: ignore[arg-type]  # each caller passes its own literal


def _scoped(bucket: Bucket, prefix: str) -> Bucket:
    """The view whose keys are relative to *prefix*; a missing `/` at its end is added."""
    return bucket.scoped(prefix) if prefix else bucket


async def _place(what: str, view: Bucket) -> Mapping[str, str]:
    """Where a view lies, for the journal."""
    found = await store_of(view)
    return {what: f"{found.endpoint}/{view.name}/{view.prefix}"}


async def _journal_path(journal: StrPath | None) -> Path | None:
    if journal is None:
        return None
    if not os.fspath(journal):
        raise ValueError("journal is an empty path; pass the path of a file, or leave it out")
    return await asyncio.to_thread(Path(journal).absolute)


async def _resolved(directory: StrPath) -> Path:
    if not os.fspath(directory):
        raise ValueError("directory is an empty path; pass '.' for the working directory")
    return await asyncio.to_thread(Path(directory).resolve)


def _own_files(root: Path, journal: Path | None) -> frozenset[str]:
    """The journal's files, as they would be met in a walk of *root*."""
    if journal is None:
        return frozenset()
    place = journal.parent.resolve() / journal.name
    if not place.is_relative_to(root):
        return frozenset()
    return frozenset(f"{place.relative_to(root).as_posix()}{end}" for end in SIDE_FILES)


def _refuse_overlap(source: Bucket, target: Bucket) -> None:
    """`S3InvalidRequestError` where what is copied would be found again as a source, or lie on itself."""
    if target.prefix.startswith(source.prefix) or source.prefix.startswith(target.prefix):
        raise S3InvalidRequestError(
            f"source prefix {source.prefix!r} and target prefix {target.prefix!r} lie within each other",
            bucket=target.name,
            remedy="Copy between prefixes of which neither starts with the other, or to another bucket.",
        )
