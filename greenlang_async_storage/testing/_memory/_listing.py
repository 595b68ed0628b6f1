"""Listings of objects, versions and open uploads: prefix, delimiter, pages, encoded keys."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

from greenlang_async_storage.testing._memory import _checksums as checksums
from greenlang_async_storage.testing._memory._state import Upload, Version
from greenlang_async_storage.testing._memory._store import Store
from greenlang_async_storage.testing._memory._wire import Call, Refusal, Reply, element, elements, iso

MOST = 1000
T = TypeVar("T")


@dataclass(slots=True)
class Page(Generic[T]):
    """One page: entries and common prefixes, counted together."""

    entries: list[T] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: T | None = None
    """The last entry or, when it went into a prefix, that one."""
    last_name: str = ""
    """The key or common prefix that came last: where the next page goes on."""
    truncated: bool = False


def paged(found: Iterable[tuple[str, T]], call: Call, most: int, *, after: str = "") -> Page[T]:
    """A page of *found*, (key, entry) in order, under the request's prefix and delimiter."""
    prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
    page = Page[T]()
    seen: set[str] = set()
    for key, entry in found:
        if not key.startswith(prefix):
            continue
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        common = key[: cut + len(delimiter)] if cut >= 0 else ""
        if common and (common in seen or (after and common.encode() <= after.encode())):
            if common in seen:
                page.last = entry
            continue
        if len(page.entries) + len(page.prefixes) >= most:
            page.truncated = most > 0
            break
        if common:
            seen.add(common)
            page.prefixes.append(common)
        else:
            page.entries.append(entry)
        page.last, page.last_name = entry, common or key
    return page


class Names:
    """Keys as a listing shows them: as they are, or encoded when the request asks for that."""

    def __init__(self, call: Call) -> None:
        self.encoding = call.query.get("encoding-type")
        if self.encoding not in (None, "url"):
            raise Refusal(400, "InvalidArgument", "Invalid Encoding Method specified in Request")

    def show(self, name: str) -> str:
        """One key, prefix, delimiter or marker."""
        return quote(name, safe="/*-._~") if self.encoding else name

    def prefixes(self, page: Page[T]) -> str:
        """The common prefixes of a page."""
        shown = (element("Prefix", self.show(prefix)) for prefix in page.prefixes)
        return "".join(f"<CommonPrefixes>{prefix}</CommonPrefixes>" for prefix in shown)


def _shown(version: Version, names: Names) -> str:
    facts: dict[str, object] = {
        "Key": names.show(version.key),
        "LastModified": iso(version.modified),
        "ETag": f'"{version.etag}"',
        "ChecksumAlgorithm": next(iter(version.checksums), None),
        "ChecksumType": version.checksum_type,
        "Size": version.size,
        "StorageClass": version.storage_class,
    }
    return f"<Contents>{elements(facts)}</Contents>"


def list_objects(store: Store, call: Call) -> Reply:
    """ListObjectsV2, and its older sister ListObjects with a marker."""
    bucket, names = store.bucket(call.bucket), Names(call)
    second = call.operation == "ListObjectsV2"
    token, most = call.query.get("continuation-token"), min(call.number("max-keys", MOST), MOST)
    if second:
        after = _position(token) if token is not None else call.query.get("start-after", "")
    else:
        after = call.query.get("marker", "")
    rest = ((found.key, found) for found in bucket.objects() if found.key.encode() > after.encode())
    page = paged(rest, call, most, after=after)
    facts: dict[str, object] = {
        "Name": call.bucket,
        "Prefix": names.show(call.query.get("prefix", "")),
        "Delimiter": names.show(call.query["delimiter"]) if call.query.get("delimiter") else None,
        "MaxKeys": most,
        "EncodingType": names.encoding,
        "IsTruncated": page.truncated,
    }
    if second:
        facts["KeyCount"] = len(page.entries) + len(page.prefixes)
        facts["ContinuationToken"] = token
        facts["StartAfter"] = names.show(call.query["start-after"]) if "start-after" in call.query else None
        facts["NextContinuationToken"] = _token(page.last_name) if page.truncated else None
    else:
        facts["Marker"] = names.show(after)
        facts["NextMarker"] = names.show(page.last_name) if page.truncated else None
    shown = "".join(_shown(version, names) for version in page.entries)
    return Reply.xml("ListBucketResult", elements(facts) + shown + names.prefixes(page))


def _token(position: str) -> str:
    return base64.urlsafe_b64encode(b"1" + position.encode()).decode()


def _position(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode())[1:].decode()
    except ValueError as error:
        raise Refusal(400, "InvalidArgument", "The continuation token provided is incorrect") from error


def list_versions(store: Store, call: Call) -> Reply:
    """Every version and delete marker, by key, the latest of each first."""
    bucket, names = store.bucket(call.bucket), Names(call)
    key_marker, id_marker = call.query.get("key-marker", ""), call.query.get("version-id-marker", "")
    most = min(call.number("max-keys", MOST), MOST)
    found: list[tuple[str, tuple[Version, bool]]] = []
    for key in sorted(bucket.versions, key=str.encode):
        if key.encode() < key_marker.encode() or (key == key_marker and not id_marker):
            continue
        passed = key != key_marker
        for version in reversed(bucket.versions[key]):
            if passed:
                found.append((key, (version, version is bucket.versions[key][-1])))
            passed = passed or version.version_id == id_marker
    page = paged(found, call, most, after=key_marker)
    facts: dict[str, object] = {
        "Name": call.bucket,
        "Prefix": names.show(call.query.get("prefix", "")),
        "KeyMarker": names.show(key_marker),
        "VersionIdMarker": id_marker,
        "MaxKeys": most,
        "EncodingType": names.encoding,
        "IsTruncated": page.truncated,
    }
    if page.truncated and page.last is not None:
        facts["NextKeyMarker"] = names.show(page.last_name)
        facts["NextVersionIdMarker"] = page.last[0].version_id
    shown = "".join(_shown_version(version, names, latest=latest) for version, latest in page.entries)
    return Reply.xml("ListVersionsResult", elements(facts) + shown + names.prefixes(page))


def _shown_version(version: Version, names: Names, *, latest: bool) -> str:
    facts: dict[str, object] = {
        "Key": names.show(version.key),
        "VersionId": version.version_id,
        "IsLatest": latest,
        "LastModified": iso(version.modified),
    }
    if version.marker:
        return f"<DeleteMarker>{elements(facts)}</DeleteMarker>"
    facts |= {"ETag": f'"{version.etag}"', "Size": version.size, "StorageClass": version.storage_class}
    facts |= {
        "ChecksumAlgorithm": next(iter(version.checksums), None),
        "ChecksumType": version.checksum_type,
    }
    return f"<Version>{elements(facts)}</Version>"


def list_uploads(store: Store, call: Call) -> Reply:
    """Open uploads by key and age; as MinIO: only those of exactly the key that *prefix* names."""
    bucket, names = store.bucket(call.bucket), Names(call)
    most = min(call.number("max-uploads", MOST), MOST)
    prefix = call.query.get("prefix", "")
    marker = (call.query.get("key-marker", "").encode(), call.query.get("upload-id-marker", ""))
    ordered = sorted(bucket.uploads.values(), key=lambda one: (one.key.encode(), one.upload_id))
    rest = [
        (one.key, one)
        for one in ordered
        if one.key.encode() > marker[0] or (marker[1] and (one.key.encode(), one.upload_id) > marker)
    ]
    if store.behaviour == "minio" and prefix:
        rest = [(key, one) for key, one in rest if key == prefix]
    page = paged(rest, call, most, after=call.query.get("key-marker", ""))
    facts: dict[str, object] = {
        "Bucket": call.bucket,
        "KeyMarker": names.show(call.query.get("key-marker", "")),
        "UploadIdMarker": marker[1],
        "Prefix": names.show(prefix),
        "MaxUploads": most,
        "EncodingType": names.encoding,
        "IsTruncated": page.truncated,
    }
    if page.truncated and page.last is not None:
        facts |= {"NextKeyMarker": names.show(page.last_name), "NextUploadIdMarker": page.last.upload_id}
    shown = "".join(_shown_upload(upload, names) for upload in page.entries)
    return Reply.xml("ListMultipartUploadsResult", elements(facts) + shown + names.prefixes(page))


def _shown_upload(upload: Upload, names: Names) -> str:
    facts: dict[str, object] = {
        "Key": names.show(upload.key),
        "UploadId": upload.upload_id,
        "Initiated": iso(upload.initiated),
        "StorageClass": upload.headers.get("x-amz-storage-class", "STANDARD"),
        "ChecksumAlgorithm": upload.algorithm,
        "ChecksumType": upload.checksum_type,
    }
    return f"<Upload>{elements(facts)}</Upload>"


def attributes(store: Store, call: Call) -> Reply:
    """GetObjectAttributes: what was asked for of ETag, checksum, parts, size and storage class."""
    version = store.bucket(call.bucket).find(call.key, call.query.get("versionId"))
    asked = {name.strip() for name in call.headers.get("x-amz-object-attributes", "").split(",")}
    told = []
    if "ETag" in asked:
        told.append(element("ETag", version.etag))
    if "Checksum" in asked and version.checksums:
        found = checksums.elements_of(version.checksums, version.checksum_type)
        told.append(f"<Checksum>{elements(found)}</Checksum>")
    if "ObjectParts" in asked and version.parts:
        told.append(_parts(call, version))
    if "StorageClass" in asked:
        told.append(element("StorageClass", version.storage_class))
    if "ObjectSize" in asked:
        told.append(element("ObjectSize", version.size))
    reply = Reply.xml("GetObjectAttributesResponse", "".join(told))
    reply.headers["last-modified"] = iso(version.modified)
    if store.bucket(call.bucket).versioning is not None:
        reply.headers["x-amz-version-id"] = version.version_id
    return reply


def _parts(call: Call, version: Version) -> str:
    after = int(call.headers.get("x-amz-part-number-marker", "0"))
    most = min(int(call.headers.get("x-amz-max-parts", str(MOST))), MOST)
    # S3 tells the parts only of objects whose parts have checksums of their own.
    rest = [part for part in version.parts if part.number > after and version.checksum_type == "COMPOSITE"]
    page = rest[:most]
    facts: dict[str, object] = {
        "PartsCount": len(version.parts),
        "PartNumberMarker": after,
        "NextPartNumberMarker": page[-1].number if page else 0,
        "MaxParts": most,
        "IsTruncated": len(rest) > most,
    }
    shown = (
        elements({"PartNumber": part.number, "Size": part.size} | checksums.elements_of(part.checksums))
        for part in page
    )
    return f"<ObjectParts>{elements(facts)}{''.join(f'<Part>{part}</Part>' for part in shown)}</ObjectParts>"
