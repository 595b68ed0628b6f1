"""Values that are safe in an HTTP header, and the Content-Disposition header for any file name."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from ._errors import S3InvalidRequestError

Disposition: TypeAlias = Literal["attachment", "inline"]

MAX_FILENAME_BYTES: Final = 255
"""UTF-8 bytes of a file name that common file systems keep."""

_FALLBACK: Final = "download"
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
# RFC 8187 attr-char: what `filename*` may carry without percent-encoding.
_ATTR_CHARS: Final = "!#$&+-.^_`|~"
# Controls, lone surrogates, line and paragraph separators; and the bidi characters, which let
# `annexe.pdf` be shown for what is `annfdp.exe`.
_DROPPED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_SEPARATORS: Final = frozenset("/\\")


def check_header_value(name: str, value: str, *, key: str | None = None, show: bool = True) -> str:
    """
    *value* unchanged when a header carries it unchanged: printable US-ASCII, no space at either end.

    S3 answers other characters in RFC 2047 form (S3: "Working with object metadata"), HTTP libraries strip
    outer spaces, and a CR or LF would start a header of its own. Raises `S3InvalidRequestError`; with *show*
    off the value stays out of the message.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not _PRINTABLE.fullmatch(value):
        bad = next(char for char in value if not " " <= char <= "~")
        shown = f" {value[:80]!r}" if show else ""
        raise S3InvalidRequestError(
            f"{name}{shown} has {bad!r}; an S3 header carries printable US-ASCII only",
            key=key,
            remedy="Encode it first, for instance with urllib.parse.quote(), and decode it where it is read.",
        )
    if value != value.strip(" "):
        raise S3InvalidRequestError(
            f"{name} starts or ends with a space, which HTTP does not keep",
            key=key,
            remedy="Strip it, or encode it with urllib.parse.quote().",
        )
    return value


def safe_filename(filename: str) -> str:
    """
    *filename* as one path segment a browser may save: never empty, `.` or `..`, at most 255 bytes of UTF-8.

    Controls, bidi characters and lone surrogates are dropped, path separators become `_`, and a long name is
    cut before its extension.
    """
    kept = "".join(
        "_" if char in _SEPARATORS else char
        for char in filename
        if unicodedata.category(char) not in _DROPPED and char not in _BIDI
    ).strip()
    if not kept.strip("."):
        return _FALLBACK
    return _cut(kept)


def content_disposition(filename: str, disposition: Disposition = "attachment") -> str:
    """
    The Content-Disposition value that names a download *filename* (RFC 6266, RFC 8187).

    A plain name is one quoted `filename`; any other also has `filename*` in UTF-8, which browsers prefer,
    beside an ASCII `filename` for the rest. The name goes through `safe_filename` first. The value is
    printable US-ASCII, at most about 1,100 bytes long.
    """
    if disposition not in ("attachment", "inline"):
        raise ValueError(f"disposition must be 'attachment' or 'inline', not {disposition!r}")
    name = safe_filename(filename)
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in name)
    if plain == name:
        return f'{disposition}; filename="{name}"'
    return f"{disposition}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def _cut(name: str) -> str:
    if len(name.encode()) <= MAX_FILENAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    suffix = dot + extension
    if not stem or len(suffix.encode()) > MAX_FILENAME_BYTES // 4:
        stem, suffix = name, ""
    room = MAX_FILENAME_BYTES - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip() + suffix
