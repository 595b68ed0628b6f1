"""Generated replies: what servers send for an operation, what they might, and what they should not."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any
from xml.sax.saxutils import escape

from hypothesis import strategies as st

from tests.fastpath.recorders import Reply
from tests.fastpath.strategies import service_model

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_visible = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=16).map(str.strip)
_any_text = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
_header_text = st.one_of(_visible, st.sampled_from(["ü", '"quoted"', "a, b", ""]))


def _mostly(usual: st.SearchStrategy[str], *odd: str) -> st.SearchStrategy[str]:
    return st.one_of(*[usual] * 12, st.sampled_from(odd))


_iso = _mostly(
    st.sampled_from(["2026-03-01T12:00:00.000Z", "2026-02-28T23:59:59Z", "2020-02-29T00:00:00.123456Z"]),
    "2026-03-01T12:00:00+01:00",
    "2026-03-01",
    "2026-13-01T12:00:00.000Z",
    "0",
    "1700000000",
    "yesterday",
    "",
)
_http_date = _mostly(
    st.sampled_from(["Wed, 12 Oct 2009 17:50:00 GMT", "Sun, 22 Nov 2026 23:01:59 GMT"]),
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "0",
    "-1",
    "never",
    "2026-03-01T12:00:00.000Z",
)
_numbers = _mostly(st.integers(0, 1 << 50).map(str), "-1", " 7", "007", "1_0", "x", "")
_flags = _mostly(st.sampled_from(["true", "false"]), "True", "1", "")

Node = tuple[str, Any]
"""An element: its name, and a text or a list of elements."""


def _scalar(shape: Any, texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    match shape.type_name:
        case "integer" | "long":
            return _numbers
        case "boolean":
            return _flags
        case "timestamp":
            return _iso
    return texts


def _children(shape: Any) -> st.SearchStrategy[list[Node]]:
    parts: list[st.SearchStrategy[list[Node]]] = []
    for name, member in shape.members.items():
        if member.serialization.get("location"):
            continue
        tag = member.serialization.get("name", name)
        if member.type_name == "list":
            inner = member.member
            if member.serialization.get("flattened"):
                tag = inner.serialization.get("name", tag)
                parts.append(st.lists(_node(tag, inner), max_size=4))
            else:
                item = inner.serialization.get("name", "member")
                parts.append(st.lists(_node(item, inner), max_size=3).map(partial(_wrapped, tag)))
        else:
            parts.append(st.one_of(_node(tag, member).map(lambda node: [node]), st.just([])))
    parts.append(st.sampled_from([[], [], [("Stranger", "1")], [("Stranger", [("Inner", "2")])]]))
    if not parts:
        return st.just([])
    return st.tuples(*parts).map(lambda groups: [node for group in groups for node in group])


def _wrapped(tag: str, rows: list[Node]) -> list[Node]:
    return [(tag, rows)]


def _node(tag: str, shape: Any) -> st.SearchStrategy[Node]:
    is_structure = shape.type_name == "structure"
    content: st.SearchStrategy[Any] = _children(shape) if is_structure else _scalar(shape, _any_text)
    return content.map(lambda value: (tag, value))


def render(root: str, nodes: list[Node], style: str) -> bytes:
    """The document in one of the styles servers, or their enemies, use."""
    declaration = "" if style == "bare" else '<?xml version="1.0" encoding="UTF-8"?>\n'
    attributes = "" if style in ("bare", "plain root") else f' xmlns="{NAMESPACE}"'
    indent = "  " if style == "pretty" else ""
    return (declaration + _element(root, nodes, style, indent, attributes)).encode()


def _element(tag: str, content: Any, style: str, indent: str, attributes: str = "") -> str:
    if isinstance(content, str):
        text = escape(content)
        if style == "quoted":
            text = text.replace('"', "&quot;").replace("'", "&#39;").replace("a", "&#x61;")
        if style == "cdata" and content and "]]>" not in content:
            text = f"<![CDATA[{content}]]>"
        if not text and style in ("short", "pretty"):
            return f"<{tag}/>"
        return f"<{tag}{attributes}>{text}</{tag}>"
    feed = f"\n{indent}" if indent else ""
    inner = "".join(feed + _element(name, each, style, indent) for name, each in content)
    comment = "<!-- a comment -->" if style == "comment" else ""
    return f"<{tag}{attributes}>{comment}{inner}{feed}</{tag}>"


STYLES = (
    "compact",
    "compact",
    "compact",
    "quoted",
    "short",
    "pretty",
    "bare",
    "plain root",
    "cdata",
    "comment",
)
_CODES = (
    "NoSuchKey",
    "NoSuchBucket",
    "NoSuchUpload",
    "AccessDenied",
    "PreconditionFailed",
    "InvalidObjectState",
    "BucketAlreadyOwnedByYou",
    "ObjectNotInActiveTierError",
    "SlowDown",
    "InternalError",
    "RequestTimeout",
    "BadDigest",
    "InvalidRange",
    "Throttling",
    "SignatureDoesNotMatch",
    "EncryptionTypeMismatch",
    "",
)


@st.composite
def _error_body(draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    nodes: list[Node] = [("Code", draw(st.sampled_from(_CODES))), ("Message", draw(_any_text))]
    nodes += draw(
        st.sampled_from(
            [
                [],
                [("Key", "k"), ("BucketName", "b")],
                [("StorageClass", "GLACIER")],
                [("Detail", [("A", "1"), ("B", "2")])],
                [("Code", "Twice")],
            ]
        )
    )
    nodes += draw(st.sampled_from([[], [("RequestId", "R"), ("HostId", "H")]]))
    style = draw(st.sampled_from(["plain root", "plain root", "bare", "compact", "pretty", "quoted"]))
    root = draw(st.sampled_from(["Error", "Error", "Error", "ErrorResponse", "Html"]))
    return render(root, nodes, style)


_garbage = st.sampled_from(
    [
        b"",
        b" ",
        b"\n",
        b"<html><body>Bad Gateway</body></html>",
        b"<Error",
        b"<Error></Error",
        b"not xml",
        b"\xff\xfe<a/>",
        b"<a>&nbsp;</a>",
        b"<a>\x00</a>",
        b"<Error/>",
        b"<a><b></a></b>",
        b'<Error xmlns="x"/>',
        b"<a>]]></a>",
        b"\xef\xbb\xbf<ListBucketResult></ListBucketResult>",
        b"<a></a><b></b>",
        b"{}",
    ]
)


@lru_cache(maxsize=64)
def replies(name: str) -> st.SearchStrategy[Reply]:
    """Replies to operation *name*."""
    model = service_model().operation_model(name)
    shape = model.output_shape
    payload = shape.serialization.get("payload")
    is_bytes = model.has_streaming_output
    headers = {
        member.serialization.get("name", key): member
        for key, member in shape.members.items()
        if member.serialization.get("location") == "header"
    }
    documents = _children(shape if payload is None or is_bytes else shape.members[payload])
    has_members = any(not member.serialization.get("location") for member in shape.members.values())
    root = (payload if payload and not is_bytes else None) or f"{name}Result"

    @st.composite
    def draw(choose: Callable[[st.SearchStrategy[Any]], Any]) -> Reply:
        status = choose(
            st.sampled_from(
                [200] * 20 + [204, 206, 202, 300, 304, 307, 400, 403, 404, 409, 412, 416, 429, 500, 503]
            )
        )
        lines = _headers(choose, headers)
        if model.http["method"] == "HEAD" or status in (204, 304):
            return Reply(status, lines, b"")
        if status < 300 and is_bytes:
            data = choose(st.binary(max_size=40))
            lines += choose(st.sampled_from([[], [("content-length", str(len(data)))]]))
            lines += _checksum(choose, data)
            return Reply(status, lines, data)
        if status < 300:
            document = documents.map(lambda nodes: render(root, nodes, choose(st.sampled_from(STYLES))))
            usual = document if has_members else st.just(b"")
            body = choose(st.one_of(*[usual] * 6, document, st.just(b""), _garbage, _error_body()))
        else:
            body = choose(st.one_of(_error_body(), _error_body(), _error_body(), _garbage))
        return Reply(status, lines, body)

    return draw()


def _headers(choose: Callable[[st.SearchStrategy[Any]], Any], known: dict[str, Any]) -> list[tuple[str, str]]:
    chosen = choose(st.lists(st.sampled_from(sorted(known)), max_size=6, unique=True)) if known else []
    lines: list[tuple[str, str]] = []
    for name in chosen:
        if name.lower() == "content-length" or name.lower().startswith("x-amz-checksum-"):
            continue
        shape = known[name]
        texts = _http_date if shape.type_name == "timestamp" else _scalar(shape, _header_text)
        lines.append((name, choose(texts)))
    lines += choose(
        st.sampled_from(
            [
                [],
                [("x-amz-request-id", "RID"), ("x-amz-id-2", "HID")],
                [("x-amz-request-id", "RID")],
                [("x-amzn-requestid", "RN")],
                [("x-amz-meta-a", "1"), ("x-amz-meta-b-c", "ü")],
                [("server", "x"), ("server", "y")],
                [("expires", "never")],
                [("Expires", "Wed, 12 Oct 2009 17:50:00 GMT")],
            ]
        )
    )
    return lines


def _checksum(choose: Callable[[st.SearchStrategy[Any]], Any], data: bytes) -> list[tuple[str, str]]:
    right = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    options: list[list[tuple[str, str]]] = [
        [],
        [("x-amz-checksum-crc32", right)],
        [("x-amz-checksum-crc32", "AAAAAA==")],
        [("x-amz-checksum-crc32", "AAAAAA==-3"), ("x-amz-checksum-type", "COMPOSITE")],
        [("x-amz-checksum-crc32", right), ("x-amz-checksum-sha256", "x-2")],
        [("x-amz-checksum-crc32", "no base64")],
    ]
    return list(choose(st.sampled_from(options)))
