"""File names of strangers: as one segment of a key, and in a Content-Disposition header."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote

MAX_NAME_BYTES: Final = 255
"""UTF-8 bytes; what common file systems keep, and a fourth of what a key may have."""

_FALLBACK: Final = "file"
# Controls, surrogates, private and unassigned characters, separators of lines, and format characters such
# as the bidi ones, which show `annexe.pdf` for what is `annfdp.exe`.
_DROPPED: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
_ATTR_CHARS: Final = "!#$&+-.^_`|~"
"""RFC 8187 attr-char that `filename*` may carry as they are."""
_LAST_SEGMENT: Final = re.compile(r"[^/\\]*\Z")
_ACTIVE: Final = re.compile(r"html|xml|svg|script|multipart/", re.IGNORECASE)


def safe_name(name: str) -> str:
    """
    *name* as one path segment: its last one, NFC, at most 255 bytes; never empty, `.` or `..`.

    A long name is cut before its extension.
    """
    found = _LAST_SEGMENT.search(name)
    last = unicodedata.normalize("NFC", found[0] if found else "")
    kept = "".join(char for char in last if unicodedata.category(char) not in _DROPPED).strip()
    return _cut(kept) if kept.strip(".") else _FALLBACK


def content_disposition(name: str, *, inline: bool = False) -> str:
    """The header that names a download *name* (RFC 6266): `filename*` in UTF-8 beside an ASCII `filename`."""
    kind = "inline" if inline else "attachment"
    name = safe_name(name.replace("/", "_").replace("\\", "_"))
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in name)
    if plain == name:
        return f'{kind}; filename="{name}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def is_active(content_type: str) -> bool:
    """Whether a browser would run what is in it, with the rights of the page's origin."""
    return _ACTIVE.search(content_type) is not None


def media_type(header: str | None) -> str:
    """The type of a Content-Type header in lower case, without parameters; empty when there is none."""
    return (header or "").partition(";")[0].strip().lower()


def is_allowed(content_type: str, allowed: frozenset[str] | None) -> bool:
    """Whether *allowed* has the type itself or its family, such as `image/*`; `None` allows every type."""
    if allowed is None:
        return True
    return content_type in allowed or f"{content_type.partition('/')[0]}/*" in allowed


def _cut(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    suffix = dot + extension
    if not stem or len(suffix.encode()) > MAX_NAME_BYTES // 4:
        stem, suffix = name, ""
    room = MAX_NAME_BYTES - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip() + suffix
