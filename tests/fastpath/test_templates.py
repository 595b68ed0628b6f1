"""Calls whose form was sent before: made from a template, and equal to botocore's all the same."""

from __future__ import annotations

import datetime
from typing import Any

import botocore.auth
import botocore.compat
import pytest

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath import _call, _signer
from greenlang_async_storage.fastpath._body import THREAD_FROM
from greenlang_async_storage.fastpath._mixin import FastPathMixin
from greenlang_async_storage.fastpath._payload import Payload
from greenlang_async_storage.fastpath._template import Template
from tests.fastpath.recorders import DEFAULTS, Twins, twins

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("frozen", "recorded")]

_CALLS: dict[str, list[dict[str, Any]]] = {
    "get_object": [{"Key": "a"}, {"Key": "b c/ü%"}, {"Key": "c"}],
    "head_object": [{"Key": "a", "IfMatch": '"1"'}, {"Key": "a", "IfMatch": '"%s 2"'}],
    "put_object": [
        {"Key": "a", "Body": b"one", "Metadata": {"A": "1", "b": "%d"}, "ContentType": "text/plain"},
        {"Key": "b", "Body": b"another", "Metadata": {"A": "2", "b": "x y"}, "ContentType": "text/csv"},
        {"Key": "c", "Body": b"another", "Metadata": {"A": "2", "b": ""}, "ContentType": "a/b; c=d"},
    ],
    "delete_object": [{"Key": "a"}, {"Key": "b"}],
    "put_object without a body": [{"Key": "a"}, {"Key": "b"}],
}


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the requests that a template made."""
    keys: list[str] = []
    message = Template.message

    def noted(self: Template, parameters: dict[str, Any], *rest: Any) -> Any:
        made = message(self, parameters, *rest)
        if made is not None:
            keys.append(parameters["Key"])
        return made

    monkeypatch.setattr(Template, "message", noted)
    return keys


async def both(pair: Twins, method: str, **parameters: Any) -> None:
    """The same call on both clients; the requests are equal."""
    for client in (pair.plain, pair.fast):
        await getattr(client, method)(**{"Bucket": "bucket", **parameters})
    assert pair.fast_session.sent[-1] == pair.plain_session.sent[-1]
    assert pair.fast_session.agents[-1].startswith("aiobotocore/")


@pytest.mark.parametrize("endpoint", ["http://localhost:9000/base", "https://store.example"])
@pytest.mark.parametrize("method", _CALLS)
async def test_repeated_calls(method: str, endpoint: str, used: list[str]) -> None:
    """All but the first call of a form come from its template; each equals botocore's."""
    async with twins(endpoint_url=endpoint, aws_session_token="a/token==") as pair:
        for parameters in _CALLS[method]:
            await both(pair, method.partition(" ")[0], **parameters)
        trailing = method.startswith("put_object") and endpoint.startswith("https")
        assert len(used) == (0 if trailing else len(_CALLS[method]) - 1)


async def test_other_forms(used: list[str]) -> None:
    """Another bucket, parameter, name of metadata or kind of body has no part in a template."""
    async with twins(endpoint_url="http://localhost:9000") as pair:
        await both(pair, "put_object", Key="a", Body=b"1")
        await both(pair, "put_object", Key="a", Body=b"1", Bucket="other")
        await both(pair, "put_object", Key="a", Body=b"1", ContentType="text/plain")
        await both(pair, "put_object", Key="a", Body=b"1", Metadata={"Body": "1"})
        await both(pair, "put_object", Key="a", Body=b"1", Metadata={"body": "1", "x": "2"})
        await both(pair, "put_object", Key="a")
        await both(pair, "put_object", Key="a", Body="1")
        await both(pair, "put_object", Key="a", Body=b"")
        await both(pair, "put_object", Key="a", Body=bytes(THREAD_FROM))
        await both(pair, "put_object", Key="a", Body=b"1", ChecksumAlgorithm="SHA256")
        await both(pair, "put_object", Key="a", Body=b"1", ChecksumAlgorithm="CRC32")
        await both(pair, "get_object", Key="a", VersionId="1")
        await both(pair, "get_object", Key="a", VersionId="2")
        assert used == []


async def test_values_that_no_template_holds(used: list[str]) -> None:
    """A value botocore treats apart goes to botocore; the next plain one is made from the template again."""
    async with twins(endpoint_url="http://localhost:9000") as pair:
        before = fastpath.statistics().passed_on
        for kind in ("text/plain", "a  b", "text/csv"):
            await both(pair, "put_object", Key=kind, Body=b"1", ContentType=kind)
        passed = fastpath.statistics().passed_on
        assert passed != before
        assert used == ["text/csv"]


@pytest.mark.parametrize(
    "change",
    [
        {"request_checksum_calculation": "when_required"},
        {"response_checksum_validation": "when_required"},
        {"user_agent_extra": "somebody"},
        {"s3": {"payload_signing_enabled": False}},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_changed_configuration(change: dict[str, Any], used: list[str]) -> None:
    """What a client is told after a template was made holds for the next call."""
    async with twins(endpoint_url="http://localhost:9000") as pair:
        for _ in range(2):
            await both(pair, "put_object", Key="before", Body=b"1")
            await both(pair, "get_object", Key="before")
        for client in (pair.plain, pair.fast):
            for name, value in change.items():
                setattr(client.meta.config, name, value)
        for key in ("first", "again"):
            await both(pair, "put_object", Key=key, Body=b"1")
            await both(pair, "get_object", Key=key)
        assert pair.fast_session.agents[-1].endswith("somebody") == ("user_agent_extra" in change)
        assert "again" in used


async def test_other_credentials(used: list[str]) -> None:
    """Each call is signed with the credentials of its moment."""
    async with twins(endpoint_url="http://localhost:9000") as pair:
        for secret, token in (("ONE", None), ("TWO", None), ("TWO", "token")):
            for client in (pair.plain, pair.fast):
                client._request_signer._credentials.secret_key = secret
                client._request_signer._credentials.token = token
            await both(pair, "get_object", Key=f"{secret} {token}")
            await both(pair, "get_object", Key="again")
        assert used == ["again"] * 3


async def test_another_day(monkeypatch: pytest.MonkeyPatch, used: list[str]) -> None:
    """After midnight (UTC) the scope and the key are those of the new day."""
    moment = datetime.datetime(2026, 3, 1, 23, 59, 59, tzinfo=datetime.UTC)

    class Clock:
        def now(self) -> str:
            return moment.strftime("%Y%m%dT%H%M%SZ")

    monkeypatch.setattr(_signer, "clock", Clock())
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: moment)
    if botocore.compat.HAS_CRT:
        monkeypatch.setattr("botocore.crt.auth.get_current_datetime", lambda *_, **__: moment)
    async with twins(endpoint_url="http://localhost:9000") as pair:
        for key in ("last", "yesterday"):
            await both(pair, "get_object", Key=key)
        moment += datetime.timedelta(seconds=1)
        for key in ("first", "today"):
            await both(pair, "get_object", Key=key)
        moment += datetime.timedelta(seconds=1)
        await both(pair, "get_object", Key="later")
        assert used == ["yesterday", "today", "later"]


async def test_inside_a_traced_function(monkeypatch: pytest.MonkeyPatch, used: list[str]) -> None:
    """Where Lambda traces, each request carries the trace of its own invocation."""
    async with twins(endpoint_url="http://localhost:9000") as pair:
        for key in ("a", "b"):
            await both(pair, "get_object", Key=key)
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "function")
        for trace in ("Root=1", "Root=2"):
            monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
            await both(pair, "get_object", Key=trace)
        assert used == ["b"]


async def test_payloads_by_their_digest(used: list[str]) -> None:
    """A digest that was computed before is signed; the body is the view's bytes."""
    digest = "ab" * 32
    async with twins(endpoint_url="http://localhost:9000") as pair:
        for text in (b"one", b"two"):
            await pair.fast.put_object(Bucket="bucket", Key="k", Body=Payload(memoryview(text), digest))
            assert pair.fast_session.sent[-1].body == text
            assert ("x-amz-content-sha256", digest) in pair.fast_session.sent[-1].headers
    assert used == ["k"]


async def test_bodies_left_unsigned_have_a_form_of_their_own(used: list[str]) -> None:
    """What one call leaves out of the signature is signed in the next one that asks for it."""
    digest = "ab" * 32
    async with twins(endpoint_url="https://store.example") as pair:
        for sha256_hex in (Payload.UNSIGNED, digest, Payload.UNSIGNED, digest):
            body = Payload(b"1", sha256_hex)
            await pair.fast.put_object(Bucket="bucket", Key="k", Body=body, ChecksumCRC32="AAAAAA==")
            assert ("x-amz-content-sha256", sha256_hex) in pair.fast_session.sent[-1].headers
    assert used == ["k", "k"]


async def test_no_secret_is_shown() -> None:
    """A traceback with locals prints neither the signed head nor what a template keeps."""
    async with twins(endpoint_url="http://localhost:9000", aws_session_token="TOKEN") as pair:
        following = super(FastPathMixin, pair.fast)._make_api_call
        parameters = {"Bucket": "bucket", "Key": "k"}
        await pair.fast.get_object(**parameters)
        request = await pair.fast._fastpath.request(pair.fast, "GetObject", parameters, following)
        assert request.message is not None
        assert b"TOKEN" in request.message.head
        shown = repr((request, request.message, pair.fast._fastpath._templates, request.draft))
        for secret in ("TOKEN", "Signature=", DEFAULTS["aws_secret_access_key"]):
            assert secret not in shown


async def test_templates_are_bounded() -> None:
    """Many buckets do not fill the memory, and no template keeps a body."""
    async with twins(endpoint_url="http://localhost:9000") as pair:
        for number in range(_call.MAX_TEMPLATES + 5):
            await pair.fast.put_object(Bucket=f"bucket-{number}", Key="k", Body=b"1")
        kept = pair.fast._fastpath._templates
        assert len(kept) <= _call.MAX_TEMPLATES
        for each in kept.values():
            assert set(each.draft.parameters.values()) == {None}
            assert each.draft.body is None
