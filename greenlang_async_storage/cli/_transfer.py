"""`put`, `get`, `cp` and `mv`."""

from __future__ import annotations

from typing import Annotated

import typer

from greenlang_async_storage import WriteOptions

from ._arguments import (
    CacheControl,
    Concurrency,
    ContentType,
    EncryptionChoice,
    IfMatch,
    Literal,
    Metadata,
    NoOverwrite,
    PartSize,
    Recursive,
    Resume,
    StorageClass,
    Tags,
    VersionId,
    complete_place,
    part_bytes,
    write_options,
)
from ._command import Command, command
from ._copy import CopyPlan, copy
from ._download import DownloadPlan, download
from ._errors import ExitCode, UsageError
from ._targets import Local, Place, Remote, place, remote
from ._upload import UploadPlan, upload

_Both = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE... TARGET",
        help="Paths, '-', or places such as s3://bucket/key and data-lake:key; the last is where to.",
        autocompletion=complete_place,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands that move bytes."""
    command(app, "put")(put)
    command(app, "get")(get)
    command(app, "cp")(cp)
    command(app, "mv")(mv)


async def put(
    run: Command,
    *,
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE... TARGET",
            help="Files, folders (with -r), or - for standard input; then s3://bucket/key or data-lake:key. "
            "A target that ends in / keeps the file names.",
            autocompletion=complete_place,
        ),
    ],
    recursive: Recursive = False,
    concurrency: Concurrency = None,
    part_size: PartSize = None,
    resume: Resume = None,
    metadata: Metadata = None,
    tag: Tags = None,
    content_type: ContentType = None,
    cache_control: CacheControl = None,
    storage_class: StorageClass = None,
    encryption: EncryptionChoice = None,
    no_overwrite: NoOverwrite = False,
    if_match: IfMatch = None,
) -> ExitCode | None:
    """
    Upload files, folders or standard input.

    --json: JSON lines, one per object (ok, source, uri, size, etag; or ok=false and error); with several
    sources or -r a last line with a summary.
    """
    sources, target = _split(places)
    if not isinstance(target, Remote):
        raise UsageError(f"{places[-1]!r}, where to, is no place in a store: write s3://bucket/key.")
    options = write_options(
        metadata=metadata,
        tag=tag,
        content_type=content_type,
        cache_control=cache_control,
        storage_class=storage_class,
        encryption=encryption,
        no_overwrite=no_overwrite,
        if_match=if_match,
    )
    plan = UploadPlan(
        [_local(source) for source in sources],
        target,
        options,
        recursive=recursive,
        concurrency=concurrency,
        part_size=part_bytes(part_size),
        resume=resume,
    )
    async with run.session() as session:
        return await upload(run, session, plan)


async def get(
    run: Command,
    *,
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE... [TARGET]",
            help="Places such as s3://bucket/key, data-lake:folder/ (with -r) or 'data-lake:a/*.csv'; "
            "then a file, a folder, or - for standard output. Without a target: this folder.",
            autocompletion=complete_place,
        ),
    ],
    recursive: Recursive = False,
    literal: Literal = False,
    concurrency: Concurrency = None,
    resume: Resume = None,
    version_id: VersionId = None,
    require_checksum: Annotated[
        bool, typer.Option("--require-checksum", help="Refuse an object stored without a usable checksum.")
    ] = False,
) -> ExitCode | None:
    """
    Download objects, whole and verified or not at all.

    --json: JSON lines, one per object (ok, uri, path, size, etag, verified; or ok=false and error); with
    several sources, globs or -r a last line with a summary.
    """
    last = place(places[-1])
    target = last if isinstance(last, Local) else Local(".")
    sources = [remote(text) for text in (places[:-1] if isinstance(last, Local) else places)]
    if not sources:
        raise UsageError(f"{places[-1]!r} is no place in a store: write s3://bucket/key or data-lake:key.")
    plan = DownloadPlan(
        sources,
        target,
        recursive=recursive,
        literal=literal,
        concurrency=concurrency,
        version_id=version_id,
        resume=resume,
        require_checksum=require_checksum,
    )
    async with run.session() as session:
        return await download(run, session, plan)


async def cp(
    run: Command,
    *,
    places: _Both,
    recursive: Recursive = False,
    literal: Literal = False,
    concurrency: Concurrency = None,
    encryption: EncryptionChoice = None,
) -> ExitCode | None:
    """
    Copy between here and a store, or inside stores.

    Inside a store the store makes the copy, with metadata, tags and encryption as they were. --json: as put
    and get.
    """
    options = write_options_of(encryption)
    return await _either(
        run, places, options, recursive=recursive, literal=literal, concurrency=concurrency, remove=False
    )


async def mv(
    run: Command,
    *,
    places: _Both,
    recursive: Recursive = False,
    literal: Literal = False,
    concurrency: Concurrency = None,
    encryption: EncryptionChoice = None,
) -> ExitCode | None:
    """
    Move: copy, then delete the source where it is still what was copied.

    Each object is copied before its source goes; nothing is lost when the command is stopped. --json: as put
    and get.
    """
    options = write_options_of(encryption)
    return await _either(
        run, places, options, recursive=recursive, literal=literal, concurrency=concurrency, remove=True
    )


def write_options_of(encryption: str | None) -> WriteOptions:
    """Write options with nothing but an encryption."""
    return write_options(
        metadata=None,
        tag=None,
        content_type=None,
        cache_control=None,
        storage_class=None,
        encryption=encryption,
        no_overwrite=False,
        if_match=None,
    )


async def _either(
    run: Command,
    places: list[str],
    options: WriteOptions,
    *,
    recursive: bool,
    literal: bool,
    concurrency: int | None,
    remove: bool,
) -> ExitCode | None:
    sources, target = _split(places)
    from_store = [source for source in sources if isinstance(source, Remote)]
    if from_store and len(from_store) < len(sources):
        raise UsageError("the sources are partly here and partly in a store: use one command for each.")
    async with run.session() as session:
        if not isinstance(target, Remote):
            if not from_store:
                raise UsageError("neither side is in a store: use the system's own cp or mv.")
            fetch = DownloadPlan(
                from_store,
                target,
                recursive=recursive,
                literal=literal,
                remove=remove,
                concurrency=concurrency,
            )
            return await download(run, session, fetch)
        if from_store:
            inside = CopyPlan(
                from_store,
                target,
                recursive=recursive,
                literal=literal,
                remove=remove,
                concurrency=concurrency,
            )
            return await copy(run, session, inside)
        send = UploadPlan(
            [_local(source) for source in sources],
            target,
            options,
            recursive=recursive,
            remove=remove,
            concurrency=concurrency,
        )
        return await upload(run, session, send)


def _split(places: list[str]) -> tuple[list[Place], Place]:
    if len(places) < 2:
        raise UsageError(f"only {places[0]!r} is given: name a source and a target.")
    *sources, target = [place(text) for text in places]
    return sources, target


def _local(found: Place) -> Local:
    if isinstance(found, Remote):
        raise UsageError(f"{found.text!r} is in a store already: use cp to copy inside stores.")
    return found
