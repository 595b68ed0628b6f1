"""PutObject, GetObject, HeadObject, DeleteObject, CopyObject and tags."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Final
from urllib.parse import parse_qsl, unquote

from greenlang_async_storage.testing._memory import _checksums as checksums
from greenlang_async_storage.testing._memory._conditions import check_read, check_source, check_write
from greenlang_async_storage.testing._memory._state import NULL_VERSION, Version
from greenlang_async_storage.testing._memory._store import (
    METADATA,
    Store,
    encryption_of,
    kept_headers,
    kept_metadata,
    require_key,
    require_tags,
    version_header,
)
from greenlang_async_storage.testing._memory._wire import (
    Call,
    Refusal,
    Reply,
    element,
    elements,
    http_date,
    iso,
    md5,
)

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_OVERRIDES: Final = (
    "content-type",
    "content-language",
    "expires",
    "cache-control",
    "content-disposition",
    "content-encoding",
)


def put_object(store: Store, call: Call) -> Reply:
    """The object stored whole, or a refusal; conditions are decided in the same step."""
    bucket = store.bucket(call.bucket)
    require_key(call.key)
    stored = checksums.verify_body(call.headers, call.body)
    if not stored:
        algorithm = checksums.asked(call.headers) or ("CRC64NVME" if store.keeps_default_checksum else None)
        stored = {algorithm: checksums.value_of(algorithm, call.body)} if algorithm else {}
    version = Version(
        call.key,
        NULL_VERSION,
        store.clock(),
        call.body,
        md5(call.body).hex(),
        headers=kept_headers(call),
        metadata=kept_metadata(call),
        tags=tags_header(call),
        checksums=stored,
        checksum_type="FULL_OBJECT" if stored else None,
    )
    check_write(bucket.current(call.key), call.headers)
    bucket.put(version, store.version_id)
    return Reply(
        200,
        {
            "etag": f'"{version.etag}"',
            **checksums.headers_of(version.checksums, version.checksum_type),
            **encryption_of(version.headers),
            **version_header(store, call, version),
        },
    )


def get_object(store: Store, call: Call) -> Reply:
    """The object, a range or a part of it; HEAD gives the same without the body."""
    version = store.bucket(call.bucket).find(call.key, call.query.get("versionId"))
    check_read(version, call.headers)
    start, stop, part_headers = 0, version.size, dict[str, str]()
    partial = False
    verifying = call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
    values, kind = version.checksums, version.checksum_type
    if "partNumber" in call.query:
        number = call.number("partNumber", 1)
        start, stop = _part_span(version, number)
        partial = True
        if version.parts:
            part_headers["x-amz-mp-parts-count"] = str(len(version.parts))
            values = dict(version.parts[number - 1].checksums)
    elif (span := _span(call.headers.get("range"), version.size)) is not None:
        start, stop = span
        partial, verifying = True, False
    headers = {**_described(version), **part_headers, **version_header(store, call, version)}
    if verifying:
        headers |= checksums.headers_of(values, kind)
    headers["content-length"] = str(stop - start)
    if partial:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{version.size}"
    for name in _OVERRIDES:
        if (override := call.query.get(f"response-{name}")) is not None:
            headers[name] = override
    body = b"" if call.operation == "HeadObject" else version.data[start:stop]
    return Reply(206 if partial else 200, headers, body)


def _described(version: Version) -> dict[str, str]:
    headers = {
        "accept-ranges": "bytes",
        "etag": f'"{version.etag}"',
        "last-modified": http_date(version.modified),
        **version.headers,
        **{f"{METADATA}{name}": value for name, value in version.metadata.items()},
    }
    if version.storage_class == "STANDARD":
        headers.pop("x-amz-storage-class", None)
    if version.tags:
        headers["x-amz-tagging-count"] = str(len(version.tags))
    return headers


def _span(text: str | None, size: int) -> tuple[int, int] | None:
    """First and last + 1 of a range; `None` for one S3 ignores. `InvalidRange` beyond the end."""
    found = _RANGE.fullmatch(text.strip()) if text else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= stop:
        raise Refusal(
            416,
            "InvalidRange",
            "The requested range is not satisfiable",
            headers={"content-range": f"bytes */{size}"},
            ActualObjectSize=str(size),
            RangeRequested=text or "",
        )
    return start, stop


def _part_span(version: Version, number: int) -> tuple[int, int]:
    if not version.parts and number == 1:
        return 0, version.size
    if not 1 <= number <= len(version.parts):
        raise Refusal(416, "InvalidPartNumber", "The requested partnumber is not satisfiable")
    start = sum(part.size for part in version.parts[: number - 1])
    return start, start + version.parts[number - 1].size


def delete_object(store: Store, call: Call) -> Reply:
    """Gone, or hidden by a delete marker; deleting what is not there succeeds."""
    bucket = store.bucket(call.bucket)
    if "if-match" in call.headers and "versionId" not in call.query:
        check_write(bucket.current(call.key), {"if-match": call.headers["if-match"]})
    return Reply(204, remove(store, call, call.key, call.query.get("versionId")))


def remove(store: Store, call: Call, key: str, version_id: str | None) -> dict[str, str]:
    """Delete one key or version; the headers that tell what became of it."""
    bucket = store.bucket(call.bucket)
    if version_id is not None:
        dropped = bucket.drop(key, version_id)
        marker = {"x-amz-delete-marker": "true"} if dropped is not None and dropped.marker else {}
        return {"x-amz-version-id": version_id, **marker}
    if bucket.versioning is None:
        bucket.versions.pop(key, None)
        return {}
    marker_version = bucket.put(Version(key, NULL_VERSION, store.clock(), marker=True), store.version_id)
    return {"x-amz-delete-marker": "true", "x-amz-version-id": marker_version.version_id}


def delete_objects(store: Store, call: Call) -> Reply:
    """One answer per key; the status is 200 whatever they are."""
    store.bucket(call.bucket)
    stated = checksums.verify_body(call.headers, call.body)
    if not stated and "content-md5" not in call.headers:
        raise Refusal(400, "InvalidRequest", "Missing required header for this request: Content-MD5")
    root = parse(call.body)
    listed = root.findall("{*}Object")
    if not 1 <= len(listed) <= 1000:
        raise malformed()
    quiet = root.findtext("{*}Quiet") == "true"
    told = []
    for entry in listed:
        key, version_id = entry.findtext("{*}Key") or "", entry.findtext("{*}VersionId")
        try:
            if (etag := entry.findtext("{*}ETag")) is not None:
                check_write(store.bucket(call.bucket).current(key), {"if-match": etag})
            done = remove(store, call, key, version_id)
        except Refusal as refusal:
            facts = {"Key": key, "VersionId": version_id, "Code": refusal.code, "Message": refusal.message}
            told.append(f"<Error>{elements(facts)}</Error>")
            continue
        marker = done.get("x-amz-delete-marker")
        shown: dict[str, object] = {"Key": key, "VersionId": version_id, "DeleteMarker": marker}
        if marker:
            shown["DeleteMarkerVersionId"] = done["x-amz-version-id"]
        if not quiet:
            told.append(f"<Deleted>{elements(shown)}</Deleted>")
    return Reply.xml("DeleteResult", "".join(told))


def source_of(store: Store, call: Call) -> Version:
    """The version a copy reads, its conditions checked."""
    path, _, query = call.headers["x-amz-copy-source"].partition("?")
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    version_id = dict(parse_qsl(query)).get("versionId")
    version = store.bucket(bucket).find(key, version_id)
    check_source(version, call.headers)
    return version


def copy_object(store: Store, call: Call) -> Reply:
    """A copy with the source's metadata and tags, or those of the request where it says REPLACE."""
    bucket = store.bucket(call.bucket)
    require_key(call.key)
    source = source_of(store, call)
    own_metadata = call.headers.get("x-amz-metadata-directive") == "REPLACE"
    own_tags = call.headers.get("x-amz-tagging-directive") == "REPLACE"
    written = kept_headers(call)
    sent = {name: value for name, value in written.items() if name.startswith("x-amz-")}
    headers = written if own_metadata else {**_portable(source.headers), **sent}
    algorithm = checksums.asked(call.headers) or next(iter(source.checksums), None)
    values = {algorithm: checksums.value_of(algorithm, source.data)} if algorithm else {}
    version = Version(
        call.key,
        NULL_VERSION,
        store.clock(),
        source.data,
        md5(source.data).hex(),
        headers=headers,
        metadata=kept_metadata(call) if own_metadata else dict(source.metadata),
        tags=tags_header(call) if own_tags else dict(source.tags),
        checksums=values,
        checksum_type="FULL_OBJECT" if values else None,
    )
    check_write(bucket.current(call.key), call.headers)
    bucket.put(version, store.version_id)
    reply = Reply.xml("CopyObjectResult", copied(version))
    reply.headers |= {**encryption_of(version.headers), **version_header(store, call, version)}
    if store.bucket(call.bucket).versioning is not None or source.version_id != NULL_VERSION:
        reply.headers["x-amz-copy-source-version-id"] = source.version_id
    return reply


def _portable(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not name.startswith("x-amz-")}


def copied(version: Version) -> str:
    """The elements a copy answers with."""
    facts = {"LastModified": iso(version.modified), "ETag": f'"{version.etag}"'}
    return elements(facts | checksums.elements_of(version.checksums, version.checksum_type))


def tags_header(call: Call) -> dict[str, str]:
    """The tags in `x-amz-tagging`."""
    return require_tags(dict(parse_qsl(call.headers.get("x-amz-tagging", ""), keep_blank_values=True)))


def get_tags(store: Store, call: Call) -> Reply:
    """The tags of a version."""
    version = store.bucket(call.bucket).find(call.key, call.query.get("versionId"))
    listed = (
        f"<Tag>{element('Key', key)}{element('Value', value)}</Tag>" for key, value in version.tags.items()
    )
    reply = Reply.xml("Tagging", f"<TagSet>{''.join(listed)}</TagSet>")
    reply.headers |= version_header(store, call, version)
    return reply


def put_tags(store: Store, call: Call) -> Reply:
    """The tags replaced."""
    version = store.bucket(call.bucket).find(call.key, call.query.get("versionId"))
    found = parse(call.body).iterfind("{*}TagSet/{*}Tag")
    tags = {tag.findtext("{*}Key") or "": tag.findtext("{*}Value") or "" for tag in found}
    version.tags = require_tags(tags)
    return Reply(200, version_header(store, call, version))


def delete_tags(store: Store, call: Call) -> Reply:
    """No tags any more."""
    version = store.bucket(call.bucket).find(call.key, call.query.get("versionId"))
    version.tags = {}
    return Reply(204, version_header(store, call, version))


def parse(body: bytes) -> ET.Element:
    """The document in a request. `MalformedXML` when it is none."""
    if b"<!DOCTYPE" in body:
        raise malformed()
    try:
        return ET.fromstring(body)  # noqa: S314 - without a DOCTYPE there is no entity to expand
    except ET.ParseError as error:
        raise malformed() from error


def malformed() -> Refusal:
    """`MalformedXML`."""
    text = "The XML you provided was not well-formed or did not validate against our published schema"
    return Refusal(400, "MalformedXML", text)
