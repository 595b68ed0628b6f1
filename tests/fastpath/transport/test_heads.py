"""The quick way of reading a response head gives what the parser gives, or leaves the head to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage.fastpath.transport._errors import BadResponseError
from greenlang_async_storage.fastpath.transport._head import _parsed_head, _plain_head

_NAMES = (
    "content-length",
    "Content-Length",
    "ETag",
    "x-amz-meta-a",
    "Connection",
    "Transfer-Encoding",
    "Upgrade",
)
_VALUES = (
    "0",
    "5",
    "0005",
    "-5",
    "5, 5",
    "9" * 20,
    "close",
    "keep-alive",
    "chunked",
    "x",
    "a b",
    "\u00e9",
    "",
)
_LINES = st.lists(
    st.tuples(
        st.sampled_from(_NAMES) | st.text("ab-: \t\x00", max_size=3),
        st.sampled_from((": ", ":", ":  ", " : ", ":\t", "")),
        st.sampled_from(_VALUES) | st.text("a\t \r\n\x00\x7f", max_size=4),
        st.sampled_from(("", " ", "\t")),
        st.sampled_from(("\r\n", "\r\n", "\r\n", "\n", "\r\n ")),
    ),
    max_size=4,
)
_STARTS = st.sampled_from(
    (
        "HTTP/1.1 200 OK",
        "HTTP/1.1 204 ",
        "HTTP/1.1 304",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 100 C",
        "HTTP/1.1 999 X",
    )
)


@given(_STARTS, _LINES, st.booleans())
def test_a_plain_head_is_what_the_parser_makes_of_it(
    start: str, lines: list[tuple[str, ...]], answers_head: bool
) -> None:
    """Status, fields, framing and keep-alive are the same; what the parser refuses is not plain."""
    block = f"{start}\r\n{''.join(map(''.join, lines))}\r\n".encode()
    plain = _plain_head(block, answers_head=answers_head)
    if plain is None:
        return
    parsed = _parsed_head(block, answers_head=answers_head)
    assert (plain.status, plain.headers, plain.fields()) == (parsed.status, parsed.headers, parsed.fields())
    assert (plain.framing, plain.length, plain.keep_alive) == (
        parsed.framing,
        parsed.length,
        parsed.keep_alive,
    )


@pytest.mark.parametrize(
    ("block", "plain"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n', True),
        (b'HTTP/1.1 200 OK\r\nETag: "a"\r\n\r\n', False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVary: a\r\nvary: b\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx: a\r\n b\r\n\r\n", False),
    ],
)
def test_what_is_plain(block: bytes, plain: bool) -> None:
    """Replies as stores send them take the quick way; whatever has two readings does not."""
    assert (_plain_head(block, answers_head=False) is not None) is plain


def test_two_lengths_are_refused() -> None:
    """Which of them is true cannot be told, so neither way takes either."""
    block = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 6\r\n\r\n"
    assert _plain_head(block, answers_head=False) is None
    with pytest.raises(BadResponseError):
        _parsed_head(block, answers_head=False)
