"""Switching the fast path on: what it changes, what it leaves alone, and what importing it costs."""

from __future__ import annotations

import asyncio
import copy
import os
import subprocess
import sys
from typing import Any

import pytest
from aiobotocore.httpsession import AIOHTTPSession

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath import _call
from greenlang_async_storage.fastpath._conditions import Reason
from greenlang_async_storage.fastpath._mixin import FastPathMixin
from greenlang_async_storage.fastpath.transport import HTTPSession
from tests.fastpath.recorders import DEFAULTS, RecordingSession, new_session

_KEY = {"Bucket": "bucket", "Key": "key"}


@pytest.mark.asyncio
async def test_clients_made_afterwards_have_it() -> None:
    """Only S3 clients, only those made after the call; the transport is ours."""
    session = new_session(enabled=False)
    async with session.create_client("s3", **DEFAULTS) as before:
        fastpath.enable(session)
        assert type(before._endpoint.http_session) is AIOHTTPSession
        assert not isinstance(before, FastPathMixin)
    async with session.create_client("s3", **DEFAULTS) as client:
        assert isinstance(client, FastPathMixin)
        assert type(client._endpoint.http_session) is HTTPSession
    async with session.create_client("sts", **DEFAULTS) as other:
        assert not isinstance(other, FastPathMixin)


@pytest.mark.asyncio
async def test_settings_of_the_session_are_kept() -> None:
    """Timeouts, pool size, verification and certificate reach the transport."""
    from aiobotocore.config import AioConfig

    config = AioConfig(connect_timeout=3, read_timeout=7, max_pool_connections=5)
    async with new_session().create_client("s3", config=config, verify=False, **DEFAULTS) as client:
        arguments = client._endpoint.http_session._proxy_arguments
        assert arguments["timeout"] == (3, 7)
        assert arguments["max_pool_connections"] == 5
        assert arguments["verify"] is False


@pytest.mark.asyncio
async def test_enabling_twice() -> None:
    """The second call changes the option and nothing else; the client keeps one mixin."""
    session = new_session(enabled=False)
    fastpath.enable(session)
    fastpath.enable(session, expect_continue_from=5)
    async with session.create_client("s3", **DEFAULTS) as client:
        assert [base for base in type(client).__mro__ if base is FastPathMixin] == [FastPathMixin]
        assert client._fastpath_options.expect_continue_from == 5


@pytest.mark.asyncio
async def test_an_aioboto3_session() -> None:
    """An `aioboto3.Session` is taken for the session inside; its own additions stay."""
    aioboto3 = pytest.importorskip(
        "aioboto3", reason="not part of the environment with the newest aiobotocore"
    )
    session = aioboto3.Session()
    fastpath.enable(session)
    async with session.client("s3", **DEFAULTS) as client:
        assert isinstance(client, FastPathMixin)
        assert hasattr(client, "upload_fileobj")


def test_what_is_no_session_is_refused() -> None:
    """The message names what was given and what is wanted; a negative size is refused too."""
    with pytest.raises(TypeError, match=r"aioboto3\.Session or an aiobotocore AioSession, not int"):
        fastpath.enable(7)
    with pytest.raises(ValueError, match="negative"):
        fastpath.enable(new_session(enabled=False), expect_continue_from=-1)


def test_importing_costs_nothing() -> None:
    """Nothing of an AWS client is imported before a session is made, and nothing of the SDK above at all."""
    code = (
        "import sys, greenlang_async_storage.fastpath as fastpath; fastpath.statistics(); print(*sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "greenlang_async_storage" in loaded
    assert not loaded & {
        "aioboto3",
        "aiobotocore",
        "botocore",
        "aiohttp",
        "pydantic",
        "structlog",
        "tenacity",
    }


@pytest.mark.asyncio
@pytest.mark.usefixtures("recorded")
async def test_statistics_are_a_frozen_value() -> None:
    """A copy at its moment: later calls do not change it, nor can its reader."""
    async with new_session().create_client("s3", **DEFAULTS) as client:
        before = fastpath.statistics()
        kept = copy.copy(before)
        await client.head_object(**_KEY)
        await client.list_buckets()
        after = fastpath.statistics()
    assert before == kept
    assert after.compiled == before.compiled + 1
    assert after.operations["HeadObject"] == before.operations.get("HeadObject", 0) + 1
    assert after.passed_on["operation not compiled"] == before.passed_on.get("operation not compiled", 0) + 1
    with pytest.raises(TypeError):
        after.operations["x"] = 1  # type: ignore[index]
    with pytest.raises(AttributeError):
        after.compiled = 0  # type: ignore[misc]


@pytest.mark.asyncio
@pytest.mark.usefixtures("recorded")
async def test_paginators_and_waiters_go_through_it() -> None:
    """They call the client's methods, and say so in the user agent as ever."""
    async with new_session().create_client("s3", **DEFAULTS) as client:
        session: RecordingSession = client._endpoint.http_session
        before = fastpath.statistics()
        async for _ in client.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
            pass
        await client.get_waiter("object_exists").wait(**_KEY)
        await client.list_objects_v2(Bucket="bucket")
        after = fastpath.statistics()
        assert after.compiled == before.compiled + 3
        features = [next(word for word in agent.split() if word.startswith("m/")) for agent in session.agents]
        paged, waited, plain = (set(each[2:].split(",")) for each in features)
        assert paged - plain == {"C"}
        assert waited - plain == {"B"}


@pytest.mark.asyncio
@pytest.mark.usefixtures("recorded")
async def test_credentials_are_read_on_every_call() -> None:
    """New keys of the session are used by the next call; refreshing ones are asked each time."""
    from aiobotocore.credentials import AioCredentials

    class Refreshing:
        asked = 0

        async def get_frozen_credentials(self) -> Any:
            self.asked += 1
            return AioCredentials(f"KEY{self.asked}", "secret", "token")

    async with new_session().create_client("s3", **DEFAULTS) as client:
        session: RecordingSession = client._endpoint.http_session
        client._request_signer._credentials.access_key = "OTHER"
        await client.head_object(**_KEY)
        client._request_signer._credentials = Refreshing()
        await client.head_object(**_KEY)
        await client.head_object(**_KEY)
        used = [
            dict(sent.headers)["authorization"].partition("Credential=")[2].partition("/")[0]
            for sent in session.sent
        ]
        assert used == ["OTHER", "KEY1", "KEY2"]
        assert dict(session.sent[-1].headers)["x-amz-security-token"] == "token"


@pytest.mark.asyncio
@pytest.mark.usefixtures("recorded")
async def test_no_secret_is_shown() -> None:
    """What a traceback with locals would print holds neither keys nor tokens nor signed headers."""
    arguments = {**DEFAULTS, "aws_session_token": "TOKEN"}
    async with new_session().create_client("s3", **arguments) as client:
        parameters = {
            **_KEY,
            "SSECustomerKey": "0123456789abcdef0123456789abcdef",
            "SSECustomerAlgorithm": "AES256",
        }
        following = super(FastPathMixin, client)._make_api_call
        request = await client._fastpath.request(client, "GetObject", parameters, following)
        keys = await _call._keys(client)
        shown = repr((request, request.draft, request.body, request.target, keys, client._fastpath))
    for secret in (DEFAULTS["aws_secret_access_key"], "TOKEN", "Signature=", "MDEyMzQ1Njc4"):
        assert secret not in shown


@pytest.mark.asyncio
@pytest.mark.usefixtures("recorded")
async def test_many_buckets_do_not_fill_the_memory() -> None:
    """Endpoints are kept for a bounded number of buckets."""
    from greenlang_async_storage.fastpath._endpoint import MAX_CACHED_BUCKETS

    async with new_session().create_client("s3", **DEFAULTS, endpoint_url="http://localhost") as client:
        for number in range(MAX_CACHED_BUCKETS + 5):
            await client.head_bucket(Bucket=f"bucket-{number}")
        (cache,) = client._fastpath._endpoints.values()
        assert len(cache._targets) == MAX_CACHED_BUCKETS


@pytest.mark.asyncio
@pytest.mark.usefixtures("recorded")
async def test_concurrent_first_calls() -> None:
    """Calls that meet an empty cache together are all right."""
    async with new_session().create_client("s3", **DEFAULTS) as client:
        await asyncio.gather(*[client.head_object(Bucket="bucket", Key=str(number)) for number in range(20)])
        assert {sent.url[-2:] for sent in client._endpoint.http_session.sent} >= {"/7", "19"}


@pytest.mark.asyncio
@pytest.mark.usefixtures("recorded")
async def test_rules_that_look_at_keys() -> None:
    """Were the endpoint rules to depend on the key, no endpoint would be kept for a bucket."""
    async with new_session().create_client("s3", **DEFAULTS) as client:
        resolver = client._ruleset_resolver
        resolver._provider._excluded_params = frozenset()
        rule = copy.copy(resolver._provider.ruleset.rules[0])
        rule.conditions = [*rule.conditions, {"fn": "isSet", "argv": [{"ref": "Key"}]}]
        resolver._provider.ruleset.rules = [rule, *resolver._provider.ruleset.rules]
        before = fastpath.statistics().passed_on.get(Reason.ENDPOINT, 0)
        await client.head_object(**_KEY)
        assert fastpath.statistics().passed_on[Reason.ENDPOINT] == before + 1
