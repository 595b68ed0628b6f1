"""What the in-memory store takes and gives, and how S3 refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Final
from xml.sax.saxutils import escape

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_TEXT: Final = {"\r": "&#13;", '"': "&quot;"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood: its operation and place, headers by lower-case name, the body as stored."""

    operation: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def number(self, name: str, default: int) -> int:
        """A query field as a whole number. `InvalidArgument` otherwise."""
        text = self.query.get(name, str(default))
        if not text.isascii() or not text.isdigit():
            raise Refusal(400, "InvalidArgument", f"Provided {name} not an integer or within integer range")
        return int(text)


@dataclass(slots=True)
class Reply:
    """Status, headers by lower-case name, body; a reply to HEAD announces a length and has none."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def xml(cls, root: str, content: str, **headers: str) -> Reply:
        """A document whose root element is *root*; `_` in header names stands for `-`."""
        text = f'{DECLARATION}<{root} xmlns="{NAMESPACE}">{content}</{root}>'
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(200, {"content-type": "application/xml", **named}, text.encode())


class Refusal(Exception):  # noqa: N818 - an answer, not a failure of this program
    """An S3 error reply: status, code, message, and further elements or headers of it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        **elements: str,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.elements = elements

    def reply(self, resource: str, request_id: str) -> Reply:
        """The reply in S3's form."""
        if self.status == 304:
            return Reply(304, self.headers)
        facts = {"Code": self.code, "Message": self.message, **self.elements}
        facts |= {"Resource": resource, "RequestId": request_id}
        text = f"{DECLARATION}<Error>{elements(facts)}</Error>"
        return Reply(self.status, {"content-type": "application/xml", **self.headers}, text.encode())


def element(name: str, value: object) -> str:
    """One element; booleans as S3 writes them."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"<{name}>{escape(text, _TEXT)}</{name}>"


def elements(values: Mapping[str, object]) -> str:
    """Elements in order, those that are `None` left out."""
    return "".join(element(name, value) for name, value in values.items() if value is not None)


def iso(moment: datetime) -> str:
    """A time as S3 writes it in documents: milliseconds, UTC."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def http_date(moment: datetime) -> str:
    """A time as S3 writes it in headers (RFC 9110, section 5.6.7)."""
    return format_datetime(moment.replace(microsecond=0), usegmt=True)


def md5(data: bytes) -> bytes:
    """MD5, of which S3 makes ETags."""
    return hashlib.md5(data, usedforsecurity=False).digest()


def unquoted(etag: str) -> str:
    """An ETag as it is compared: no quotes, no weakness mark."""
    return etag.strip().removeprefix("W/").strip('"')
