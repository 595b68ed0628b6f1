"""From the replies of HeadObject, GetObject and ListObjectsV2 to `ObjectInfo`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from ._checksums import part_count, stored_checksum
from ._options import UPLOAD_TOKEN
from ._types import Checksum, ObjectInfo

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import ObjectTypeDef

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_MULTIPART_ETAG: Final = re.compile(r"[0-9A-Fa-f]+-(\d{1,5})")
_LISTED_PARTS: Final = re.compile(r"[0-9A-Fa-f]{32}-(\d{1,5})")
_WHOLE_DIGEST: Final = 32


class Extent(NamedTuple):
    """Which bytes of an object a reply carries: half-open, and the size of the whole."""

    start: int
    stop: int
    size: int

    @property
    def whole(self) -> bool:
        """Whether the reply carries every byte of the object."""
        return self.start == 0 and self.stop == self.size


def extent(reply: Mapping[str, object]) -> Extent | None:
    """What `Content-Range` says, else `Content-Length`; `None` when neither says it in a form S3 uses."""
    text = reply.get("ContentRange")
    if isinstance(text, str) and text:
        match = _CONTENT_RANGE.fullmatch(text.strip())
        if match is None:
            return None
        first, last, size = (int(group) for group in match.groups())
        return Extent(first, last + 1, size) if first <= last < size else None
    length = reply.get("ContentLength")
    return Extent(0, length, length) if isinstance(length, int) else None


def object_info(key: str, reply: Mapping[str, Any]) -> ObjectInfo:
    """
    What a reply to HeadObject or GetObject says of the object *key*.

    `size` is that of the whole object, also when the reply carries a range of it; then `checksum` is `None`,
    because S3 gives at most a part's. Ask with `ChecksumMode="ENABLED"`, or there is never a checksum.
    """
    get = reply.get
    span = extent(reply)
    partial = get("ContentRange") and not (span and span.whole)
    etag = unquoted(get("ETag"))
    sent_in = _parts_in(etag)
    checksum = None if partial else _checksum(reply, sent_in)
    metadata = get("Metadata")
    return ObjectInfo(
        key=key,
        size=span.size if span else 0,
        etag=etag,
        last_modified=utc(get("LastModified")),
        version_id=get("VersionId"),
        content_type=get("ContentType"),
        metadata={name: text for name, text in metadata.items() if name.lower() != UPLOAD_TOKEN}
        if metadata
        else {},
        storage_class=get("StorageClass"),
        checksum=checksum,
        content_disposition=get("ContentDisposition"),
        content_encoding=get("ContentEncoding"),
        cache_control=get("CacheControl"),
        encryption=get("ServerSideEncryption"),
        parts=get("PartsCount") or sent_in or (part_count(checksum) if checksum else None),
    )


def whole_checksum(reply: Mapping[str, object]) -> Checksum | None:
    """The stored checksum, as `ObjectInfo.checksum`, from a reply that carries the whole object."""
    return _checksum(reply, _parts_in(unquoted(reply.get("ETag"))))


def _parts_in(etag: str) -> int | None:
    match = _MULTIPART_ETAG.fullmatch(etag) if "-" in etag else None
    return int(match[1]) if match else None


def _checksum(reply: Mapping[str, object], parts: int | None) -> Checksum | None:
    """The stored checksum; of an object in parts it covers their checksums unless its type is stated."""
    checksum = stored_checksum(reply)
    if checksum is None or parts is None or reply.get("ChecksumType") or checksum.type == "COMPOSITE":
        return checksum
    # Only CRC64NVME is never composite (S3: "Checking object integrity"); moto's HeadObject drops the "-N".
    if checksum.algorithm == "CRC64NVME":
        return checksum
    return Checksum(checksum.algorithm, f"{checksum.value}-{parts}", "COMPOSITE")


def unquoted(etag: object) -> str:
    """An ETag without its quotes and without the mark of a weak one; empty for none."""
    return etag.removeprefix("W/").strip('"') if isinstance(etag, str) else ""


def utc(moment: object) -> datetime | None:
    """*moment* in UTC; one without a time zone is taken as UTC, which is what S3 means."""
    if not isinstance(moment, datetime):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class ObjectColumns(Protocol):
    """What the fast path gives in place of the entries of a page: the same, member by member."""

    @property
    def keys(self) -> Sequence[str]: ...
    @property
    def sizes(self) -> Sequence[int]: ...
    @property
    def etags(self) -> Sequence[str]: ...
    @property
    def moments(self) -> Sequence[datetime]: ...
    @property
    def classes(self) -> Sequence[str | None]: ...


def listed(entries: Sequence[ObjectTypeDef] | ObjectColumns, cut: int) -> Iterator[ObjectInfo]:
    """What the entries of a page of ListObjectsV2 say; keys come without their first *cut* characters."""
    if isinstance(entries, Sequence):
        return map(_listed_entry, entries, repeat(cut))
    keys, etags = entries.keys, entries.etags
    if cut:
        keys = [key[cut:] for key in keys]
    # What `unquoted` gives for each.
    etags = [unquoted(etag) if etag[:1] == "W" else etag.strip('"') for etag in etags]
    parts = [None if len(etag) <= _WHOLE_DIGEST else _listed_parts(etag) for etag in etags]
    made = map(_Listed, keys, entries.sizes, etags, entries.moments, entries.classes, parts)
    return cast("Iterator[ObjectInfo]", made)


def _listed_entry(entry: ObjectTypeDef, cut: int) -> ObjectInfo:
    etag = unquoted(entry.get("ETag"))
    return ObjectInfo(
        key=entry["Key"][cut:],
        size=entry.get("Size", 0),
        etag=etag,
        last_modified=utc(entry.get("LastModified")),
        storage_class=entry.get("StorageClass"),
        parts=_listed_parts(etag),
    )


def _listed_parts(etag: str) -> int | None:
    match = _LISTED_PARTS.fullmatch(etag)
    return int(match[1]) if match else None


class _Listed:
    """
    Becomes an `ObjectInfo`: what makes that frozen makes its own constructor four times as expensive.

    Both have the same slots, which is what Python asks of two classes that one object may change between.
    """

    __slots__ = ObjectInfo.__slots__

    def __init__(  # noqa: PLR0917  # called by map()
        self, key: str, size: int, etag: str, moment: datetime | None, kind: str | None, parts: int | None
    ) -> None:
        self.key = key
        self.size = size
        self.etag = etag
        self.last_modified = moment
        self.version_id = None
        self.content_type = None
        self.metadata: dict[str, str] = {}
        self.storage_class = kind
        self.checksum = None
        self.verified = False
        self.content_disposition = None
        self.content_encoding = None
        self.cache_control = None
        self.encryption = None
        self.parts = parts
        self.__class__ = ObjectInfo  # type: ignore[assignment]
