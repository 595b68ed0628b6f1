"""Which S3 operation an HTTP request is: told by method, path, query and the header of a copy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

COPY_SOURCE: Final = "x-amz-copy-source"
_VIRTUAL_HOST: Final = re.compile(r"^(?P<bucket>[^/]+?)\.s3[.-]")
# The first row whose query fields are all there wins: (method, fields, operation).
_BUCKET_ROWS: Final[tuple[tuple[str, frozenset[str], str], ...]] = (
    ("GET", frozenset({"versioning"}), "GetBucketVersioning"),
    ("GET", frozenset({"location"}), "GetBucketLocation"),
    ("GET", frozenset({"versions"}), "ListObjectVersions"),
    ("GET", frozenset({"uploads"}), "ListMultipartUploads"),
    ("GET", frozenset({"list-type"}), "ListObjectsV2"),
    ("PUT", frozenset({"versioning"}), "PutBucketVersioning"),
    ("POST", frozenset({"delete"}), "DeleteObjects"),
)
_OBJECT_ROWS: Final[tuple[tuple[str, frozenset[str], str], ...]] = (
    ("GET", frozenset({"uploadId"}), "ListParts"),
    ("GET", frozenset({"tagging"}), "GetObjectTagging"),
    ("GET", frozenset({"attributes"}), "GetObjectAttributes"),
    ("PUT", frozenset({"uploadId", "partNumber"}), "UploadPart"),
    ("PUT", frozenset({"tagging"}), "PutObjectTagging"),
    ("POST", frozenset({"uploads"}), "CreateMultipartUpload"),
    ("POST", frozenset({"uploadId"}), "CompleteMultipartUpload"),
    ("DELETE", frozenset({"uploadId"}), "AbortMultipartUpload"),
    ("DELETE", frozenset({"tagging"}), "DeleteObjectTagging"),
)
_PLAIN_BUCKET: Final = {
    "GET": "ListObjects",
    "HEAD": "HeadBucket",
    "PUT": "CreateBucket",
    "POST": "PostObject",
    "DELETE": "DeleteBucket",
}
_PLAIN_OBJECT: Final = {
    "GET": "GetObject",
    "HEAD": "HeadObject",
    "PUT": "PutObject",
    "DELETE": "DeleteObject",
}
_COPIES: Final = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
# What marks a request for a sub-resource; one we do not know must not pass for the plain operation.
_SUBRESOURCES: Final = frozenset(
    {
        "accelerate", "acl", "analytics", "cors", "encryption", "intelligent-tiering", "inventory",
        "legal-hold", "lifecycle", "logging", "metrics", "notification", "object-lock", "ownershipControls",
        "policy", "policyStatus", "publicAccessBlock", "replication", "requestPayment", "restore",
        "retention", "select", "torrent", "website",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about."""

    operation: str
    """S3's name of it (`UploadPart`), or the method where it is none we know."""
    bucket: str | None
    key: str | None
    query: Mapping[str, str]


def target_of(method: str, target: str, headers: Mapping[str, str]) -> Target:
    """
    The operation, bucket, key and query of a request; *headers* by lower-case name.

    Buckets are read from the path, and from the host where it is one of AWS's (`bucket.s3.…`).
    """
    path, _, text = target.partition("?")
    query = dict(parse_qsl(text, keep_blank_values=True))
    place = path.removeprefix("/")
    if (host := _VIRTUAL_HOST.match(headers.get("host", ""))) is not None:
        bucket, key = host["bucket"], unquote(place)
    else:
        first, _, rest = place.partition("/")
        bucket, key = unquote(first), unquote(rest)
    return Target(_operation(method, bucket, key, query, headers), bucket or None, key or None, query)


def _operation(
    method: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> str:
    if not bucket:
        return "ListBuckets" if method == "GET" else method
    if not _SUBRESOURCES.isdisjoint(query):
        return method
    fields = query.keys()
    for row_method, needed, name in _OBJECT_ROWS if key else _BUCKET_ROWS:
        if method == row_method and needed <= fields:
            found = name
            break
    else:
        found = (_PLAIN_OBJECT if key else _PLAIN_BUCKET).get(method, method)
    return _COPIES.get(found, found) if COPY_SOURCE in headers else found
