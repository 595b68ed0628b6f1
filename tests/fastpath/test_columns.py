"""The columns of a listing say what the dictionaries of the XML parser say, for any page."""

from __future__ import annotations

import dataclasses
import datetime
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from greenlang_async_storage import ObjectInfo
from greenlang_async_storage._info import listed, utc
from greenlang_async_storage.fastpath import _parser
from greenlang_async_storage.fastpath._columns import Columns, columns_wanted, decoded
from greenlang_async_storage.fastpath._listing import read_quickly
from greenlang_async_storage.fastpath._parser import ReplyParser
from greenlang_async_storage.fastpath._shapes import StructureReader
from greenlang_async_storage.fastpath._times import timestamp, timestamps, utc_timestamps
from tests.fastpath.recorders import Reply, outcome, twins
from tests.fastpath.replies import STYLES, _children, render
from tests.fastpath.strategies import EXAMPLES, service_model

_OPERATION = "ListObjectsV2"
_DIGEST = "d41d8cd98f00b204e9800998ecf8427e"
_ETAGS = (
    f"&quot;{_DIGEST}&quot;",
    f"&#34;{_DIGEST}&#34;",
    f'"{_DIGEST}-12"',
    f"W/&quot;{_DIGEST}&quot;",
    _DIGEST,
    "&quot;&amp;quot;&quot;",
    "&quot;&quot;",
    "",
)
_DATES = ("2026-03-01T12:00:00.000Z", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00+01:00", "2020-02-29")
_BEHIND = (
    "",
    "<StorageClass>STANDARD</StorageClass>",
    "<StorageClass/>",
    "<Owner><ID>a</ID><DisplayName>&lt;b&gt;</DisplayName></Owner><StorageClass>GLACIER</StorageClass>",
    "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumAlgorithm>SHA256</ChecksumAlgorithm>",
    "<RestoreStatus><RestoreExpiryDate>2026-03-02T00:00:00.000Z</RestoreExpiryDate></RestoreStatus>",
    "<Generation>1</Generation>",
)
_FORMS: tuple[Callable[[str], str], ...] = (
    quote_plus,
    quote,
    escape,
    lambda key: escape(key, {'"': "&#34;"}),
)
_USUAL = (_DATES[0], _ETAGS[0], 1, _BEHIND[1])
_texts = st.text(st.characters(codec="utf-8"), max_size=40)


def _entry(key: str, date: str, etag: str, size: int, behind: str) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{date}</LastModified><ETag>{etag}</ETag>"
        f"<Size>{size}</Size>{behind}</Contents>"
    )


def _page(entries: list[str], *, encoded: bool, space: str = "") -> bytes:
    encoding = "<EncodingType>url</EncodingType>" if encoded else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix>'
        f"<IsTruncated>false</IsTruncated>{space}{space.join(entries)}{space}{encoding}</ListBucketResult>"
    ).encode()


def _read(body: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    ReplyParser(service_model().operation_model(_OPERATION)).body(200, body, parsed, decode_keys=True)
    return parsed


def _slowly(body: bytes) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_parser, "read_quickly", lambda *_: None)
        return _read(body)


def _outcome(read: Callable[[bytes], dict[str, Any]], body: bytes) -> tuple[object, bool]:
    """What the SDK lists, and the other members; or that the page is refused. And whether columns came."""
    try:
        reply = read(body)
        contents = reply.pop("Contents", ())
        return (list(listed(contents, 2)), reply), isinstance(contents, Columns)
    except Exception:  # noqa: BLE001  # which error it is, botocore says: both replies go to it
        return "refused", False


def _compare(body: bytes) -> bool:
    """Whether the page came as columns; it says what the XML parser says in any case."""
    with columns_wanted():
        quick, in_columns = _outcome(_read, body)
    slow, _ = _outcome(_slowly, body)
    assert quick == slow
    return in_columns


@settings(max_examples=max(200, EXAMPLES // 5), suppress_health_check=list(HealthCheck))
@given(
    nodes=_children(service_model().operation_model(_OPERATION).output_shape),
    style=st.sampled_from(STYLES),
    odd=st.sampled_from(["", "", "&", "]]>", "<Key/>", "\x00", "\r", "<!DOCTYPE a>", "&#0;", "\ufffe"]),
    where=st.floats(0, 1),
)
def test_generated_pages_in_columns_equal_parsing(
    nodes: list[Any], style: str, odd: str, where: float
) -> None:
    """Whatever the members hold and in whatever style they are written, the SDK lists the same."""
    text = render("ListBucketResult", nodes, style).decode()
    position = int(len(text) * where)
    _compare((text[:position] + odd + text[position:]).encode())


def test_odd_keys_and_entries_in_columns_equal_parsing() -> None:
    """Keys of all of Unicode, encoded or not, ETags, dates and members of any kind, in runs and in turns."""
    in_columns = 0
    rows = st.tuples(
        _texts,
        st.sampled_from(_DATES),
        st.sampled_from(_ETAGS),
        st.integers(0, 1 << 50),
        st.sampled_from(_BEHIND),
    )

    @settings(max_examples=max(200, EXAMPLES // 5), suppress_health_check=list(HealthCheck))
    @given(
        rows=st.lists(rows, max_size=9),
        form=st.sampled_from(_FORMS),
        encoded=st.booleans(),
        alike=st.integers(0, 12),
        space=st.sampled_from(["", "", "\n  ", "x"]),
    )
    def compare(
        rows: list[tuple[str, str, str, int, str]],
        form: Callable[[str], str],
        *,
        encoded: bool,
        alike: int,
        space: str,
    ) -> None:
        nonlocal in_columns
        entries = [_entry(form(key), *rest) for key, *rest in rows]  # type: ignore[arg-type]
        in_columns += _compare(_page([*entries, *entries[-1:] * alike], encoded=encoded, space=space))

    compare()
    assert in_columns > 50


@pytest.mark.parametrize(
    "behind", [("",), _BEHIND[1:2], _BEHIND[1:4:2], _BEHIND[1:2] * 99 + _BEHIND[3:4] * 3]
)
def test_long_pages_in_columns_equal_parsing(behind: tuple[str, ...]) -> None:
    """Pages longer than what is searched at once: one layout, two in turns, and seldom another."""
    entries = [
        _entry(
            f"folder%2F{number:05d}+%F0%9F%98%80",
            _DATES[0],
            _ETAGS[number % 3],
            number,
            behind[number % len(behind)],
        )
        for number in range(1000)
    ]
    assert _compare(_page(entries, encoded=True))
    # One byte too many, anywhere, and the page is not of the plain form.
    assert not _compare(_page([*entries[:700], "x", *entries[700:]], encoded=True))


@pytest.mark.asyncio
@pytest.mark.parametrize(("length", "in_thread"), [(10, False), (1000, True)])
async def test_only_large_pages_are_read_in_a_thread(
    recorded: None, monkeypatch: pytest.MonkeyPatch, *, length: int, in_thread: bool
) -> None:
    """A thousand of the longest keys do not stop the event loop; the result is a plain client's."""
    loops: list[bool] = []
    read = read_quickly

    def watched(reader: StructureReader, body: bytes) -> dict[str, Any] | None:
        loops.append(threading.current_thread() is threading.main_thread())
        return read(reader, body)

    monkeypatch.setattr(_parser, "read_quickly", watched)
    entries = [_entry(f"{number:04d}{'%C3%A9' * length}", *_USUAL) for number in range(1000)]
    async with twins(endpoint_url="http://localhost:9000") as pair:
        pair.expect(Reply(body=_page(entries, encoded=True)))
        fast = await outcome(pair.fast, _OPERATION, {"Bucket": "bucket"})
        assert fast == await outcome(pair.plain, _OPERATION, {"Bucket": "bucket"})
        assert len(fast.result["Contents"]) == 1000
    assert loops == [not in_thread]


def test_a_page_without_what_s3_sends_comes_in_dictionaries() -> None:
    """Entries without a date or size are listed as ever; without a key they are refused."""
    bare = "<Contents><Key>ab/k</Key></Contents>"
    body = _page([bare, _entry("ab/l", _DATES[0], _ETAGS[0], 1, "")], encoded=True)
    assert not _compare(body)
    with columns_wanted():
        assert [info.key for info in listed(_read(body)["Contents"], 3)] == ["k", "l"]
    assert not _compare(_page(["<Contents><Size>1</Size></Contents>"], encoded=True))


def test_nobody_else_gets_columns() -> None:
    """Without the question for them a reply holds dictionaries, during and after somebody else's."""
    body = _page([_entry("k", _DATES[0], _ETAGS[0], 1, "")] * 9, encoded=True)
    with columns_wanted():
        assert isinstance(_read(body)["Contents"], Columns)
    assert [entry["Key"] for entry in _read(body)["Contents"]] == ["k"] * 9


_encoded = st.lists(st.one_of(_texts, st.text("%0F4eE29+a/\x80\0", max_size=9)), max_size=9)


@given(texts=_encoded)
@example(texts=["%F0%9F", "%98%80", "a%00b", "%", "%e", "+"])
@settings(max_examples=max(300, EXAMPLES // 5), suppress_health_check=list(HealthCheck))
def test_keys_are_decoded_together_as_one_by_one(texts: list[str]) -> None:
    """Sequences cut short, encoded zeros and separators do not run into the neighbouring key."""
    texts = [text.replace("\0", "") for text in texts]
    assert list(decoded(texts)) == [unquote_plus(text) for text in texts]


_moments = st.datetimes().map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z")


@pytest.fixture(params=["UTC", "America/New_York"], scope="module")
def local_zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The time zone of the process: botocore's parser gives times in it where that is UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield str(request.param)
    time.tzset()


@given(texts=st.lists(st.one_of(*[_moments] * 9, st.sampled_from(_DATES)), max_size=5))
@example(texts=["2026-13-01T12:00:00.000Z"])
@example(texts=["0000-00-00T00:00:00.000Z"])
@example(texts=["2026-03-01T24:00:00.000Z"])
@example(texts=["\uff12\uff10\uff12\uff16-03-01T12:00:00.000Z"])
def test_dates_are_read_together_as_one_by_one(local_zone: str, texts: list[str]) -> None:
    """The same moments in the same zone, and an error where one of them is one."""
    try:
        expected = [timestamp(text) for text in texts]
    except Exception:  # noqa: BLE001
        for read in (timestamps, utc_timestamps):
            with pytest.raises(Exception):  # noqa: B017, PT011
                read(texts)
        return
    found = timestamps(texts)
    assert found == expected
    assert [each.replace(tzinfo=None) for each in found] == [each.replace(tzinfo=None) for each in expected]
    assert [each.tzinfo for each in found] == [each.tzinfo for each in expected]
    assert utc_timestamps(texts) == [utc(each) for each in expected]
    assert {each.tzinfo for each in utc_timestamps(texts)} <= {datetime.UTC}


def test_what_is_listed_is_an_ordinary_value() -> None:
    """Made without its constructor, it is equal, shown, pickled, replaced and frozen like any other."""
    moment = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    columns = Columns(
        ["p/k", "p/l"], [1, 2], [f'"{_DIGEST}-3"', 'W/"e"'], [moment, moment], [None, "GLACIER"]
    )
    made = list(listed(columns, 2))
    expected = [
        ObjectInfo("k", 1, f"{_DIGEST}-3", moment, parts=3),
        ObjectInfo("l", 2, "e", moment, storage_class="GLACIER"),
    ]
    assert made == expected
    assert [type(info) for info in made] == [ObjectInfo, ObjectInfo]
    assert repr(made) == repr(expected)
    assert pickle.loads(pickle.dumps(made)) == expected  # noqa: S301
    assert dataclasses.replace(made[0], key="n") == dataclasses.replace(expected[0], key="n")
    assert made[0].metadata is not made[1].metadata
    with pytest.raises(dataclasses.FrozenInstanceError):
        made[0].key = "other"  # type: ignore[misc]
