"""Presigned requests: what is signed, for how long, and that a plain HTTP client gets through with them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
import pytest_asyncio

from greenlang_async_storage import (
    Bucket,
    S3CredentialsError,
    S3InvalidRequestError,
    StorageSession,
    StorageSettings,
    UploadedPart,
    _presign,
)
from greenlang_async_storage.testing import StorageServer
from tests.support import servers

pytestmark = pytest.mark.asyncio

OWNER = "123456789012"


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client that knows nothing of S3."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def signed(url: str) -> dict[str, str]:
    """The query of a signed URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query, keep_blank_values=True).items()}


def policy(fields: Any) -> dict[str, Any]:
    """The policy of a signed form."""
    return cast("dict[str, Any]", json.loads(base64.b64decode(fields["policy"])))


async def test_link_downloads_under_its_name(lake: Bucket, http: httpx.AsyncClient) -> None:
    """A link gives the bytes, and the file name of any script as an attachment."""
    await lake.upload_bytes("reports/1.pdf", b"%PDF", content_type="application/pdf")
    link = await lake.presign_download("reports/1.pdf", filename='Bericht "Zürich" 日本.pdf')
    reply = await http.get(str(link))
    assert (reply.status_code, reply.content) == (200, b"%PDF")
    disposition = reply.headers["content-disposition"]
    assert disposition.startswith("attachment; filename=")
    [encoded] = re.findall(r"filename\*=UTF-8''(\S+)$", disposition)
    assert unquote(encoded) == 'Bericht "Zürich" 日本.pdf'


async def test_link_without_a_name(lake: Bucket, http: httpx.AsyncClient) -> None:
    """Without a file name the object's own headers are given."""
    await lake.upload_bytes("ü b+c%41.csv", b"x")
    reply = await http.get(str(await lake.presign_download("ü b+c%41.csv")))
    assert (reply.status_code, reply.content) == (200, b"x")
    assert reply.headers["content-type"] == "text/csv"
    assert "content-disposition" not in reply.headers


async def test_link_to_one_version(lake: Bucket, observer: Any, http: httpx.AsyncClient) -> None:
    """A link with a version gives that one, whatever is written later."""
    observer.put_bucket_versioning(Bucket=lake.name, VersioningConfiguration={"Status": "Enabled"})
    old = await lake.upload_bytes("k", b"old")
    await lake.upload_bytes("k", b"new")
    reply = await http.get(str(await lake.presign_download("k", version_id=old.version_id)))
    assert reply.content == b"old"


async def test_upload_with_exactly_the_named_headers(lake: Bucket, http: httpx.AsyncClient) -> None:
    """A PUT with the headers that were given is taken; the object is typed and encrypted as configured."""
    upload = await lake.presign_upload("up/load.csv", content_type="text/csv", content_length=5)
    reply = await http.put(str(upload.url), headers=dict(upload.headers), content=b"1,2,3")
    assert reply.status_code == 200, reply.text
    info = await lake.head("up/load.csv")
    assert (info.size, info.content_type, info.encryption) == (5, "text/csv", "aws:kms")
    assert upload.expires_at == upload.url.expires_at


async def test_every_header_of_an_upload_is_signed(settings: StorageSettings) -> None:
    """The headers to send are exactly the signed ones: type, length, encryption, owner."""
    owned = settings.model_copy(update={"expected_bucket_owner": OWNER})
    async with StorageSession(owned) as session:
        upload = await session.data_lake.presign_upload("k", content_type="a/b", content_length=0)
    assert {name.lower() for name in upload.headers} | {"host"} == set(
        signed(upload.url)["X-Amz-SignedHeaders"].split(";")
    )
    assert upload.headers["x-amz-expected-bucket-owner"] == OWNER
    assert upload.headers["Content-Length"] == "0"
    assert upload.headers["x-amz-server-side-encryption"] == "aws:kms"


async def test_form_is_taken(lake: Bucket, http: httpx.AsyncClient) -> None:
    """A form within its limits is taken, and the object is typed and encrypted as configured."""
    form = await lake.presign_post("up/ü.json", content_type="application/json", max_size=10)
    reply = await http.post(form.url, data=dict(form.fields), files={"file": b'{"a": 1}'})
    assert reply.status_code in {200, 204}, reply.text
    info = await lake.head("up/ü.json")
    assert (info.size, info.content_type) == (8, "application/json")


async def test_form_encrypts(lake: Bucket, server: StorageServer, http: httpx.AsyncClient) -> None:
    """An object posted by form is encrypted as configured."""
    servers.require(server, "kms")
    form = await lake.presign_post("k", content_type="a/b", max_size=10)
    await http.post(form.url, data=dict(form.fields), files={"file": b"x"})
    assert (await lake.head("k")).encryption == "aws:kms"


async def test_policy_of_a_form(lake: Bucket) -> None:
    """The policy names bucket, key, type, sizes and encryption, and every field is one of its conditions."""
    form = await lake.presign_post("k", content_type="a/b", max_size=10, min_size=2, expires_in=60)
    conditions = policy(form.fields)["conditions"]
    assert ["content-length-range", 2, 10] in conditions
    exact = {name: value for item in conditions if isinstance(item, dict) for name, value in item.items()}
    assert exact["bucket"] == lake.name
    assert exact["key"] == "k"
    assert exact["x-amz-server-side-encryption"] == "aws:kms"
    fields = {name: value for name, value in form.fields.items() if name not in {"policy", "x-amz-signature"}}
    assert fields == {name: value for name, value in exact.items() if name != "bucket"}
    assert form.fields["x-amz-algorithm"] == "AWS4-HMAC-SHA256"


async def test_parts_by_somebody_else(lake: Bucket, http: httpx.AsyncClient) -> None:
    """Parts sent to signed URLs, and completed from their ETags, make the object."""
    upload = await lake.create_multipart("big")
    bodies = [bytes(5 * 1024 * 1024), b"end"]
    parts = []
    for number, body in enumerate(bodies, 1):
        url = await lake.presign_part(upload, number, expires_in=60)
        reply = await http.put(str(url), content=body)
        assert reply.status_code == 200, reply.text
        parts.append(UploadedPart(number, reply.headers["etag"]))
    result = await lake.complete_multipart(upload, parts)
    assert result.size == len(bodies[0]) + 3
    assert (await lake.head("big")).size == result.size


async def test_owner_travels_in_the_query_of_links(
    settings: StorageSettings, server: StorageServer, http: httpx.AsyncClient
) -> None:
    """A link carries the expected owner in its query, in lower case and signed; its user needs no header."""
    owned = settings.model_copy(update={"expected_bucket_owner": OWNER})
    async with StorageSession(owned) as session:
        lake = session.data_lake
        await lake.upload_bytes("ü k", b"x")
        link = await lake.presign_download("ü k", filename="a b.txt")
        part = await lake.presign_part(await lake.create_multipart("m"), 1)
        for url in (link, part):
            assert signed(url)["x-amz-expected-bucket-owner"] == OWNER
            assert signed(url)["X-Amz-SignedHeaders"] == "host"
        reply = await http.get(str(link))
        assert (reply.status_code, reply.content) == (200, b"x")
        assert reply.headers["content-disposition"] == 'attachment; filename="a b.txt"'
        assert (await http.put(str(part), content=b"x")).status_code == 200
        changed = str(link).replace(OWNER, OWNER[::-1])
        if servers.supports(server, "signatures"):
            assert (await http.get(changed)).status_code == 403
        await lake.abort_stale_uploads(older_than=timedelta(0))


async def test_only_sigv4(lake: Bucket, session: StorageSession) -> None:
    """Every signature is SigV4, and a client that would sign otherwise is refused."""
    upload = await lake.create_multipart("m")
    urls = [
        await lake.presign_download("k"),
        (await lake.presign_upload("k", content_type="a/b")).url,
        await lake.presign_part(upload, 1),
    ]
    await lake.abort_multipart(upload)
    for url in urls:
        assert signed(url)["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
        assert "Signature" not in signed(url)
    config: Any = session.client.meta.config
    kept = config.signature_version
    config.signature_version = "s3"
    try:
        for call in (lake.presign_download("k"), lake.presign_post("k", content_type="a/b", max_size=1)):
            with pytest.raises(S3InvalidRequestError, match="not SigV4"):
                await call
    finally:
        config.signature_version = kept


@pytest.mark.parametrize("expires_in", [1, 1.9, 60, timedelta(hours=1), 604_800, timedelta(days=7)])
async def test_lifetimes(expires_in: float | timedelta, lake: Bucket) -> None:
    """Seconds or a timedelta, cut to whole seconds; `expires_at` is what the signature says."""
    asked = expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in
    before = datetime.now(UTC)
    link = await lake.presign_download("k", expires_in=expires_in)
    form = await lake.presign_post("k", content_type="a/b", max_size=1, expires_in=expires_in)
    assert signed(link)["X-Amz-Expires"] == str(int(asked))
    signed_at = datetime.strptime(signed(link)["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert link.expires_at == signed_at + timedelta(seconds=int(asked))
    assert form.expires_at == datetime.fromisoformat(policy(form.fields)["expiration"])
    for expires_at in (link.expires_at, form.expires_at):
        assert timedelta(seconds=int(asked) - 2) < expires_at - before < timedelta(seconds=asked + 60)


@pytest.mark.parametrize("expires_in", [0, 0.99, -1, 604_801, timedelta(days=8), float("inf"), float("nan")])
async def test_impossible_lifetimes(expires_in: float | timedelta, lake: Bucket) -> None:
    """Less than a second and more than seven days are refused, with the limits."""
    upload = await lake.create_multipart("m")
    for call in (
        lake.presign_download("k", expires_in=expires_in),
        lake.presign_upload("k", content_type="a/b", expires_in=expires_in),
        lake.presign_post("k", content_type="a/b", max_size=1, expires_in=expires_in),
        lake.presign_part(upload, 1, expires_in=expires_in),
    ):
        with pytest.raises(S3InvalidRequestError, match=r"604,800 s \(7 days\)"):
            await call
    await lake.abort_multipart(upload)


async def test_wrong_arguments(lake: Bucket) -> None:
    """Sizes, types, part numbers and keys S3 would refuse, or misread, are refused before signing."""
    upload = await lake.create_multipart("m")
    five_gib = 5 * 1024**3
    for call in (
        lake.presign_upload("k", content_type="csv"),
        lake.presign_upload("k", content_type="a/b\r\nX: y"),
        lake.presign_upload("k", content_type="a/b", content_length=-1),
        lake.presign_upload("k", content_type="a/b", content_length=five_gib + 1),
        lake.presign_post("k", content_type="csv", max_size=1),
        lake.presign_post("k", content_type="a/b", max_size=five_gib + 1),
        lake.presign_post("k", content_type="a/b", max_size=1, min_size=2),
        lake.presign_post("k", content_type="a/b", max_size=1, min_size=-1),
        lake.presign_post("any/${filename}", content_type="a/b", max_size=1),
        lake.presign_part(upload, 0),
        lake.presign_part(upload, 10_001),
    ):
        with pytest.raises(S3InvalidRequestError):
            await call
    await lake.abort_multipart(upload)
    for wrong in ("60", True, None):
        with pytest.raises(TypeError, match="expires_in"):
            await lake.presign_download("k", expires_in=cast("Any", wrong))
    with pytest.raises(TypeError, match="max_size"):
        await lake.presign_post("k", content_type="a/b", max_size=cast("Any", 1.5))
    with pytest.raises(ValueError, match="key"):
        await lake.presign_download("a/../b")


async def test_scoped_presigning(lake: Bucket, http: httpx.AsyncClient) -> None:
    """A scoped view signs keys under its prefix only."""
    view = lake.scoped("t1")
    await lake.upload_bytes("t1/a", b"mine")
    assert (await http.get(str(await view.presign_download("a")))).content == b"mine"
    form = await view.presign_post("a", content_type="a/b", max_size=1)
    assert form.fields["key"] == "t1/a"
    upload = await lake.create_multipart("t10/m")
    with pytest.raises(S3InvalidRequestError, match="does not belong"):
        await view.presign_part(upload, 1)
    await lake.abort_multipart(upload)


async def test_signatures_stay_out_of_reprs(lake: Bucket) -> None:
    """No repr of a presigned value shows its signature, fields or headers."""
    upload = await lake.presign_upload("k", content_type="a/b")
    form = await lake.presign_post("k", content_type="a/b", max_size=1)
    link = await lake.presign_download("k")
    shown = repr(upload) + repr(form) + repr(link)
    for secret in ("Signature", form.fields["policy"], form.fields["x-amz-signature"], "Credential"):
        assert secret not in shown


class Credentials:
    """Stands in for temporary credentials: when they end, and what a renewal does."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, life: float | None, renewed: float | None = None
    ) -> None:
        self.ends = None if life is None else datetime.now(UTC) + timedelta(seconds=life)
        self.renewed = renewed
        self.renewals = 0
        monkeypatch.setattr(_presign, "credentials_expire_at", lambda _client: self.ends)
        monkeypatch.setattr(_presign, "refresh_credentials", self.renew)

    async def renew(self, _client: object) -> bool:
        """New credentials, or the failure to get some."""
        self.renewals += 1
        if self.renewed is None:
            raise S3CredentialsError("the role cannot be assumed")
        self.ends = datetime.now(UTC) + timedelta(seconds=self.renewed)
        return True


async def test_a_link_ends_with_its_credentials(lake: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lifetime is cut to what the credentials have left, and `expires_at` says so."""
    credentials = Credentials(monkeypatch, life=3_000)
    link = await lake.presign_download("k", expires_in=timedelta(days=7))
    assert 2_900 < int(signed(link)["X-Amz-Expires"]) < 3_000
    assert credentials.ends is not None
    assert link.expires_at <= credentials.ends
    form = await lake.presign_post("k", content_type="a/b", max_size=1, expires_in=timedelta(days=7))
    assert form.expires_at <= credentials.ends
    assert credentials.renewals == 0


async def test_credentials_about_to_end_are_renewed_first(
    lake: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less life than asked for, and less than 15 minutes, they are renewed before signing."""
    credentials = Credentials(monkeypatch, life=100, renewed=7_200)
    link = await lake.presign_download("k", expires_in=3600)
    assert credentials.renewals == 1
    assert signed(link)["X-Amz-Expires"] == "3600"
    credentials = Credentials(monkeypatch, life=100)
    await lake.presign_download("k", expires_in=60)
    assert credentials.renewals == 0


async def test_failed_renewal(lake: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that cannot be renewed sign for the life they have left; ended ones sign nothing."""
    Credentials(monkeypatch, life=100)
    link = await lake.presign_download("k", expires_in=3600)
    assert int(signed(link)["X-Amz-Expires"]) <= 100
    Credentials(monkeypatch, life=0.5)
    with pytest.raises(S3CredentialsError):
        await lake.presign_download("k", expires_in=3600)


async def test_credentials_fetched_by_the_signing(lake: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """When signing itself fetches the first credentials, the lifetime is cut to theirs."""
    ends = datetime.now(UTC) + timedelta(seconds=1_000)
    answers = iter([None, None])
    monkeypatch.setattr(_presign, "credentials_expire_at", lambda _client: next(answers, ends))
    link = await lake.presign_download("k", expires_in=3600)
    assert int(signed(link)["X-Amz-Expires"]) <= 1_000
    assert link.expires_at <= ends


async def test_presigning_sends_nothing(lake: Bucket, session: StorageSession) -> None:
    """No request is made: the key, and the bucket, need not exist."""
    before = session.statistics().requests
    await session.bucket("no-such-bucket-anywhere").presign_download("k")
    await lake.presign_post("k", content_type="a/b", max_size=1)
    assert session.statistics().requests == before


async def test_without_credentials() -> None:
    """With no credentials anywhere nothing can be signed, and the error says where to set them."""
    settings = StorageSettings(endpoint_url="http://127.0.0.1:9", region="us-east-1")
    async with StorageSession(settings) as session:
        lake = session.bucket("some-bucket")
        for call in (
            lake.presign_download("k"),
            lake.presign_upload("k", content_type="a/b"),
            lake.presign_post("k", content_type="a/b", max_size=1),
        ):
            with pytest.raises(S3CredentialsError, match="AWS_ACCESS_KEY_ID") as caught:
                await call
            assert (caught.value.bucket, caught.value.key) == ("some-bucket", "k")
