"""doctor names the cause: each of them made for real."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage.testing import MinioServer
from tests.cli.conftest import Cli, Done, keys, point_at
from tests.support import servers
from tests.support.sts import Clock, Reply, ScriptedServer, StsServer

SHIFTED = """
import datetime, time
_real, _time = datetime.datetime, time.time
class _Shifted(_real):
    @classmethod
    def now(cls, tz=None):
        return _real.now(tz) + datetime.timedelta(hours={hours})
    @classmethod
    def utcnow(cls):
        return _real.utcnow() + datetime.timedelta(hours={hours})
datetime.datetime = _Shifted
time.time = lambda: _time() + {hours} * 3600
"""
"""A `sitecustomize` that sets the clock of a Python process wrong."""


@pytest.fixture
def minio(
    minio_server: MinioServer, cli_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Cli, Any, str]]:
    """Commands, an observer and a bucket on MinIO, which checks keys, signatures, clocks and KMS keys."""
    client = servers.observer_client(minio_server)
    name = f"doctor-{time.time_ns()}"
    client.create_bucket(Bucket=name)
    point_at(monkeypatch, minio_server, name)
    yield Cli(cli_folder), client, name
    servers.empty_and_remove(client, name)
    client.close()


def failed(done: Done) -> dict[str, str]:
    """What failed, by section and name: detail and remedy in one text."""
    assert done.code == 1, done
    found = done.document
    assert found["ok"] is False
    lines = [check for check in found["checks"] if check["status"] == "failed"]
    assert all(check["remedy"] for check in lines), "a failure without a remedy"
    return {f"{line['section']}/{line['name']}": f"{line['detail']} -> {line['remedy']}" for line in lines}


def only(done: Done) -> tuple[str, str]:
    """The one thing that failed."""
    [(where, text)] = failed(done).items()
    return where, text


def test_everything_works(cli: Cli, observer: Any, bucket_name: str) -> None:
    """On a good store nothing fails, the probe's objects are gone, and stdout is one document."""
    done = cli.call("doctor", "--json")
    found = done.document
    not_ok = [check for check in found["checks"] if check["status"] == "failed"]
    assert (done.code, not_ok) == (0, [])
    names = {check["name"] for check in found["checks"]}
    assert {"endpoint", "tcp", "http", "latency", "source", "signature", "life", "offset", "kms"} <= names
    assert keys(observer, bucket_name) == []


def test_where_settings_come_from(minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting says its variable, `default` or the option; no secret is shown."""
    cli, _, name = minio
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret-at-all")
    cli.write(".env", b"GREENLANG_REPORTS_BUCKET=x\nOTHER=1\nexport KMS_KEY_ID=y\n")
    done = cli.call("doctor", "--json", "--region", "us-east-1", "--no-write")
    checks = {check["name"]: check for check in done.document["checks"] if check["section"] == "Settings"}
    assert checks["data_lake_bucket"]["origin"] == "GREENLANG_DATA_LAKE_BUCKET"
    assert checks["data_lake_bucket"]["value"] == name
    assert checks["region"]["origin"] == "--region"
    assert checks["part_size"]["origin"] == "default"
    assert "GREENLANG_REPORTS_BUCKET" in checks[".env"]["detail"]
    assert "KMS_KEY_ID" not in checks[".env"]["detail"]
    assert "not-the-secret" not in done.out
    text = cli.call("doctor", "--no-write").out
    assert "part_size" not in text


def test_wrong_endpoint_name(minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not exist is a failure of DNS."""
    monkeypatch.setenv("GREENLANG_STORAGE_ENDPOINT_URL", "http://store.invalid:9000")
    where, text = only(minio[0].call("doctor", "--json"))
    assert where == "Network/dns"
    assert "store.invalid" in text
    assert "GREENLANG_STORAGE_ENDPOINT_URL" in text


def test_wrong_endpoint_port(minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A port nobody listens on is a failure of TCP; asked of the real program."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        where, text = only(minio[0].run("doctor", "--json", env={"GREENLANG_STORAGE_ENDPOINT_URL": url}))
    assert where == "Network/tcp"
    assert "refused" in text


def test_wrong_scheme(minio: tuple[Cli, Any, str], minio_server: MinioServer) -> None:
    """https:// for a store that speaks http is a failure of TLS, which says so."""
    url = f"https://127.0.0.1:{minio_server.port}"
    where, text = only(minio[0].call("doctor", "--json", "--endpoint-url", url))
    assert where == "Network/tls"
    assert "http://" in text


@pytest.mark.asyncio
@pytest.mark.allow_blocking("the program runs in a thread, and starts there")
async def test_no_store_there(minio: tuple[Cli, Any, str]) -> None:
    """A web server that is no S3 store is called that."""
    page = Reply(404, b"<html>Not Found</html>", {"content-type": "text/html", "server": "nginx"})
    async with ScriptedServer(lambda _: page) as server:
        env = {"GREENLANG_STORAGE_ENDPOINT_URL": server.url}
        done = await asyncio.to_thread(minio[0].run, "doctor", "--json", env=env)
    found = failed(done)
    assert "Network/store" in found or "Buckets/data_lake" in found, found


def test_wrong_key_id(minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A key id the store does not know is told from a wrong secret."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONGWRONGWRONG")
    where, text = only(minio[0].call("doctor", "--json"))
    assert where == "Credentials/signature"
    assert "knows no access key AKIA...RONG" in text
    assert "AWS_ACCESS_KEY_ID" in text


def test_wrong_secret(minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong secret names the secret."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    done = minio[0].call("doctor", "--json")
    where, text = only(done)
    assert where == "Credentials/signature"
    assert "AWS_SECRET_ACCESS_KEY" in text
    assert "wrong-secret" not in done.out


def test_no_credentials(minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing credentials say where they may come from."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    where, text = only(minio[0].call("doctor", "--json"))
    assert where == "Credentials/source"
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in text


def test_missing_bucket(minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that does not exist is named with its variable; the others are ok."""
    monkeypatch.setenv("GREENLANG_REPORTS_BUCKET", "nobodys-bucket-here")
    done = minio[0].call("doctor", "--json")
    where, text = only(done)
    assert where == "Buckets/reports"
    assert "nobodys-bucket-here does not exist" in text
    assert "GREENLANG_REPORTS_BUCKET" in text
    assert {"section": "Buckets", "name": "data_lake", "status": "ok"}.items() <= next(
        check.items() for check in done.document["checks"] if check["name"] == "data_lake"
    )


@pytest.mark.parametrize("hours", [1, -1])
def test_clock_off_by_an_hour(hours: int, minio: tuple[Cli, Any, str], tmp_path: Path) -> None:
    """MinIO refuses a program whose clock is an hour off, and doctor says by how much, and which way."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SHIFTED.format(hours=hours))
    cli = minio[0]
    path = f"{site}:{cli.environment()['PYTHONPATH']}"
    where, text = only(cli.run("doctor", "--json", env={"PYTHONPATH": path}))
    assert where == "Clock/offset"
    assert "60 min" in text
    assert ("ahead of" if hours > 0 else "behind") in text
    assert "NTP" in text


def test_kms_not_configured(cli_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A store without KMS: the cause is KMS, and both remedies are named; with ENCRYPTION=none it is fine."""
    if servers.MINIO_BINARY is None:
        servers.unavailable(servers.MINIO_MISSING)
    cli = Cli(cli_folder)
    binary = Path(str(servers.MINIO_BINARY))
    with MinioServer.start(kms=False, directory=tmp_path / "minio", binary=binary) as server:
        client = servers.observer_client(server)
        client.create_bucket(Bucket="plain-bucket")
        point_at(monkeypatch, server, "plain-bucket")
        where, text = only(cli.call("doctor", "--json"))
        assert where == "Features/kms"
        assert "KMS_KEY_ID" in text
        assert "GREENLANG_STORAGE_ENCRYPTION" in text
        assert keys(client, "plain-bucket") == []
        monkeypatch.setenv("GREENLANG_STORAGE_ENCRYPTION", "none")
        assert cli.call("doctor", "--json").code == 0
        client.close()


def test_unknown_kms_key(minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A KMS key that does not exist is named."""
    monkeypatch.setenv("KMS_KEY_ID", "no-such-key")
    where, text = only(minio[0].call("doctor", "--json"))
    assert where == "Features/kms"
    assert "no-such-key" in text


def token(expires: float) -> bytes:
    """A JSON web token that ends at *expires*."""
    body = base64.urlsafe_b64encode(json.dumps({"exp": expires}).encode()).rstrip(b"=")
    return b"eyJhbGciOiJub25lIn0." + body + b".c2ln"


def irsa(cli: Cli, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """A pod's environment."""
    path = cli.write("token", data)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/storage")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(path))


def test_expired_web_identity_token(minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The expiry inside the token file is read before anybody is asked."""
    irsa(minio[0], monkeypatch, token(time.time() - 7200))
    where, text = only(minio[0].run("doctor", "--json"))
    assert where == "Credentials/web identity token"
    assert "expired 120 min ago" in text or "expired 2 h ago" in text


@pytest.mark.asyncio
@pytest.mark.allow_blocking("the program runs in a thread, and starts there")
@pytest.mark.parametrize(
    ("code", "message"),
    [("ExpiredTokenException", "Token expired"), ("AccessDenied", "Not authorized to assume the role")],
)
async def test_what_sts_refuses(
    code: str, message: str, minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token STS calls expired, or a role it does not give, is told in its words."""
    cli = minio[0]
    await asyncio.to_thread(irsa, cli, monkeypatch, b"opaque")
    async with StsServer(Clock()) as sts:
        sts.error = (code, message)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        done = await asyncio.to_thread(cli.run, "doctor", "--json")
    where, text = only(done)
    assert where == "Credentials/renewal"
    assert message in text
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in text


@pytest.mark.asyncio
@pytest.mark.allow_blocking("the program runs in a thread, and starts there")
async def test_the_life_of_a_role(minio: tuple[Cli, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is the role, and its life is told; the store refuses the made-up key."""
    cli = minio[0]
    await asyncio.to_thread(irsa, cli, monkeypatch, token(time.time() + 3600))
    async with StsServer(Clock()) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        done = await asyncio.to_thread(cli.run, "doctor", "--json")
    checks = {check["name"]: check for check in done.document["checks"]}
    assert checks["source"]["method"] == "assume-role-with-web-identity"
    assert checks["web identity token"]["status"] == "ok"
    assert "Credentials/signature" in failed(done)


def test_a_bad_setting_is_a_line(offline: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that cannot work are told like everything else."""
    monkeypatch.setenv("GREENLANG_STORAGE_PART_SIZE", "3")
    where, text = only(offline.call("doctor", "--json"))
    assert where == "Settings/value"
    assert "GREENLANG_STORAGE_PART_SIZE" in text
