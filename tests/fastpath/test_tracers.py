"""Tracers that wrap the client see every call: those clients take botocore's way."""

from __future__ import annotations

import aiobotocore.client
import aiobotocore.endpoint
import pytest
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.async_context import AsyncContext
from aws_xray_sdk.ext.aiobotocore import patch

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath._conditions import Reason
from tests.fastpath.recorders import DEFAULTS, RecordingSession, new_session

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("recorded")]


async def test_xray(monkeypatch: pytest.MonkeyPatch) -> None:
    """aws_xray_sdk records a subsegment and sends its header, for clients made before or after it patched."""
    # Registered first, so that what `patch()` sets is taken back.
    client_class, endpoint_class = aiobotocore.client.AioBaseClient, aiobotocore.endpoint.AioEndpoint
    monkeypatch.setattr(client_class, "_make_api_call", client_class._make_api_call)
    monkeypatch.setattr(endpoint_class, "prepare_request", endpoint_class.prepare_request)
    monkeypatch.setattr(aiobotocore.client, "_xray_enabled", True, raising=False)
    monkeypatch.delattr(aiobotocore.client, "_xray_enabled")
    monkeypatch.setattr(xray_recorder, "_context", xray_recorder._context)
    xray_recorder.configure(
        context=AsyncContext(use_task_factory=False), sampling=False, context_missing="IGNORE_ERROR"
    )

    async with new_session().create_client("s3", **DEFAULTS) as client:
        session: RecordingSession = client._endpoint.http_session
        before = fastpath.statistics()
        await client.head_object(Bucket="bucket", Key="key")
        assert fastpath.statistics().compiled == before.compiled + 1
        patch()
        segment = xray_recorder.begin_segment("test")
        await client.head_object(Bucket="bucket", Key="key")
        assert fastpath.statistics().compiled == before.compiled + 1
        assert fastpath.statistics().passed_on[Reason.PATCHED] == before.passed_on.get(Reason.PATCHED, 0) + 1
        assert [each.name for each in segment.subsegments] == ["s3"]
        assert segment.subsegments[0].aws["operation"] == "HeadObject"
        assert any(name == "x-amzn-trace-id" for name, _ in session.sent[-1].headers)
    xray_recorder.clear_trace_entities()
