"""What the holder of a presigned request tries beyond it: refused by MinIO, and nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import httpx
import pytest
import pytest_asyncio

from greenlang_async_storage import Bucket
from greenlang_async_storage.testing import StorageServer
from tests.support import servers

pytestmark = pytest.mark.asyncio

Form: TypeAlias = dict[str, str]


@pytest_asyncio.fixture
async def http(server: StorageServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client that knows nothing of S3, on a server that checks what it is sent."""
    servers.require(server, "signatures", "post-policy")
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


@contextmanager
def an_hour_ago() -> Iterator[None]:
    """Signatures are made, and dated, an hour ago."""

    def earlier(remove_tzinfo: bool = True) -> datetime:
        moment = datetime.now(UTC) - timedelta(hours=1)
        return moment.replace(tzinfo=None) if remove_tzinfo else moment

    with pytest.MonkeyPatch.context() as patch:
        for module in ("botocore.auth", "botocore.crt.auth", "aiobotocore.signers"):
            patch.setattr(f"{module}.get_current_datetime", earlier)
        yield


def replaced(old: str, new: str) -> Callable[[str], str]:
    """A change to a signed URL, which has *old*."""

    def change(url: str) -> str:
        assert old in url
        return url.replace(old, new)

    return change


LINK_ATTEMPTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "another key": ("GET", replaced("/mine?", "/other?")),
    "another method": ("DELETE", str),
    "writing": ("PUT", str),
    "another file name": ("GET", replaced("a.txt", "a.exe")),
    "a longer life": ("GET", replaced("X-Amz-Expires=60", "X-Amz-Expires=600000")),
    "another date": ("GET", replaced("X-Amz-Date=20", "X-Amz-Date=19")),
    "one parameter more": ("GET", lambda url: url.replace("?", "?response-content-type=text%2Fhtml&", 1)),
    "another version": ("GET", lambda url: url.replace("?", "?versionId=null&", 1)),
    "no signature": ("GET", lambda url: url.partition("&X-Amz-Signature")[0]),
    "a sub-resource": ("GET", lambda url: url.replace("?", "?tagging&", 1)),
}


@pytest.mark.parametrize("attempt", LINK_ATTEMPTS)
async def test_s03_links(attempt: str, lake: Bucket, http: httpx.AsyncClient) -> None:
    """A link to one object is good for reading that object, in that way, and for nothing else."""
    await lake.upload_bytes("mine", b"mine")
    await lake.upload_bytes("other", b"other")
    link = str(await lake.presign_download("mine", expires_in=60, filename="a.txt"))
    assert (await http.get(link)).status_code == 200
    method, change = LINK_ATTEMPTS[attempt]
    reply = await http.request(method, change(link))
    assert 400 <= reply.status_code < 500, reply.text
    assert b"other" not in reply.content.replace(b"/other", b"").replace(b"<Key>other</Key>", b"")
    assert await lake.download_bytes("mine") == b"mine"
    assert await lake.download_bytes("other") == b"other"


async def test_s03_expired_requests(lake: Bucket, http: httpx.AsyncClient) -> None:
    """Link, upload, form and part are refused once `expires_at` is past; one with life left is not."""
    await lake.upload_bytes("k", b"x")
    upload = await lake.create_multipart("part")
    try:
        with an_hour_ago():
            link = await lake.presign_download("k", expires_in=60)
            put = await lake.presign_upload("put", content_type="a/b", expires_in=60)
            form = await lake.presign_post("form", content_type="a/b", max_size=9, expires_in=60)
            part = await lake.presign_part(upload, 1, expires_in=60)
            living = await lake.presign_download("k", expires_in=7200)
        for expires_at in (link.expires_at, put.expires_at, form.expires_at, part.expires_at):
            assert expires_at < datetime.now(UTC) < living.expires_at
        replies = [
            await http.get(str(link)),
            await http.put(str(put.url), headers=dict(put.headers), content=b"x"),
            await http.post(form.url, data=dict(form.fields), files={"file": b"x"}),
            await http.put(str(part), content=b"x"),
        ]
        assert [reply.status_code for reply in replies] == [403, 403, 403, 403]
        assert not await lake.exists("put")
        assert not await lake.exists("form")
        assert await lake.list_parts(upload) == []
        assert (await http.get(str(living))).status_code == 200
    finally:
        await lake.abort_multipart(upload)


UPLOAD_ATTEMPTS: dict[str, Callable[[str, Form], tuple[str, str, Form, bytes]]] = {
    "another type": lambda url, headers: ("PUT", url, {**headers, "Content-Type": "text/html"}, b"12345"),
    "no type": lambda url, headers: ("PUT", url, without(headers, "Content-Type"), b"12345"),
    "a longer body": lambda url, headers: ("PUT", url, {**headers, "Content-Length": "6"}, b"123456"),
    "a shorter body": lambda url, headers: ("PUT", url, {**headers, "Content-Length": "4"}, b"1234"),
    "another key": lambda url, headers: ("PUT", replaced("/mine?", "/other?")(url), headers, b"12345"),
    "another method": lambda url, headers: ("DELETE", url, headers, b"12345"),
    "no encryption": lambda url, headers: (
        "PUT",
        url,
        without(headers, "x-amz-server-side-encryption"),
        b"12345",
    ),
    "another encryption": lambda url, headers: (
        "PUT",
        url,
        {**headers, "x-amz-server-side-encryption": "AES256"},
        b"12345",
    ),
    "a longer life": lambda url, headers: (
        "PUT",
        replaced("X-Amz-Expires=60", "X-Amz-Expires=6000")(url),
        headers,
        b"12345",
    ),
}


def without(headers: Form, name: str) -> Form:
    """*headers* but for one that is there."""
    assert name in headers
    return {key: value for key, value in headers.items() if key != name}


@pytest.mark.parametrize("attempt", UPLOAD_ATTEMPTS)
async def test_s03_uploads(attempt: str, lake: Bucket, http: httpx.AsyncClient) -> None:
    """A signed PUT stores the named type and length, encrypted, under the named key, and nothing else."""
    upload = await lake.presign_upload("mine", content_type="text/csv", content_length=5, expires_in=60)
    method, url, headers, body = UPLOAD_ATTEMPTS[attempt](str(upload.url), dict(upload.headers))
    reply = await http.request(method, url, headers=headers, content=body)
    assert 400 <= reply.status_code < 500, reply.text
    assert not await lake.exists("mine")
    assert not await lake.exists("other")
    reply = await http.put(str(upload.url), headers=dict(upload.headers), content=b"12345")
    assert reply.status_code == 200, reply.text


FORM_ATTEMPTS: dict[str, Callable[[Form], tuple[Form, bytes]]] = {
    "too large": lambda form: (form, b"x" * 11),
    "too small": lambda form: (form, b"x"),
    "empty": lambda form: (form, b""),
    "another type": lambda form: ({**form, "Content-Type": "text/html"}, b"12345"),
    "no type": lambda form: (without(form, "Content-Type"), b"12345"),
    "another key": lambda form: ({**form, "key": "other"}, b"12345"),
    "a key made of the file name": lambda form: ({**form, "key": "${filename}"}, b"12345"),
    "another encryption": lambda form: ({**form, "x-amz-server-side-encryption": "AES256"}, b"12345"),
    "no encryption": lambda form: (without(form, "x-amz-server-side-encryption"), b"12345"),
    "one field more": lambda form: ({**form, "x-amz-meta-extra": "1"}, b"12345"),
    "a redirect": lambda form: ({**form, "success_action_redirect": "http://127.0.0.1/"}, b"12345"),
    "another policy": lambda form: ({**form, "policy": form["policy"][:-8] + "AAAAAAA="}, b"12345"),
    "no policy": lambda form: (without(form, "policy"), b"12345"),
    "another signature": lambda form: ({**form, "x-amz-signature": "0" * 64}, b"12345"),
}


@pytest.mark.parametrize("attempt", FORM_ATTEMPTS)
async def test_s03_forms(attempt: str, lake: Bucket, http: httpx.AsyncClient) -> None:
    """A form stores 2 to 10 bytes of the named type, encrypted, under the named key, and nothing else."""
    form = await lake.presign_post("mine", content_type="text/csv", min_size=2, max_size=10, expires_in=60)
    fields, body = FORM_ATTEMPTS[attempt](dict(form.fields))
    reply = await http.post(form.url, data=fields, files={"file": ("other", body)})
    assert 400 <= reply.status_code < 500, reply.text
    assert [info.key async for info in lake.list_objects()] == []
    reply = await http.post(form.url, data=dict(form.fields), files={"file": ("other", b"12345")})
    assert reply.status_code in {200, 204}, reply.text
    assert [info.key async for info in lake.list_objects()] == ["mine"]


@pytest.mark.parametrize("size", [2, 10])
async def test_s03_forms_take_their_limits(size: int, lake: Bucket, http: httpx.AsyncClient) -> None:
    """The smallest and the largest size a form names are within it."""
    form = await lake.presign_post("mine", content_type="text/csv", min_size=2, max_size=10)
    reply = await http.post(form.url, data=dict(form.fields), files={"file": b"x" * size})
    assert reply.status_code in {200, 204}, reply.text
    assert (await lake.head("mine")).size == size


async def test_s03_parts(lake: Bucket, http: httpx.AsyncClient) -> None:
    """A signed part is good for that part of that upload only."""
    upload = await lake.create_multipart("mine")
    other = await lake.create_multipart("other")
    try:
        url = str(await lake.presign_part(upload, 1, expires_in=60))
        for changed in (
            replaced("partNumber=1", "partNumber=2")(url),
            replaced(upload.upload_id, other.upload_id)(url),
            replaced("/mine?", "/other?")(url),
        ):
            assert (await http.put(changed, content=b"x")).status_code == 403
        assert (await http.post(url, content=b"x")).status_code in {403, 405}
        assert await lake.list_parts(upload) == await lake.list_parts(other) == []
        assert (await http.put(url, content=b"x")).status_code == 200
    finally:
        await lake.abort_multipart(upload)
        await lake.abort_multipart(other)
