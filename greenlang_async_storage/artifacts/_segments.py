"""What may stand between two slashes of a key: decided once, so that no value leads out of its prefix."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from greenlang_async_storage import S3InvalidRequestError

MAX_SEGMENT: Final = 128
SEGMENT: Final = rf"[A-Za-z0-9_][A-Za-z0-9._+=@:-]{{0,{MAX_SEGMENT - 1}}}"
"""Also fit for metadata and for tags, whose alphabets are narrower than that of keys."""
EXTENSION: Final = r"[a-z0-9][a-z0-9_]{0,15}"
MAX_FILENAME_BYTES: Final = 255

_SEGMENT: Final = re.compile(SEGMENT)
_EXTENSION: Final = re.compile(EXTENSION)


def check_segment(what: str, value: str) -> str:
    """
    *value* itself, when it is one safe segment of a key: 1 to 128 of `A-Z a-z 0-9 . _ + = @ : -`.

    It begins with a letter, a digit or `_`, so `.` and `..` are none. Raises `S3InvalidRequestError` (also a
    `ValueError`), `TypeError` for what is no `str`.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if not _SEGMENT.fullmatch(value):
        raise S3InvalidRequestError(
            f"{what} {_shown(value)} is no safe segment of a key",
            remedy=f"Use 1 to {MAX_SEGMENT} of A-Z a-z 0-9 . _ + = @ : -, the first a letter, a digit or _.",
        )
    return value


def check_extension(what: str, value: str) -> str:
    """*value* itself, when it is a file extension without its dot: 1 to 16 of `a-z 0-9 _`."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if not _EXTENSION.fullmatch(value):
        raise S3InvalidRequestError(
            f"{what} {_shown(value)} is no file extension",
            remedy="Use 1 to 16 of a-z 0-9 _ without the dot, such as 'pdf' or 'safetensors'.",
        )
    return value


def check_filename(what: str, value: str) -> str:
    """
    *value* itself, when it is a file name of any script in one segment: at most 255 bytes of UTF-8.

    Refused: both separators, control and format characters, lone surrogates, `.` and `..`.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    reason = _filename_fault(value)
    if reason:
        raise S3InvalidRequestError(
            f"{what} {_shown(value)} {reason}",
            remedy="Pass the bare name of a file, such as 'imports-2026.csv'.",
        )
    return value


def _filename_fault(value: str) -> str | None:
    if value in {"", ".", ".."}:
        return "names no file"
    for char in value:
        if char in "/\\" or unicodedata.category(char) in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}:
            return f"has the character U+{ord(char):04X}"
    if len(value.encode()) > MAX_FILENAME_BYTES:
        return f"has more than {MAX_FILENAME_BYTES} bytes of UTF-8"
    return None


def _shown(value: str) -> str:
    """*value* as Python writes it in ASCII, cut to a readable length: it may be hostile."""
    text = ascii(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(value):,} characters)"
