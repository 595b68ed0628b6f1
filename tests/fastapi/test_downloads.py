"""Objects as HTTP responses: ranges, conditions, headers and errors, over a real server."""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.support.seeding import Seeder

from .serving import Service

DATA = random.Random(5).randbytes(1_300_017)
SIZE = len(DATA)


def test_the_whole_object_comes_with_its_headers(
    client: httpx.Client, seed: Seeder, service: Service
) -> None:
    """Bytes, length, type, validators and safety headers; no slot is kept."""
    etag = seed.put("a/table.csv", DATA, ContentType="text/csv", CacheControl="private, max-age=5")
    answer = client.get("/objects/a/table.csv")
    assert (answer.status_code, answer.content) == (200, DATA)
    told = answer.headers
    assert told["etag"] == etag
    assert told["content-length"] == str(SIZE)
    assert told["content-type"] == "text/csv"
    assert told["cache-control"] == "private, max-age=5"
    assert told["accept-ranges"] == "bytes"
    assert told["x-content-type-options"] == "nosniff"
    assert told["content-disposition"] == 'attachment; filename="table.csv"'
    assert parsedate_to_datetime(told["last-modified"])
    assert service.in_flight() == 0


def test_sizes_around_chunks(client: httpx.Client, seed: Seeder) -> None:
    """Empty, tiny and chunk-sized objects arrive whole, with their length."""
    for size in (0, 1, 65_536, 262_144, 262_145):
        seed.put("key", DATA[:size])
        answer = client.get("/objects/key")
        assert (answer.content, answer.headers["content-length"]) == (DATA[:size], str(size))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=5-99", (5, 100)),
        ("bytes=1300000-", (1_300_000, SIZE)),
        ("bytes=-17", (SIZE - 17, SIZE)),
        ("bytes=-9999999999", (0, SIZE)),
        ("BYTES = 10-99999999999999999999999", (10, SIZE)),
    ],
)
def test_one_range_is_206(client: httpx.Client, seed: Seeder, header: str, expected: tuple[int, int]) -> None:
    """First-last, open-ended and suffix ranges, clipped to the object."""
    seed.put("key", DATA)
    start, stop = expected
    answer = client.get("/objects/key", headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, DATA[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(stop - start)


def test_a_range_behind_the_end_is_416(client: httpx.Client, seed: Seeder, service: Service) -> None:
    """The answer tells the size, also of an empty object, and holds nothing."""
    seed.put("key", DATA)
    seed.put("empty", b"")
    for key, size, header in (
        ("key", SIZE, f"bytes={SIZE}-"),
        ("key", SIZE, "bytes=-0"),
        ("empty", 0, "bytes=0-"),
        ("empty", 0, "bytes=0-10"),
        ("empty", 0, "bytes=-1"),
    ):
        answer = client.get(f"/objects/{key}", headers={"Range": header})
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "range-not-satisfiable"
    assert service.in_flight() == 0


def test_what_is_no_single_range_gets_the_whole(client: httpx.Client, seed: Seeder) -> None:
    """Several ranges, other units and broken syntax are ignored, and a HEAD has no range."""
    seed.put("key", b"0123456789")
    for header in ("bytes=0-1,4-5", "lines=1-2", "bytes=5-2", "bytes=", "bytes=-", "bytes=a-b", "x"):
        answer = client.get("/objects/key", headers={"Range": header})
        assert (answer.status_code, answer.content) == (200, b"0123456789"), header
    answer = client.head("/objects/key", headers={"Range": "bytes=0-1"})
    assert (answer.status_code, answer.headers["content-length"]) == (200, "10")


def test_if_range_decides_between_part_and_whole(client: httpx.Client, seed: Seeder) -> None:
    """The range counts for exactly this version only; a weak tag names none."""
    etag = seed.put("key", b"0123456789")
    modified = client.head("/objects/key").headers["last-modified"]
    for value, status in (
        (etag, 206),
        ('"other"', 200),
        (f"W/{etag}", 200),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 200),
        ("no date", 200),
    ):
        answer = client.get("/objects/key", headers={"Range": "bytes=2-3", "If-Range": value})
        assert answer.status_code == status, value
        assert answer.content == (b"23" if status == 206 else b"0123456789")
    answer = client.get("/objects/key", headers={"Range": "bytes=2-3", "If-Range": modified})
    assert answer.status_code in {200, 206}, "206 once the second of its time is over"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_in_their_order(client: httpx.Client, seed: Seeder, method: str, service: Service) -> None:
    """304 and 412 as RFC 9110 section 13.2.2 orders them; ETags win over times."""
    etag = seed.put("key", b"0123456789", CacheControl="max-age=7")
    past, future = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
    cases: list[tuple[dict[str, str], int]] = [
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f'"a", W/{etag}, "b"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": future}, 200),
        ({"If-Modified-Since": future}, 304),
        ({"If-Modified-Since": past}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Match": etag}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": f"W/{etag}"}, 412),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": etag, "If-Unmodified-Since": past}, 200),
        ({"If-Unmodified-Since": past}, 412),
        ({"If-Unmodified-Since": future}, 200),
        ({"If-Match": '"other"', "If-None-Match": etag}, 412),
        ({"If-Match": etag, "If-None-Match": etag}, 304),
    ]
    for headers, status in cases:
        answer = client.request(method, "/objects/key", headers=headers)
        assert answer.status_code == status, headers
        if status == 304:
            assert answer.content == b""
            assert (answer.headers["etag"], answer.headers["cache-control"]) == (etag, "max-age=7")
        if status == 200 and method == "GET":
            assert answer.content == b"0123456789"
    assert service.in_flight() == 0


def test_conditions_of_what_is_missing_are_404(client: httpx.Client) -> None:
    """A condition never turns a missing object into something else."""
    for headers in (
        {},
        {"If-Match": "*"},
        {"If-None-Match": "*"},
        {"Range": "bytes=-5"},
        {"Range": "bytes=1-2"},
    ):
        answer = client.get("/objects/no/such", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), headers
    assert client.head("/objects/no/such").status_code == 404


def test_a_precondition_and_a_range_together(client: httpx.Client, seed: Seeder) -> None:
    """A condition that holds leaves the range alone."""
    etag = seed.put("key", b"0123456789")
    answer = client.get("/objects/key", headers={"Range": "bytes=-3", "If-Match": etag})
    assert (answer.status_code, answer.content) == (206, b"789")


def test_file_names_of_any_kind(client: httpx.Client, seed: Seeder) -> None:
    """Names in any script arrive by RFC 8187; quotes, paths and line ends cannot break the header."""
    seed.put("folder/r.pdf", b"x")
    cases = {
        "report.pdf": 'attachment; filename="report.pdf"',
        "Bericht für 東京.pdf": 'attachment; filename="Bericht f_r __.pdf"; '
        "filename*=UTF-8''Bericht%20f%C3%BCr%20%E6%9D%B1%E4%BA%AC.pdf",
        'a"b\\c/d.pdf': "attachment; filename=\"a_b_c_d.pdf\"; filename*=UTF-8''a%22b_c_d.pdf",
        "x\r\nSet-Cookie: a=b.pdf": 'attachment; filename="xSet-Cookie: a=b.pdf"',
        "\u202eexe.fdp": 'attachment; filename="exe.fdp"',
        "..": 'attachment; filename="file"',
        "€ $5.pdf": "attachment; filename=\"_ $5.pdf\"; filename*=UTF-8''%E2%82%AC%20$5.pdf",
    }
    for name, expected in cases.items():
        answer = client.get("/objects/folder/r.pdf", params={"filename": name})
        assert answer.headers["content-disposition"] == expected
    assert client.get("/objects/folder/r.pdf").headers["content-disposition"].endswith('"r.pdf"')


def test_stored_names_and_types_are_used_when_safe(client: httpx.Client, seed: Seeder) -> None:
    """A stored attachment name is kept; inline is granted to types a browser does not run."""
    seed.put("a", b"x", ContentType="image/png", ContentDisposition='attachment; filename="pic.png"')
    seed.put("b", b"x", ContentType="text/html", ContentDisposition="inline")
    seed.put("c", b"x", ContentType="image/svg+xml")
    assert client.get("/objects/a").headers["content-disposition"] == 'attachment; filename="pic.png"'
    assert client.get("/objects/a?inline=1").headers["content-disposition"].startswith("inline")
    for key in "bc":
        answer = client.get(f"/objects/{key}?inline=1")
        assert answer.headers["content-disposition"].startswith("attachment"), "it would run as this origin"


def test_content_encoding_is_passed_on(client: httpx.Client, seed: Seeder) -> None:
    """What is stored compressed is decoded by the client."""
    import gzip

    seed.put("key", gzip.compress(b"text"), ContentType="text/plain", ContentEncoding="gzip")
    assert client.get("/objects/key").content == b"text"


def test_s20_errors_tell_nothing_of_the_store(client: httpx.Client, bucket_name: str, settings: Any) -> None:
    """Problem JSON has a stable code and an instance to find the log by; no bucket, key or address."""
    answer = client.get("/objects/secret-name")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "code", "instance"}
    assert problem["instance"].startswith("urn:uuid:")
    for hidden in (bucket_name, "secret-name", settings.endpoint_url, "127.0.0.1"):
        assert hidden not in answer.text
    assert client.get("/objects/a/../../b%00").status_code in {400, 404}
