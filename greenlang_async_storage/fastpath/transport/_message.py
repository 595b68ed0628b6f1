"""One request as its bytes: the head, the plan for its body, and whether it may go out twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from greenlang_async_storage.fastpath.transport._head import encode_head
from greenlang_async_storage.fastpath.transport._upload import NOTHING, Upload, plan

_SAFE: Final = frozenset({"GET", "HEAD"})
_REPEATABLE: Final = frozenset({"PUT", "DELETE", "OPTIONS"})


class Message(NamedTuple):
    """One request, ready to be sent, perhaps twice."""

    method: str
    target: str
    head: bytes
    upload: Upload
    expect: bool
    """The body waits for `100 Continue`."""
    repeatable: bool
    """Sending it twice has the effect, and the answer, of sending it once."""

    def __repr__(self) -> str:
        return f"Message({self.method} {self.target.partition('?')[0]}, {len(self.head)} bytes of head)"


def message(
    method: str, target: str, headers: list[tuple[str, str]], body: Any, content_length: int | None
) -> Message:
    """
    The request with *headers* as given and *body*, of which *content_length* tells the length of a file.

    Raises ValueError or TypeError for what cannot be sent as given.
    """
    head = encode_head(method, target, headers)
    if body is None and method in _SAFE:
        return Message(method, target, head, NOTHING, expect=False, repeatable=True)
    fields = {name.lower(): value for name, value in headers}
    again = repeatable(method, fields)
    if body is None:
        return Message(method, target, head, NOTHING, expect=False, repeatable=again)
    expect = "expect" in fields and fields["expect"].lower() == "100-continue"
    return Message(method, target, head, _plan(body, fields, content_length), expect, again)


def repeatable(method: str, fields: Mapping[str, str]) -> bool:
    """
    Whether doing a request twice is doing it once, and tells the same story (RFC 9110, section 9.2.2).

    *fields*: its headers by lower-case name. A conditional write that was applied fails its own condition the
    second time, which only the layer above can tell from a real conflict.
    """
    if method in _SAFE:
        return True
    return method in _REPEATABLE and "if-match" not in fields and "if-none-match" not in fields


def _plan(body: Any, fields: Mapping[str, str], content_length: int | None) -> Upload:
    told = fields.get("content-length")
    chunked = fields.get("transfer-encoding", "").lower() == "chunked"
    if told is not None:
        if chunked or (content_length is not None and int(told) != content_length):
            raise ValueError(f"Content-Length: {told} contradicts the body, or Transfer-Encoding: remove one")
        content_length = int(told)
    return plan(body, content_length, chunked=chunked)
