"""Object tags, checked against S3's rules before anything is sent."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from ._errors import S3InvalidRequestError

MAX_TAGS: Final = 10
MAX_TAG_KEY: Final = 128
MAX_TAG_VALUE: Final = 256

_PLAIN: Final = re.compile(r"[A-Za-z0-9 +\-=._:/@]*")
_PUNCTUATION: Final = frozenset("+-=._:/@")


def prepare_tags(tags: Mapping[str, str], *, key: str | None = None) -> dict[str, str]:
    """
    A checked copy of *tags*.

    At most 10; keys of 1 to 128, values of up to 256 characters: letters, digits and spaces of any script and
    `+ - = . _ : / @`, no key under `aws:` (S3: "Categorizing your storage using tags"). Raises
    `S3InvalidRequestError`, `TypeError` for anything but a mapping of strings.
    """
    if not isinstance(tags, Mapping):
        raise TypeError(f"tags must be a mapping of str to str, not {type(tags).__name__}")
    if len(tags) > MAX_TAGS:
        raise S3InvalidRequestError(
            f"{len(tags)} tags; S3 keeps at most {MAX_TAGS} per object",
            key=key,
            remedy="Drop some, or keep them as metadata=.",
        )
    for name, value in tags.items():
        _check("tag key", name, MAX_TAG_KEY, key)
        _check(f"value of tag {name!r}", value, MAX_TAG_VALUE, key)
        if not name:
            raise S3InvalidRequestError("a tag has an empty key", key=key, remedy="Give it a name.")
        if name[:4].lower() == "aws:":
            raise S3InvalidRequestError(
                f"tag key {name!r} starts with 'aws:', which AWS keeps for itself",
                key=key,
                remedy="Choose another prefix, such as 'greenlang:'.",
            )
    return dict(tags)


def tagging_header(tags: Mapping[str, str]) -> str:
    """Checked *tags* in the form of the `x-amz-tagging` header."""
    return urlencode(tags, quote_via=quote, safe="")


def _check(what: str, text: str, limit: int, key: str | None) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {text!r}")
    if len(text) > limit:
        raise S3InvalidRequestError(
            f"{what} has {len(text)} characters; S3 allows {limit}",
            key=key,
            remedy="Shorten it, or keep the value as metadata=.",
        )
    if _PLAIN.fullmatch(text):
        return
    for char in text:
        if unicodedata.category(char)[0] not in "LNZ" and char not in _PUNCTUATION:
            raise S3InvalidRequestError(
                f"{what} {text!r} has {char!r}, which S3 does not allow in tags",
                key=key,
                remedy="Use letters, digits, spaces and + - = . _ : / @.",
            )
