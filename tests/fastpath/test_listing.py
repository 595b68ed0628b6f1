"""The quick reader of listings returns what the XML parser reads, or leaves the document to it."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlang_async_storage.fastpath._layouts import MAX_LAYOUTS
from greenlang_async_storage.fastpath._listing import read_quickly
from greenlang_async_storage.fastpath._shapes import OddReplyError, StructureReader
from greenlang_async_storage.fastpath._xml import parse_document
from tests.fastpath.replies import STYLES, _children, render
from tests.fastpath.strategies import EXAMPLES, service_model

LISTINGS = ["ListObjectsV2", "ListObjectVersions", "ListParts", "ListMultipartUploads", "DeleteObjects"]
_ODD = [
    "\x00",
    "\x0b",
    "\r",
    "\r\n",
    "\t",
    "\n",
    " ",
    "]]>",
    "&",
    "&#0;",
    "&#xD800;",
    "&#x1F600;",
    "&#13;",
    "&quot;",
    "&amp;lt;",
    "&foo;",
    "<",
    ">",
    "<!-- x -->",
    "</Key>",
    "<Key>",
    "<Key>z</Key>",
    "<Key/>",
    "<Key />",
    "\ufffe",
    "\uffff",
    "\x7f",
    "<?pi?>",
    "<![CDATA[a]]>",
    ' a="b"',
    "\ufeff",
    "<!DOCTYPE a>",
    "<Contents></Contents>",
    "<Contents/>",
    "<Owner/>",
    "<Owner><ID>i</ID></Owner>",
    "<x:y/>",
    "é",
    "😀",
]


def _reader(name: str) -> StructureReader:
    return StructureReader(service_model().operation_model(name).output_shape)


@pytest.mark.parametrize("name", LISTINGS)
def test_quick_reading_equals_parsing(name: str) -> None:
    """Whatever is put anywhere into a listing, an accepted document is well-formed and read alike."""
    shape = service_model().operation_model(name).output_shape
    accepted = 0

    @settings(max_examples=max(100, EXAMPLES // 10))
    @given(
        nodes=_children(shape),
        style=st.sampled_from(STYLES),
        odd=st.one_of(st.just(""), st.sampled_from(_ODD)),
        where=st.floats(0, 1),
    )
    def compare(nodes: list[Any], style: str, odd: str, where: float) -> None:
        nonlocal accepted
        text = render(f"{name}Result", nodes, style).decode()
        position = int(len(text) * where)
        body = (text[:position] + odd + text[position:]).encode()
        try:
            quick = read_quickly(_reader(name), body)
        except (OddReplyError, ValueError, RuntimeError, OverflowError):
            return
        if quick is not None:
            accepted += 1
            assert quick == _reader(name).read(parse_document(body))

    compare()
    assert accepted > 20


def _page(entries: int) -> bytes:
    row = (
        "<Contents><Key>prefix/some-object-name-{0}.json</Key>"
        "<LastModified>2026-03-01T12:00:00.000Z</LastModified>"
        "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>{0}</Size>"
        "<Owner><ID>abc</ID><DisplayName>d</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>"
    )
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        "<Name>b</Name><Prefix></Prefix><KeyCount>1000</KeyCount>"
        "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>"
    )
    return (head + "".join(row.format(index) for index in range(entries)) + "</ListBucketResult>").encode()


def test_a_usual_page_is_read_quickly() -> None:
    """The form AWS and MinIO send does not need the XML parser."""
    page = read_quickly(_reader("ListObjectsV2"), _page(1000))
    assert page is not None
    assert len(page["Contents"]) == 1000
    assert page["Contents"][7] == {
        "Key": "prefix/some-object-name-7.json",
        "LastModified": datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC),
        "ETag": '"d41d8cd98f00b204e9800998ecf8427e"',
        "Size": 7,
        "Owner": {"ID": "abc", "DisplayName": "d"},
        "StorageClass": "STANDARD",
    }


def test_what_is_learned_from_servers_is_bounded() -> None:
    """A server whose entries change form again and again fills no memory; its pages are read."""
    reader = _reader("ListObjectsV2")
    for extra in range(3 * MAX_LAYOUTS):
        tags = "".join(f"<X{number}>1</X{number}>" for number in range(extra))
        body = f"<R><Contents><Key>k</Key>{tags}</Contents></R>".encode()
        quick = read_quickly(reader, body)
        assert quick in (None, {"Contents": [{"Key": "k"}]})
        assert reader.read(parse_document(body)) == {"Contents": [{"Key": "k"}]}
    assert len(reader.fields["Contents"].layouts) <= MAX_LAYOUTS
