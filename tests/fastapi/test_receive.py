"""Uploads through the service: limits while reading, forms, and what a client that leaves leaves behind."""

from __future__ import annotations

import random
import select
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .conftest import MAX_SIZE
from .serving import Service, read_all, reset, until

MIB = 1024 * 1024
DATA = random.Random(8).randbytes(18 * MIB)
CSV = {"Content-Type": "text/csv"}


def stored(observer: Any, bucket: str) -> list[str]:
    """Keys in the bucket."""
    return [found["Key"] for found in observer.list_objects_v2(Bucket=bucket).get("Contents", [])]


def left_open(observer: Any, bucket: str) -> list[str]:
    """Multipart uploads nobody finished."""
    listed = observer.list_multipart_uploads(Bucket=bucket, Prefix="key")
    return [found["UploadId"] for found in listed.get("Uploads", [])]


def test_a_raw_body_is_stored_with_its_type(
    client: httpx.Client, observer: Any, bucket_name: str, service: Service
) -> None:
    """Small and multipart-sized bodies arrive unchanged, with and without a stated length."""

    def chunks() -> Iterator[bytes]:
        yield from (DATA[at : at + 100_000] for at in range(0, len(DATA), 100_000))

    for body, size in ((b"", 0), (b"a,b\n1,2\n", 8), (DATA, len(DATA)), (chunks(), len(DATA))):
        answer = client.put("/objects/key", content=body, headers={"Content-Type": "Text/CSV; charset=utf-8"})
        assert answer.json() == {"size": size, "content_type": "text/csv", "filename": None, "fields": {}}
        found = observer.get_object(Bucket=bucket_name, Key="key")
        assert (found["Body"].read(), found["ContentType"]) == (
            DATA[:size] if size != 8 else body,
            "text/csv",
        )
    assert service.in_flight() == 0


def test_a_form_s_file_is_stored_and_its_fields_given(
    client: httpx.Client, observer: Any, bucket_name: str
) -> None:
    """The file part is streamed through, whatever stands around it; its name is as it was sent."""
    answer = client.put(
        "/objects/key",
        data={"note": "für Müller", "empty": ""},
        files={"file": ('Bericht "1" €.csv', DATA, "text/csv")},
    )
    assert answer.json() == {
        "size": len(DATA),
        "content_type": "text/csv",
        "filename": 'Bericht "1" €.csv',
        "fields": {"note": "für Müller", "empty": ""},
    }
    assert observer.get_object(Bucket=bucket_name, Key="key")["Body"].read() == DATA


def test_fields_behind_the_file_are_read_too(client: httpx.Client, observer: Any, bucket_name: str) -> None:
    """A form goes on after its file; bytes that look like a boundary stay bytes."""
    content = b"--b\r\n--c\r\n-\r\n--bound-no\r\n" * 9
    form = (
        b'preamble\r\n--bound\r\nContent-Disposition: form-data; name="f"; filename="x.csv"\r\n'
        b"content-type: text/csv\r\n\r\n"
        + content
        + b'\r\n--bound\r\nContent-Disposition: form-data; name="n"'
        b"\r\n\r\nafter\r\n--bound--\r\nepilogue"
    )
    answer = client.put(
        "/objects/key", content=form, headers={"Content-Type": 'multipart/form-data; boundary="bound"'}
    )
    if answer.status_code == 400:  # python-multipart takes no preamble
        form = form.removeprefix(b"preamble\r\n")
        answer = client.put(
            "/objects/key", content=form, headers={"Content-Type": 'multipart/form-data; boundary="bound"'}
        )
    assert answer.json()["fields"] == {"n": "after"}
    assert observer.get_object(Bucket=bucket_name, Key="key")["Body"].read() == content


def test_s18_too_large_is_413(
    client: httpx.Client, observer: Any, bucket_name: str, service: Service
) -> None:
    """By the stated length before reading, else while reading; also inside a form. Nothing stays."""
    big = bytes(MAX_SIZE + 1)

    def unstated() -> Iterator[bytes]:
        yield from (big[at : at + MIB] for at in range(0, len(big), MIB))

    answers = [
        client.put("/objects/key", content=big, headers=CSV),
        client.put("/objects/key", content=unstated(), headers=CSV),
        client.put("/objects/key", files={"file": ("a.csv", big, "text/csv")}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
        assert f"{MAX_SIZE:,}" in answer.json()["detail"]
    assert stored(observer, bucket_name) == []
    assert left_open(observer, bucket_name) == []
    assert service.session.statistics().possible_orphans == 0


def test_exactly_the_limit_is_taken(client: httpx.Client) -> None:
    """The limit itself is allowed, raw and in a form."""
    body = bytes(MAX_SIZE)
    assert client.put("/objects/key", content=body, headers=CSV).json()["size"] == MAX_SIZE
    answer = client.put("/objects/key", files={"file": ("a.csv", body, "text/csv")})
    assert answer.json()["size"] == MAX_SIZE


def test_types_are_checked_before_anything_is_stored(
    client: httpx.Client, observer: Any, bucket_name: str
) -> None:
    """415 for types that are not listed, no type at all, and encoded bodies; families are matched."""
    for headers in ({"Content-Type": "text/html"}, {}, {**CSV, "Content-Encoding": "gzip"}):
        answer = client.put("/objects/key", content=b"x", headers=headers)
        assert answer.status_code == 415, headers
    answer = client.put("/objects/key", files={"file": ("a.exe", b"x", "application/x-msdownload")})
    assert (answer.status_code, answer.json()["code"]) == (415, "type-not-allowed")
    assert "image/*, text/csv" in answer.json()["detail"]
    assert stored(observer, bucket_name) == []
    assert client.put("/objects/key", content=b"x", headers={"Content-Type": "image/webp"}).status_code == 200


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
HEAD = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n'


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        (b"--b--\r\n", 422, "no-file"),
        (b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nv\r\n--b--\r\n', 422, "no-file"),
        (HEAD.replace(b"a.csv", b"") + b"\r\n--b--\r\n", 422, "no-file"),
        (HEAD + b"1\r\n" + HEAD + b"2\r\n--b--\r\n", 422, "two-files"),
        (HEAD + b"half a file", 400, "broken-form"),
        (b"no form at all", 400, "broken-form"),
        (HEAD.replace(b"form-data", b"attachment") + b"\r\n--b--\r\n", 400, "broken-form"),
        (HEAD.replace(b"Content-Type", b"X: " + b"y" * 20_000 + b"\r\nC") + b"1\r\n--b--", 413, None),
        (
            b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n' + b"v" * 70_000 + b"\r\n" + HEAD,
            413,
            "form-too-large",
        ),
        (b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nv\r\n' * 65, 413, "form-too-large"),
    ],
)
def test_broken_forms(client: httpx.Client, form: bytes, status: int, code: str | None) -> None:
    """Each is refused with its reason, and nothing is stored."""
    answer = client.put("/objects/key", content=form, headers=FORM)
    if code is None:  # the parser has a limit of its own where it is new enough
        assert answer.status_code in {400, status}
    else:
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.head("/objects/key").status_code == 404


def test_a_form_without_a_boundary_is_refused(client: httpx.Client) -> None:
    """400, not a failure of the parser."""
    for boundary in ("", "; boundary=", "; boundary=" + "b" * 71):
        headers = {"Content-Type": "multipart/form-data" + boundary}
        assert client.put("/objects/key", content=b"x", headers=headers).json()["code"] == "broken-form"


def test_s18_a_client_that_leaves_aborts_its_upload(
    service: Service, observer: Any, bucket_name: str
) -> None:
    """After parts were stored the connection breaks: no object, no open multipart upload, no slot."""
    connection = service.connect()
    try:
        connection.sendall(
            b"PUT /objects/key HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
            b"Content-Length: 20000000\r\n\r\n" + DATA[: 17 * MIB]
        )
        until(lambda: service.session.statistics().bytes_sent > 0)
        assert len(left_open(observer, bucket_name)) == 1
        reset(connection)
        until(lambda: not left_open(observer, bucket_name))
    finally:
        connection.close()
    until(lambda: service.in_flight() == 0)
    assert stored(observer, bucket_name) == []
    assert service.session.statistics().possible_orphans == 0


def test_s18_a_client_that_falls_silent_is_408(service: Service, observer: Any, bucket_name: str) -> None:
    """Nothing arrives for the idle time: the upload is refused and gone."""
    with service.connect() as connection:
        connection.sendall(
            b"PUT /objects/key?idle=0.2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Type: text/csv\r\nContent-Length: 100\r\n\r\nhalf"
        )
        assert read_all(connection).startswith(b"HTTP/1.1 408")
    assert stored(observer, bucket_name) == []


def test_s18_a_client_that_drips_is_408(service: Service, observer: Any, bucket_name: str) -> None:
    """Never silent, and yet never done: below 1 KiB/s over the idle time the upload is refused and gone."""
    with service.connect() as connection:
        connection.sendall(
            b"PUT /objects/key?idle=0.5 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Type: text/csv\r\nContent-Length: 20000000\r\n\r\n"
        )
        sent = 0
        while not select.select([connection], [], [], 0.05)[0]:
            connection.sendall(b"x")
            sent += 1
            assert sent < 1_000, "it goes on for ever"
        assert b'"slow"' in read_all(connection)
    assert stored(observer, bucket_name) == []
    assert left_open(observer, bucket_name) == []


def test_memory_stays_bounded(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is spooled: a form's file never reaches a temporary file or Starlette's parser."""
    import starlette.requests

    def refused(*_args: Any) -> None:
        raise AssertionError("the body was read by somebody else")

    monkeypatch.setattr(starlette.requests.Request, "form", refused)
    monkeypatch.setattr(starlette.requests.Request, "body", refused)
    answer = client.put("/objects/key", files={"file": ("a.csv", DATA, "text/csv")})
    assert answer.json()["size"] == len(DATA)
