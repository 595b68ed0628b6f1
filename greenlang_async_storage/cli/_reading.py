"""`cat`, `head` and `tags`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from greenlang_async_storage import ByteRange, ObjectInfo

from ._arguments import PlaceArgument, VersionId, complete_place, pairs
from ._command import Command, command
from ._download import to_stdout
from ._errors import ExitCode, UsageError
from ._format import size_text, time_text
from ._targets import remote, uri


def register(app: typer.Typer) -> None:
    """Add the commands that look at one object."""
    command(app, "cat")(cat)
    command(app, "head")(head)
    tags = typer.Typer(help="Read and set the tags of an object.", no_args_is_help=True)
    command(tags, "get")(tags_get)
    command(tags, "set")(tags_set)
    app.add_typer(tags, name="tags")


async def cat(
    run: Command,
    *,
    targets: Annotated[
        list[str], typer.Argument(help="s3://bucket/key or data-lake:key.", autocompletion=complete_place)
    ],
    range: Annotated[
        str | None,
        typer.Option("--range", metavar="FROM-TO", help="Bytes as HTTP counts them: 0-99, 100-, or -50."),
    ] = None,
    version_id: VersionId = None,
) -> ExitCode | None:
    """
    Write objects to standard output as they come.

    Memory stays flat. Bytes that do not match the stored checksum end with exit code 6, after the last byte.
    """
    wanted = [remote(text) for text in targets]
    async with run.session() as session:
        for target in wanted:
            bucket, key = target.bucket(session), target.require_key("cat")
            part = None
            if range is not None:
                size = (await bucket.head(key, version_id=version_id)).size if range.startswith("-") else 0
                part = parse_range(range, size)
            await to_stdout(run, bucket, key, range=part, version_id=version_id)
    return None


def parse_range(text: str, size: int) -> ByteRange:
    """`0-99`, `100-`, `-50` (the last fifty of *size* bytes) as a half-open range."""
    match = re.fullmatch(r"(\d*)-(\d*)", text.strip())
    if match is None or text.strip() == "-":
        raise UsageError(f"--range is {text!r}: write it as 0-99, 100- or -50.")
    if not match[1]:
        return max(0, size - int(match[2])), None
    stop = int(match[2]) + 1 if match[2] else None
    if stop is not None and stop <= int(match[1]):
        raise UsageError(f"--range is {text!r}: it ends before it begins.")
    return int(match[1]), stop


async def head(run: Command, *, target: PlaceArgument, version_id: VersionId = None) -> ExitCode | None:
    """
    Show what the store knows of an object.

    --json: one document with the fields of ObjectInfo and the uri.
    """
    wanted = remote(target)
    async with run.session() as session:
        bucket = wanted.bucket(session)
        info = await bucket.head(wanted.require_key("head"), version_id=version_id)
    await run.document({"uri": uri(bucket, info.key), "bucket": bucket.name, **_facts(info)})
    for name, value in _rows(info):
        await run.text(f"{name:<20} {value}")
    return None


def _facts(info: ObjectInfo) -> dict[str, object]:
    names = (
        *("key", "size", "etag", "last_modified", "version_id", "content_type", "metadata", "storage_class"),
        *("checksum", "content_disposition", "content_encoding", "cache_control", "encryption", "parts"),
    )
    return {name: getattr(info, name) for name in names}


def _rows(info: ObjectInfo) -> list[tuple[str, str]]:
    """The same for people: what is empty is left out."""
    rows: list[tuple[str, str]] = [
        ("key", info.key),
        ("size", f"{info.size:,} bytes ({size_text(info.size)})"),
        ("etag", info.etag),
        ("last modified", f"{time_text(info.last_modified)} UTC"),
    ]
    texts = ("content_type", "content_encoding", "content_disposition", "cache_control")
    rows += [(name.replace("_", " "), getattr(info, name) or "") for name in texts]
    if info.checksum is not None:
        kind = "" if info.checksum.type == "FULL_OBJECT" else " (of the parts)"
        rows.append(("checksum", f"{info.checksum.algorithm} {info.checksum.value}{kind}"))
    rows += [
        ("encryption", info.encryption or ""),
        ("storage class", info.storage_class or ""),
        ("version", info.version_id or ""),
        ("parts", str(info.parts) if info.parts else ""),
        *((f"metadata {name}", value) for name, value in sorted(info.metadata.items())),
    ]
    return [(name, value) for name, value in rows if value]


async def tags_get(run: Command, *, target: PlaceArgument, version_id: VersionId = None) -> ExitCode | None:
    """
    Show the tags of an object.

    --json: one document, an object of names and values.
    """
    wanted = remote(target)
    async with run.session() as session:
        found = await wanted.bucket(session).get_tags(wanted.require_key("tags"), version_id=version_id)
    await _show_tags(run, found)
    return None


async def tags_set(
    run: Command,
    *,
    target: PlaceArgument,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[K=V]...", show_default=False)] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the other tags the object has.")] = False,
    version_id: VersionId = None,
) -> ExitCode | None:
    """
    Replace the tags of an object; with none given, remove them.

    --keep reads and writes in two steps: of two such commands at once one may be lost. --json: the tags as
    they are now.
    """
    wanted = remote(target)
    given = pairs(tags, "tag")
    async with run.session() as session:
        bucket, key = wanted.bucket(session), wanted.require_key("tags")
        if keep:
            given = {**await bucket.get_tags(key, version_id=version_id), **given}
        await bucket.set_tags(key, given, version_id=version_id)
    await _show_tags(run, given)
    return None


async def _show_tags(run: Command, tags: dict[str, str]) -> None:
    await run.document(tags)
    for name, value in sorted(tags.items()):
        await run.text(f"{name}={value}")
    await run.out.flush()
    if not tags:
        run.note("no tags")
