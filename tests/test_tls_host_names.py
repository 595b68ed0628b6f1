"""No client of a session talks to a server whose certificate is not for the name it asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage._aws import open_client
from greenlang_async_storage._error_map import map_errors
from greenlang_async_storage._errors import S3ConnectionError, S3CredentialsError
from greenlang_async_storage._settings import StorageSettings
from tests.support.sts import Clock, ScriptedServer, StsServer, TunnelProxy
from tests.support.tls import UNTRUSTED, CertificateAuthority, old_protocol

pytestmark = [pytest.mark.asyncio, pytest.mark.allow_blocking("certificates are made and read by the test")]

KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "not-a-secret"}


async def head(url: str, *, fast_path: bool = False, **values: Any) -> None:
    """One call to the store at *url*, with failures as users see them."""
    settings = StorageSettings(
        fast_path=fast_path, endpoint_url=url, region="eu-west-1", **{**KEYS, **values}
    )
    async with await open_client(settings) as opened:
        with map_errors("HeadBucket", "my-bucket"):
            await opened.client.head_bucket(Bucket="my-bucket")


@pytest.mark.parametrize("fast_path", [False, True])
async def test_s07_the_right_certificate_is_accepted(
    authority: CertificateAuthority, fast_path: bool
) -> None:
    """A certificate for the host by the trusted authority is all it takes."""
    async with ScriptedServer(tls=authority.server_context("localhost")) as store:
        await head(store.url, verify_tls=authority.bundle, fast_path=fast_path)
    assert len(store.requests) == 1


async def test_s07_the_authority_may_come_from_botocores_variable(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_CA_BUNDLE counts unless GREENLANG_STORAGE_VERIFY_TLS names another."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    async with ScriptedServer(tls=authority.server_context("localhost")) as store:
        await head(store.url)
    assert len(store.requests) == 1


@pytest.mark.parametrize("fast_path", [False, True])
@pytest.mark.parametrize("fault", UNTRUSTED)
async def test_s07_a_wrong_certificate_is_refused(
    authority: CertificateAuthority, fault: str, fast_path: bool
) -> None:
    """The call fails before anything is sent, is not worth retrying, and names the variable."""
    async with ScriptedServer(tls=UNTRUSTED[fault](authority)) as store:
        with pytest.raises(S3ConnectionError, match="GREENLANG_STORAGE_VERIFY_TLS") as caught:
            await head(store.url, verify_tls=authority.bundle, fast_path=fast_path)
    assert not caught.value.retryable
    assert store.requests == []


async def test_s07_old_protocols_are_refused(authority: CertificateAuthority) -> None:
    """TLS 1.2 is the oldest that is spoken."""
    with pytest.warns(DeprecationWarning, match="TLS"):
        context = old_protocol(authority)
    async with ScriptedServer(tls=context) as store:
        with pytest.raises(S3ConnectionError):
            await head(store.url, verify_tls=authority.bundle)
    assert store.requests == []


async def test_s07_verification_can_be_switched_off(authority: CertificateAuthority) -> None:
    """`verify_tls=False` accepts any server: that is what it says."""
    async with ScriptedServer(tls=authority.server_context("wrong.example.com")) as store:
        await head(store.url, verify_tls=False)
    assert len(store.requests) == 1


@pytest.mark.parametrize("name", ["localhost", "wrong.example.com"])
async def test_s07_a_proxy_does_not_switch_verification_off(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Through a tunnel the server's certificate is checked as without one."""
    async with TunnelProxy() as proxy, ScriptedServer(tls=authority.server_context(name)) as store:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        if name == "localhost":
            await head(store.url, verify_tls=authority.bundle)
        else:
            with pytest.raises(S3ConnectionError):
                await head(store.url, verify_tls=authority.bundle)
    assert len(store.requests) == (1 if name == "localhost" else 0)
    assert proxy.tunnels


@pytest.mark.parametrize("verify_tls", [True, False])
@pytest.mark.parametrize("name", ["localhost", "wrong.example.com"])
async def test_s07_the_client_that_fetches_credentials_checks_too(
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    verify_tls: bool,
) -> None:
    """The web identity token is never shown to another host, whatever is set for the store."""
    (tmp_path / "token").write_text("web-identity")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/storage")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    async with StsServer(Clock(), tls=authority.server_context(name)) as sts, ScriptedServer() as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        keys: dict[str, Any] = {"access_key_id": None, "secret_access_key": None}
        if name == "localhost":
            await head(store.url, verify_tls=verify_tls, **keys)
            assert [request.access_key for request in store.requests] == ["KEY1"]
        else:
            with pytest.raises(S3CredentialsError, match="certificate"):
                await head(store.url, verify_tls=verify_tls, **keys)
            assert sts.requests == []
            assert store.requests == []
