"""`ls`, and the one-level listing behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from greenlang_async_storage import Bucket, ObjectInfo, StorageSession

from ._command import Command, command
from ._errors import CommandError, ExitCode, UsageError
from ._format import count_text, size_text, time_text
from ._streams import closing
from ._targets import PURPOSES, Remote, folder_of, glob_prefix, matcher, remote, uri

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import ListObjectsV2OutputTypeDef

_ATTEMPTS: Final = 3


def register(app: typer.Typer) -> None:
    """Add `ls`."""
    command(app, "ls")(ls)


async def ls(
    run: Command,
    *,
    target: Annotated[
        str | None,
        typer.Argument(
            help="s3://bucket/prefix, data-lake:prefix, or a glob such as 'data-lake:bronze/*.parquet'; "
            "without it the configured buckets, and for s3:// all buckets of the account.",
            show_default=False,
        ),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Every object below.")] = False,
    versions: Annotated[bool, typer.Option("--versions", help="Every version and delete marker.")] = False,
    literal: Annotated[bool, typer.Option("--literal", help="Take * ? [ as they are.")] = False,
    raw_bytes: Annotated[bool, typer.Option("--bytes", "-b", help="Sizes in bytes.")] = False,
) -> ExitCode | None:
    """
    List buckets, "folders" and objects: time (UTC), size, key. Exit code 3 when nothing is there.

    --json: JSON lines, one per bucket (name, purpose), folder (type=folder) or object (type=object).
    """
    if target in (None, "s3://"):
        return await _buckets(run, everything=target is not None)
    wanted = remote(str(target))
    async with run.session() as session:
        bucket = wanted.bucket(session)
        if versions:
            return await _versions(run, bucket, wanted)
        found = size = 0
        async with closing(_entries(session, bucket, wanted, recursive=recursive, literal=literal)) as items:
            async for item in items:
                found += 1
                size += await _show(run, bucket, item, raw_bytes=raw_bytes)
    await run.out.flush()
    if not found and not (wanted.is_folder and wanted.key == ""):
        run.note(f"nothing starts with {uri(bucket, wanted.key)}")
        return ExitCode.NOT_FOUND
    if not found:
        run.note(f"{uri(bucket, '')} is empty")
    elif recursive or wanted.is_glob:
        run.note(f"{count_text(found, 'object')}, {size_text(size)}")
    return None


async def _buckets(run: Command, *, everything: bool) -> ExitCode | None:
    """The configured buckets, or those the credentials can list."""
    if everything:
        async with run.session() as session:
            try:
                reply = await session.client.list_buckets()
            except Exception as error:
                # The plain client's own exceptions: a reply, or none.
                code = ExitCode.ACCESS if hasattr(error, "response") else ExitCode.UNREACHABLE
                raise CommandError(
                    f"the buckets cannot be listed: {error}. Grant s3:ListAllMyBuckets, name a bucket "
                    "(s3://bucket/), or run `greenlang-storage doctor`.",
                    code,
                ) from error
        for entry in reply.get("Buckets", []):
            await run.text(f"{time_text(entry.get('CreationDate'))}  {entry.get('Name', '')}")
            await run.record(
                {"type": "bucket", "name": entry.get("Name"), "created": entry.get("CreationDate")}
            )
        return None
    configured = run.settings().buckets
    if not configured:
        raise UsageError(
            "no bucket is configured: set GREENLANG_DATA_LAKE_BUCKET (or REPORTS, MODELS, TEMP, CACHE), "
            "or give a place such as s3://bucket/prefix."
        )
    for spelling, purpose in PURPOSES.items():
        if name := configured.get(purpose):
            await run.text(f"{spelling + ':':<11} s3://{name}")
            await run.record({"type": "bucket", "name": name, "purpose": purpose})
    return None


async def _show(run: Command, bucket: Bucket, item: ObjectInfo | str, *, raw_bytes: bool) -> int:
    """Print one entry; its size."""
    if isinstance(item, str):
        await run.text(f"{'':19}  {'folder':>10}  {item}")
        await run.record({"type": "folder", "key": item, "uri": uri(bucket, item)})
        return 0
    size = str(item.size) if raw_bytes else size_text(item.size)
    await run.text(f"{time_text(item.last_modified)}  {size:>10}  {item.key}")
    if run.as_json:
        await run.record({"type": "object", "uri": uri(bucket, item.key), **listed(item)})
    return item.size


def listed(item: ObjectInfo) -> dict[str, object]:
    """What a listing says of an object."""
    return {
        "key": item.key,
        "size": item.size,
        "etag": item.etag,
        "last_modified": item.last_modified,
        "storage_class": item.storage_class,
    }


async def _versions(run: Command, bucket: Bucket, wanted: Remote) -> ExitCode | None:
    found = 0
    async for item in bucket.list_versions(wanted.key):
        found += 1
        state = "deleted" if item.is_delete_marker else size_text(item.size)
        latest = "*" if item.is_latest else " "
        await run.text(f"{time_text(item.last_modified)}  {state:>10} {latest} {item.version_id}  {item.key}")
        await run.record({"type": "version", "uri": uri(bucket, item.key), **asdict(item)})
    return None if found else ExitCode.NOT_FOUND


async def _entries(
    session: StorageSession, bucket: Bucket, wanted: Remote, *, recursive: bool, literal: bool
) -> AsyncIterator[ObjectInfo | str]:
    """What `ls` shows, in the order of keys."""
    if wanted.is_glob and not literal:
        async for item in matching(bucket, wanted.key):
            yield item
    elif recursive:
        async for item in bucket.list_objects(wanted.key):
            yield item
    else:
        async for entry in one_level(session, bucket, wanted.key):
            yield entry


async def matching(bucket: Bucket, pattern: str) -> AsyncIterator[ObjectInfo]:
    """The objects whose keys match *pattern*; lists what starts with its literal beginning."""
    matches = matcher(pattern)
    async for item in bucket.list_objects(glob_prefix(pattern)):
        if matches(item.key):
            yield item


async def one_level(session: StorageSession, bucket: Bucket, prefix: str) -> AsyncIterator[ObjectInfo | str]:
    """Objects and folders (ending in `/`) directly at *prefix*, in the order of keys, a page in memory."""
    token: str | None = None
    while True:
        page = await _page(session, bucket, prefix, token)
        entries: list[ObjectInfo | str] = [
            entry.get("Prefix", "") for entry in page.get("CommonPrefixes", [])
        ]
        for item in page.get("Contents", []):
            if item["Key"] == prefix and prefix == folder_of(prefix):
                continue  # the marker some programs make for a folder
            entries.append(
                ObjectInfo(
                    key=item["Key"],
                    size=item.get("Size", 0),
                    etag=item.get("ETag", "").strip('"'),
                    last_modified=item.get("LastModified"),
                    storage_class=item.get("StorageClass"),
                )
            )
        for entry in sorted(entries, key=lambda each: each if isinstance(each, str) else each.key):
            yield entry
        token = page.get("NextContinuationToken")
        if not page.get("IsTruncated") or not token:
            return


async def _page(
    session: StorageSession, bucket: Bucket, prefix: str, token: str | None
) -> ListObjectsV2OutputTypeDef:
    """
    One page with both folders and objects, which `Bucket` gives one at a time only.

    The plain client neither retries nor explains: what it cannot do, `Bucket` is asked for, which does both.
    """
    owner = session.settings.expected_bucket_owner
    arguments = {"ExpectedBucketOwner": owner} if owner else {}
    if token is not None:
        arguments["ContinuationToken"] = token
    for attempt in range(_ATTEMPTS):
        try:
            return await session.client.list_objects_v2(
                Bucket=bucket.name,
                Prefix=prefix,
                Delimiter="/",
                **arguments,  # type: ignore[arg-type]  # names of this call
            )
        except Exception:
            async with closing(bucket.list_objects(prefix, page_size=1)) as first:
                async for _ in first:
                    break
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")
