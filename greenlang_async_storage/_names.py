"""Rules for bucket names, keys and prefixes, checked before anything goes on the wire; pure functions."""

from __future__ import annotations

import re

MIN_BUCKET_LENGTH = 3
MAX_BUCKET_LENGTH = 63
MAX_KEY_BYTES = 1024

_BUCKET_CHARACTERS = re.compile(r"[a-z0-9.-]*")
_BUCKET_ENDS = re.compile(r"[a-z0-9](?:.*[a-z0-9])?", re.DOTALL)
_IP_ADDRESS = re.compile(r"\d+(?:\.\d+){3}")
_RESERVED_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
# Controls break logs and headers; XML 1.0 (listings, DeleteObjects) has no way to write U+FFFE and U+FFFF.
_FORBIDDEN_IN_KEY = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")


def validate_bucket_name(name: str) -> str:
    """
    *name* itself, when S3 would accept it as the name of a general purpose bucket.

    ARNs, access point aliases and directory buckets are refused. A hyphen beside a period is refused too:
    it is no DNS label, and MinIO refuses it. Source: S3 User Guide, "General purpose bucket naming rules".

    Raises:
        ValueError: naming the rule that *name* breaks.
        TypeError: when *name* is no `str`.
    """
    _require_text("bucket name", name)
    if reason := _bucket_fault(name):
        raise ValueError(f"bucket name {_shown(name)} {reason}; give the plain name of an S3 bucket")
    return name


def validate_key(key: str) -> str:
    """
    *key* itself, when it is safe as the key of an object: 1 to 1,024 bytes of UTF-8.

    Refused: control characters, lone surrogates, a leading slash, `.` and `..` as a whole segment (proxies
    that normalise paths would turn them into another key or bucket) and the key `soap`, which S3 does not
    serve on virtual-hosted addresses. `a..b`, `a//b` and a trailing slash are legal; MinIO refuses `a//b`.
    Source: S3 User Guide, "Naming Amazon S3 objects".

    Raises:
        ValueError: naming the rule that *key* breaks.
        TypeError: when *key* is no `str`.
    """
    _require_text("key", key)
    reason = _key_fault(key, complete=True)
    if reason is None and not key:
        reason = "is empty, S3 wants 1 to 1,024 bytes"
    if reason is None and key == "soap":
        reason = "is reserved by S3"
    if reason:
        raise ValueError(f"key {_shown(key)} {reason}; choose another key")
    return key


def validate_prefix(prefix: str) -> str:
    """
    *prefix* itself, when a valid key can start with it; the empty prefix stands for every key.

    The last segment may be the beginning of a longer one: `a/..` passes (`a/..b` is a key), `a/../` does not.

    Raises:
        ValueError: naming the rule that *prefix* breaks.
        TypeError: when *prefix* is no `str`.
    """
    _require_text("prefix", prefix)
    if reason := _key_fault(prefix, complete=False):
        raise ValueError(f"prefix {_shown(prefix)} {reason}; choose another prefix")
    return prefix


def _require_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")


def _shown(value: str) -> str:
    """The value as Python writes it, pure ASCII, cut to a readable length: it may be hostile."""
    text = ascii(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(value):,} characters)"


def _bucket_fault(name: str) -> str | None:
    if not MIN_BUCKET_LENGTH <= len(name) <= MAX_BUCKET_LENGTH:
        return f"has {len(name)} characters, S3 wants {MIN_BUCKET_LENGTH} to {MAX_BUCKET_LENGTH}"
    if not _BUCKET_CHARACTERS.fullmatch(name):
        return "may hold only lower-case letters, digits, periods and hyphens"
    if not _BUCKET_ENDS.fullmatch(name):
        return "must begin and end with a letter or a digit"
    if any(pair in name for pair in ("..", ".-", "-.")):
        return "must not hold two periods, or a period and a hyphen, side by side"
    if _IP_ADDRESS.fullmatch(name):
        return "must not look like an IP address"
    for prefix in _RESERVED_PREFIXES:
        if name.startswith(prefix):
            return f"begins with {prefix!r}, which S3 reserves"
    for suffix in _RESERVED_SUFFIXES:
        if name.endswith(suffix):
            return f"ends with {suffix!r}, which S3 reserves"
    return None


def _key_fault(key: str, *, complete: bool) -> str | None:
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError:
        return "holds a lone surrogate, which UTF-8 cannot encode"
    if size > MAX_KEY_BYTES:
        return f"has {size:,} bytes of UTF-8, S3 takes at most {MAX_KEY_BYTES:,}"
    if found := _FORBIDDEN_IN_KEY.search(key):
        return f"holds the character U+{ord(found[0]):04X}, which is not allowed"
    if key.startswith("/"):
        return "begins with '/'"
    segments = key.split("/")
    for segment in segments if complete else segments[:-1]:
        if segment in {".", ".."}:
            return f"has the path segment {segment!r}"
    return None
