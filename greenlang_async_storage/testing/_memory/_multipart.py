"""Multipart uploads: parts, their listing, Complete with all its checks, abort."""

from __future__ import annotations

from typing import Final

from greenlang_async_storage.testing._memory import _checksums as checksums
from greenlang_async_storage.testing._memory._conditions import check_write
from greenlang_async_storage.testing._memory._objects import malformed, parse, source_of, tags_header
from greenlang_async_storage.testing._memory._state import (
    NULL_VERSION,
    BucketState,
    Part,
    Upload,
    Version,
    no_such_upload,
)
from greenlang_async_storage.testing._memory._store import (
    Store,
    encryption_of,
    kept_headers,
    kept_metadata,
    require_key,
    version_header,
)
from greenlang_async_storage.testing._memory._wire import (
    Call,
    Refusal,
    Reply,
    elements,
    iso,
    md5,
    unquoted,
)

MAX_PARTS: Final = 10_000
_COMPOSITE_BY_DEFAULT: Final = frozenset({"CRC32", "CRC32C", "SHA1", "SHA256"})


def create(store: Store, call: Call) -> Reply:
    """A new upload; its checksum algorithm and type are fixed here."""
    bucket = store.bucket(call.bucket)
    require_key(call.key)
    asked = checksums.asked(call.headers)
    algorithm = asked or ("CRC64NVME" if store.keeps_default_checksum else None)
    kind = call.headers.get("x-amz-checksum-type")
    if algorithm is not None:
        checksums.value_of(algorithm, b"")
        kind = kind or ("COMPOSITE" if algorithm in _COMPOSITE_BY_DEFAULT else "FULL_OBJECT")
        if (algorithm == checksums.FULL_ONLY and kind != "FULL_OBJECT") or (
            algorithm.startswith("SHA") and kind != "COMPOSITE"
        ):
            raise Refusal(400, "InvalidRequest", f"The {kind} checksum type cannot be used with {algorithm}.")
    upload = Upload(
        store.new_id("u"),
        call.key,
        store.clock(),
        kept_headers(call),
        kept_metadata(call),
        tags_header(call),
        algorithm,
        kind,
        stated=asked is not None,
    )
    bucket.uploads[upload.upload_id] = upload
    told = {"Bucket": call.bucket, "Key": call.key, "UploadId": upload.upload_id}
    reply = Reply.xml("InitiateMultipartUploadResult", elements(told))
    reply.headers |= encryption_of(upload.headers)
    if asked and algorithm and kind:
        reply.headers |= {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind}
    return reply


def _new_part(store: Store, call: Call, data: bytes, stated: dict[str, str]) -> tuple[Upload, Part]:
    upload = store.bucket(call.bucket).upload(call.query["uploadId"], call.key)
    number = call.number("partNumber", 0)
    if not 1 <= number <= MAX_PARTS:
        raise Refusal(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    algorithm = upload.algorithm
    if stated and algorithm is not None and upload.stated and algorithm not in stated:
        raise Refusal(
            400,
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {algorithm.lower()}",
        )
    values = {algorithm: checksums.value_of(algorithm, data)} if algorithm else stated
    part = Part(number, data, md5(data).hex(), store.clock(), values)
    upload.parts[number] = part
    return upload, part


def upload_part(store: Store, call: Call) -> Reply:
    """One part, replacing an earlier one of its number."""
    stated = checksums.verify_body(call.headers, call.body)
    upload, part = _new_part(store, call, call.body, stated)
    told = part.checksums if upload.stated or stated else {}
    headers = {"etag": f'"{part.etag}"', **checksums.headers_of(told, None)}
    return Reply(200, headers | encryption_of(upload.headers))


def upload_part_copy(store: Store, call: Call) -> Reply:
    """One part copied from an object, or a range of it."""
    source = source_of(store, call)
    data = source.data
    if (text := call.headers.get("x-amz-copy-source-range")) is not None:
        first, _, last = text.removeprefix("bytes=").partition("-")
        if not (first.isdigit() and last.isdigit() and int(first) <= int(last) < source.size):
            raise Refusal(400, "InvalidArgument", "Range specified is not valid for source object")
        data = data[int(first) : int(last) + 1]
    upload, part = _new_part(store, call, data, {})
    told = part.checksums if upload.stated else {}
    facts = {"LastModified": iso(part.modified), "ETag": f'"{part.etag}"'}
    reply = Reply.xml("CopyPartResult", elements(facts | checksums.elements_of(told)))
    if source.version_id != NULL_VERSION:
        reply.headers["x-amz-copy-source-version-id"] = source.version_id
    return reply


def list_parts(store: Store, call: Call) -> Reply:
    """The acknowledged parts in order, page by page."""
    upload = store.bucket(call.bucket).upload(call.query["uploadId"], call.key)
    after, most = call.number("part-number-marker", 0), min(call.number("max-parts", 1000), 1000)
    rest = [part for number, part in sorted(upload.parts.items()) if number > after]
    page = rest[:most]
    facts: dict[str, object] = {
        "Bucket": call.bucket,
        "Key": call.key,
        "UploadId": upload.upload_id,
        "PartNumberMarker": after,
        "NextPartNumberMarker": page[-1].number if page else 0,
        "MaxParts": most,
        "IsTruncated": len(rest) > most,
        "StorageClass": upload.headers.get("x-amz-storage-class", "STANDARD"),
        "ChecksumAlgorithm": upload.algorithm,
        "ChecksumType": upload.checksum_type,
    }
    return Reply.xml("ListPartsResult", elements(facts) + "".join(_listed(part) for part in page))


def _listed(part: Part) -> str:
    facts: dict[str, object] = {
        "PartNumber": part.number,
        "LastModified": iso(part.modified),
        "ETag": f'"{part.etag}"',
        "Size": part.size,
    }
    return f"<Part>{elements(facts | checksums.elements_of(part.checksums))}</Part>"


def abort(store: Store, call: Call) -> Reply:
    """The upload and its parts gone. `NoSuchUpload` where there is none."""
    bucket = store.bucket(call.bucket)
    bucket.upload(call.query["uploadId"], call.key)
    del bucket.uploads[call.query["uploadId"]]
    return Reply(204)


def complete(store: Store, call: Call) -> Reply:
    """The object made of the named parts, if all of it holds; else the upload stays as it was."""
    bucket = store.bucket(call.bucket)
    upload_id = call.query["uploadId"]
    if upload_id not in bucket.uploads:
        return _again(store, call, bucket, upload_id)
    upload = bucket.upload(upload_id, call.key)
    parts = _named_parts(store, call, upload)
    check_write(bucket.current(call.key), call.headers)
    data = b"".join(part.data for part in parts)
    stated_size = call.headers.get("x-amz-mp-object-size")
    if stated_size is not None and stated_size != str(len(data)):
        raise Refusal(
            400, "InvalidRequest", "The provided 'x-amz-mp-object-size' header value does not match"
        )
    digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    version = Version(
        call.key,
        NULL_VERSION,
        store.clock(),
        data,
        f"{md5(digests).hex()}-{len(parts)}",
        headers=upload.headers,
        metadata=upload.metadata,
        tags=upload.tags,
        checksums=_whole_checksum(call, upload, parts, data),
        checksum_type=upload.checksum_type,
        parts=tuple(parts),
    )
    bucket.put(version, store.version_id)
    del bucket.uploads[upload_id]
    bucket.completed[upload_id] = upload, version
    return _completed(store, call, version)


def _again(store: Store, call: Call, bucket: BucketState, upload_id: str) -> Reply:
    """The second Complete: AWS repeats its answer, MinIO knows nothing, moto while the object is current."""
    done = bucket.completed.get(upload_id)
    if done is None or done[0].key != call.key or store.behaviour == "minio":
        raise no_such_upload(upload_id)
    if store.behaviour == "moto" and bucket.current(call.key) is not done[1]:
        raise no_such_upload(upload_id)
    return _completed(store, call, done[1])


def _completed(store: Store, call: Call, version: Version) -> Reply:
    told: dict[str, object] = {
        "Location": f"http://{call.bucket}.s3.amazonaws.com/{call.key}",
        "Bucket": call.bucket,
        "Key": call.key,
        "ETag": f'"{version.etag}"',
        **checksums.elements_of(version.checksums, version.checksum_type),
    }
    reply = Reply.xml("CompleteMultipartUploadResult", elements(told))
    reply.headers |= {**encryption_of(version.headers), **version_header(store, call, version)}
    return reply


def _named_parts(store: Store, call: Call, upload: Upload) -> list[Part]:
    """The parts Complete names, each compared with what was acknowledged."""
    named = parse(call.body).findall("{*}Part")
    if not named:
        raise malformed()
    parts: list[Part] = []
    for entry in named:
        text = entry.findtext("{*}PartNumber") or ""
        part = upload.parts.get(int(text)) if text.isdigit() else None
        if part is not None and parts and part.number <= parts[-1].number:
            text = "The list of parts was not in ascending order. Parts must be ordered by part number."
            raise Refusal(400, "InvalidPartOrder", text)
        told = {name: entry.findtext(f"{{*}}Checksum{name}") for name in checksums.ALGORITHMS}
        if (
            part is None
            or unquoted(entry.findtext("{*}ETag") or "") != part.etag
            or any(value is not None and value != part.checksums.get(name) for name, value in told.items())
        ):
            raise Refusal(
                400,
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been "
                "uploaded, or the specified entity tag may not match the part's entity tag.",
                UploadId=upload.upload_id,
                PartNumber=text,
            )
        if upload.stated and upload.checksum_type == "COMPOSITE" and not any(told.values()):
            raise Refusal(400, "InvalidRequest", "The upload was created using a checksum: name each part's.")
        parts.append(part)
    for part in parts[:-1]:
        if part.size < store.min_part_size:
            raise Refusal(
                400,
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                ProposedSize=str(part.size),
                MinSizeAllowed=str(store.min_part_size),
                PartNumber=str(part.number),
            )
    return parts


def _whole_checksum(call: Call, upload: Upload, parts: list[Part], data: bytes) -> dict[str, str]:
    stated = checksums.given(call.headers)
    algorithm = upload.algorithm
    if algorithm is None:
        for name, value in stated.items():
            checksums.compare(name, value, checksums.value_of(name, data))
        return {}
    if upload.checksum_type == "FULL_OBJECT":
        whole = checksums.value_of(algorithm, data)
    else:
        whole = checksums.composite_of(algorithm, (part.checksums[algorithm] for part in parts))
    if algorithm in stated:
        checksums.compare(algorithm, stated[algorithm].partition("-")[0], whole.partition("-")[0])
    return {algorithm: whole}
