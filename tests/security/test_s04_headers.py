"""S4: text a caller passes on becomes a header's value or is refused; never another header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage import S3InvalidRequestError
from tests.fastpath.transport.wire import Server, reply
from tests.security._sessions import BOTH_PATHS, lake_at

HOSTILE: Final = st.one_of(
    st.text(st.characters(codec=None), max_size=60),
    st.text(st.sampled_from('a"\\;,=\r\n\t \x00\x7f\x85\u2028\u202e\u2066é€😀%'), max_size=30),
    st.sampled_from(
        ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\r\n\r\nGET / HTTP/1.1", "é" * 100, "x" * 10_240, "\ud800"]
    ),
)
NAMES: Final = ("metadata", "name", "content_type", "content_disposition", "cache_control", "tags")


def options(name: str, text: str) -> dict[str, Any]:
    """Write options with *text* in one of them."""
    match name:
        case "metadata":
            return {"metadata": {"note": text}}
        case "name":
            return {"metadata": {text: "value"}}
        case "tags":
            return {"tags": {"note": text}}
        case "content_type":
            return {"content_type": f"text/{text}"}
    return {name: text}


def carried(name: str, text: str, headers: Mapping[str, str]) -> bool:
    """Whether the request says what was meant."""
    match name:
        case "metadata":
            return headers.get("x-amz-meta-note", "") == text
        case "name":
            return headers.get(f"x-amz-meta-{text.lower()}") == "value"
        case "content_type":
            return headers["content-type"] == f"text/{text}"
        case "tags":
            return dict(parse_qsl(headers["x-amz-tagging"], keep_blank_values=True)) == {"note": text}
    return headers.get(name.replace("_", "-"), "") == text


@BOTH_PATHS
@pytest.mark.asyncio
async def test_s04_no_text_becomes_a_header(fast_path: bool) -> None:
    """On the wire each header is one the SDK sends, with the value that was given, or nothing was sent."""
    texts: list[tuple[str, str]] = []

    @hypothesis.settings(max_examples=400)
    @given(st.sampled_from(NAMES), HOSTILE)
    def collect(name: str, text: str) -> None:
        texts.append((name, text))

    collect()
    sent = 0
    async with Server() as server:
        server.answers(reply(headers='ETag: "x"\r\n'))
        async with lake_at(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as lake:
            await lake.upload_bytes("plain", b"data", metadata={"note": "a"}, tags={"a": "b"})
            known = {name for name in server.requests[-1].headers if not name.startswith("x-amz-meta-")}
            known |= {"content-disposition", "cache-control", "x-amz-meta-note"}
            for name, text in texts:
                before = len(server.requests)
                try:
                    await lake.upload_bytes("key", b"data", **options(name, text))
                except (S3InvalidRequestError, TypeError):
                    assert len(server.requests) == before
                    continue
                sent += 1
                headers = server.requests[-1].headers
                assert carried(name, text, headers), (name, text)
                ours = {each for each in headers if not each.startswith("x-amz-meta-greenlang")}
                ours -= {"x-amz-meta-content-hash", f"x-amz-meta-{text.lower()}"}
                assert ours <= known, (name, text)
                assert not any("\r" in value or "\n" in value for value in headers.values())
    assert 20 < sent < len(texts)
