"""Request heads written, response heads read.

A head as stores send it, of plain ASCII lines and with a Content-Length, is taken apart at once. Any other is
handed to a fresh `httptools` parser, exactly up to its blank line: the parser cannot be told that a response
answers HEAD, and bodies of known length need no parser at all (RFC 9112, 6 and 7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeVar

import httptools

from greenlang_async_storage.fastpath._wire import decoded
from greenlang_async_storage.fastpath.transport._errors import BadResponseError

_T = TypeVar("_T")
HEAD_LIMIT = 65_536
"""Most bytes of a response head, interim (1xx) ones included; also of chunk headers and trailers in a row."""

# Lines without anything that could be read in two ways (RFC 9112, 4 and 5).
_PLAIN_STATUS: Final = re.compile("HTTP/1\\.1 ([2-5][0-9][0-9])(?: [ -~]*)?")
_PLAIN_FIELD: Final = re.compile("([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([!-~](?:[ -~]*[!-~])?)")
_PARSED: Final = frozenset({"connection", "proxy-connection", "transfer-encoding", "upgrade"})
"""Fields that decide about framing or the connection."""
_LENGTH_DIGITS: Final = 18
_REMEMBERED: Final = 2048
_MEMORABLE: Final = 128
_statuses: dict[str, int] = {}
_END: Final = ["", ""]
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

NO_BODY = 0
BY_LENGTH = 1
CHUNKED = 2
UNTIL_CLOSE = 3


class _OddLineError(ValueError):
    """A line the parser should look at."""


class _Fields(dict[str, tuple[str, str]]):
    """
    Name, in lower case, and value of each line asked for; raises `_OddLineError` for one that is not plain.

    Servers send most lines again and again: each is checked and taken apart when it is met first.
    """

    def __missing__(self, line: str) -> tuple[str, str]:
        found = _PLAIN_FIELD.fullmatch(line)
        if found is None:
            raise _OddLineError
        field = found[1].lower(), found[2]
        _remember(self, line, field)
        return field


_fields: Final = _Fields()


def encode_head(method: str, target: str, headers: list[tuple[str, str]]) -> bytes:
    """
    The request line and header lines, ready to send.

    Raises ValueError when a value would break out of its line (CR, LF, NUL) or *target* holds a space.
    """
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    text = "\r\n".join(lines) + "\r\n\r\n"
    ends = len(headers) + 2
    if text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise ValueError(f"a header of this {method} request holds CR, LF or NUL: remove it from the value")
    if " " in target or " " in method:
        raise ValueError(f"the target of this {method} request holds a space: percent-encode it")
    return text.encode()


class PlainHead:
    """A head that needed no parser: no body, or one of known length, and the connection stays open."""

    __slots__ = ("_fields", "_lines", "framing", "length", "status")
    keep_alive: Final = True

    def __init__(self, status: int, lines: list[str], fields: dict[str, str], length: int) -> None:
        self.status = status
        self.length = length
        self.framing = BY_LENGTH if length else NO_BODY
        self._lines = lines
        self._fields = fields

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As `WireResponse.headers`."""
        parts = [line.partition(": ") for line in self._lines]
        return [(name.lower().encode(), value.encode()) for name, _, value in parts]

    def fields(self) -> dict[str, str]:
        """As `WireResponse.fields`; the same dict every time."""
        return self._fields


class ResponseHead:
    """A response head, and for chunked bodies the parser that goes on with the body."""

    __slots__ = (
        "_overhead",
        "complete",
        "error",
        "finished",
        "framing",
        "headers",
        "keep_alive",
        "length",
        "parser",
        "pieces",
        "status",
        "surplus",
    )

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.keep_alive = False
        self.framing = NO_BODY
        self.length = 0
        self.parser: httptools.HttpResponseParser | None = None
        self.complete = False
        self.pieces: list[bytes] = []
        self.finished = False
        self.surplus = False
        self.error: BadResponseError | None = None
        self._overhead = 0

    def fields(self) -> dict[str, str]:
        """As `WireResponse.fields`."""
        return decoded(self.headers)

    def on_message_begin(self) -> None:
        """A message starts: after the first one, bytes nobody asked for."""
        if self.complete:
            self.surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header line; trailers of a chunked body are dropped."""
        if not self.complete:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The blank line was seen."""
        self.complete = True

    def on_body(self, data: bytes) -> None:
        """Keep a piece of a chunked body until the connection takes it."""
        if not self.finished:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        """The last chunk and the trailers were seen."""
        self.finished = True

    def feed(self, data: memoryview) -> None:
        """Read more of a chunked body into `pieces`; what is wrong with it is left in `error`."""
        parser = self.parser
        if parser is None:
            self.surplus = True
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.finished:
                self.surplus = True
            else:
                self.error = BadResponseError(f"the chunked body is malformed: {error}")
                self.error.__cause__ = error
        if self.finished or self.error is not None:
            self.parser = None  # it refers back to us
            return
        self._overhead = 0 if self.pieces else self._overhead + len(data)
        if self._overhead > HEAD_LIMIT:
            self.error = BadResponseError(f"chunk headers or trailers are longer than {HEAD_LIMIT} bytes")


def parse_head(block: bytes, *, answers_head: bool) -> PlainHead | ResponseHead:
    """
    The head in *block*, which ends with its blank line.

    *answers_head*: the request was HEAD, so no body follows whatever the head says. Raises BadResponseError.
    """
    return _plain_head(block, answers_head=answers_head) or _parsed_head(block, answers_head=answers_head)


def _plain_head(block: bytes, *, answers_head: bool) -> PlainHead | None:
    """The head in *block*, or `None` where a parser should look at it."""
    if block == CONTINUE:
        return PlainHead(100, [], {}, 0)
    try:
        lines = block.decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        return None
    status = _statuses.get(lines[0]) or _status(lines[0])
    if not status or lines[-2:] != _END:
        return None
    del lines[0], lines[-2:]
    try:
        # No loop of our own: of all that a small call does, this took longest.
        fields = dict(map(_fields.__getitem__, lines))
    except _OddLineError:
        return None
    if not _PARSED.isdisjoint(fields):
        return None
    if len(fields) != len(lines) and block.lower().count(b"\r\ncontent-length:") > 1:
        return None
    bodyless = answers_head or status in {204, 304}
    length = fields.get("content-length", "0" if bodyless else "")
    if not length.isdecimal() or len(length) > _LENGTH_DIGITS:
        return None
    return PlainHead(status, lines, fields, 0 if bodyless else int(length))


def _status(line: str) -> int:
    """The status in a plain status line; 0 for another line."""
    found = _PLAIN_STATUS.fullmatch(line)
    if found is None:
        return 0
    _remember(_statuses, line, int(found[1]))
    return int(found[1])


def _remember(lines: dict[str, _T], line: str, value: _T) -> None:
    if len(line) <= _MEMORABLE:
        if len(lines) >= _REMEMBERED:
            lines.clear()
        lines[line] = value


def _parsed_head(block: bytes, *, answers_head: bool) -> ResponseHead:
    if not block.startswith(b"HTTP/1."):
        raise BadResponseError("the response does not start with the status line of HTTP/1.0 or HTTP/1.1")
    head = ResponseHead()
    parser = httptools.HttpResponseParser(head)
    try:
        parser.feed_data(block)
    except httptools.HttpParserUpgrade as error:
        raise BadResponseError("the server switched protocols without being asked") from error
    except httptools.HttpParserError as error:
        raise BadResponseError(f"the response head is malformed: {error}") from error
    if not head.complete:
        raise BadResponseError("the response head ends before its blank line")
    head.status = status = parser.get_status_code()
    fields = dict(head.headers)
    length = fields.get(b"content-length")
    if answers_head or status < 200 or status in {204, 304} or length == b"0":
        # No body, whatever else the head says; the parser may think otherwise, or be at the next message.
        head.keep_alive = _keep_alive(parser, fields.get(b"connection", b""))
        return head
    head.keep_alive = parser.should_keep_alive()
    if length is not None:
        head.length = int(length)
        head.framing = BY_LENGTH if head.length else NO_BODY
    elif b"transfer-encoding" in fields:
        coding = b",".join(v for n, v in head.headers if n == b"transfer-encoding")
        if coding.rpartition(b",")[2].strip().lower() == b"chunked":
            head.framing = CHUNKED
            head.parser = parser
        else:
            head.framing = UNTIL_CLOSE
    else:
        head.framing = UNTIL_CLOSE
    return head


def _keep_alive(parser: httptools.HttpResponseParser, connection: bytes) -> bool:
    tokens = connection.lower()
    if parser.get_http_version() == "1.0":
        return b"keep-alive" in tokens
    return b"close" not in tokens


def find_header(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """The value of the header *name* (lower case), or None."""
    size = len(name)
    for key, value in headers:
        if len(key) == size and key.lower() == name:
            return value
    return None
