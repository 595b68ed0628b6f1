"""S5: credentials and signatures are on the wire, and nowhere else."""

from __future__ import annotations

import io
import logging
import traceback

import pytest

from greenlang_async_storage import S3ConnectionError, SecretFilter
from tests.security import _canaries
from tests.security._sessions import BOTH_PATHS, lake_at
from tests.support.faults import Door

KEEP = "kept-because-it-is-harmless"
MESSAGES = {
    "header": "headers: {'X-Amz-Security-Token': 'CANARY+/=', 'Host': '%s'}",
    "bytes": "headers={'X-Amz-Security-Token': b'CANARY', 'Authorization': b'AWS4-HMAC-SHA256 "
    "Credential=AKID/x, SignedHeaders=host, Signature=CANARY'} %s",
    "canonical": "CanonicalRequest:\nPUT\n/k\n\nhost:h\nx-amz-security-token:CANARY\n%s",
    "signature": "Signature:\nCANARY0123456789\n%s",
    "query": "GET /k?X-Amz-Signature=CANARY&X-Amz-Security-Token=CANARY%%2F&partNumber=1 %s",
    "pair": "[('x-amz-security-token', 'CANARY'), ('authorization', 'Bearer CANARY')] %s",
    "sts": "<SecretAccessKey>CANARY</SecretAccessKey><SessionToken>CANARY==</SessionToken><Id>%s</Id>",
    "json": '{"secretAccessKey": "CANARY", "sessionToken":"CANARY", "accessToken": "CANARY", "id": "%s"}',
    "web identity": "{'Action': 'AssumeRoleWithWebIdentity', 'WebIdentityToken': 'CANARY.eyJ.x', 'a': '%s'}",
    "customer key": "{'SSECustomerKey': 'CANARY', 'SSECustomerKeyMD5': 'CANARY==', 'Key': '%s'}",
    "customer key header": "x-amz-server-side-encryption-customer-key: CANARY\r\n"
    "x-amz-server-side-encryption-customer-key-md5: CANARY\r\nhost: %s",
    "copy of one": "'x-amz-copy-source-server-side-encryption-customer-key': 'CANARY', 'a': '%s'",
    "cookies": "Set-Cookie: id=CANARY; path=/CANARY\r\nhost: %s",
    "form": "{'policy': 'CANARYeyJ9', 'x-amz-signature': 'CANARY', 'key': '%s'}",
    "credentials": "Credentials(access_key='AKID', secret_key='CANARY', session_token='CANARY') %s",
}


@pytest.mark.asyncio
@pytest.mark.parametrize("door", ["direct", "served"])
async def test_s05_canaries_are_silent(door: Door) -> None:
    """DEBUG logs, errors with the locals of every frame, pickles, reprs: of ten calls and their failures."""
    told = await _canaries.run(door)
    assert told.log.getvalue().count("\n") > 100
    assert len(told.text) > 200
    assert told.hits() == []


@pytest.mark.asyncio
async def test_s05_canaries_sing_without_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search finds them where nobody masks: what botocore logs at DEBUG."""
    monkeypatch.setattr(SecretFilter, "filter", lambda _self, _record: True)
    told = await _canaries.run("direct", ["PutObject"])
    assert told.hits()
    assert all(hit.startswith("log: ") for hit in told.hits())


@pytest.mark.parametrize("form", MESSAGES)
def test_s05_the_filter_masks_every_spelling(form: str) -> None:
    """Headers, queries, documents and reprs lose the secret and keep the rest; so does a traceback."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(SecretFilter())
    logger = logging.Logger("somebody.else")  # noqa: LOG001  # of the test's own
    logger.addHandler(handler)
    logger.debug(MESSAGES[form], KEEP)
    try:
        raise RuntimeError(MESSAGES[form] % KEEP)
    except RuntimeError:
        logger.exception("it failed", stack_info=True)
    assert "CANARY" not in out.getvalue()
    assert out.getvalue().count(KEEP) == 2
    assert "[redacted]" in out.getvalue()
    assert "RuntimeError" in out.getvalue()


@pytest.mark.asyncio
@BOTH_PATHS
async def test_s05_errors_forget_the_request_and_keep_the_reason(fast_path: bool) -> None:
    """What led to an error is named with its text, without the client's frames; the caller's stay."""
    async with lake_at("http://127.0.0.1:1", fast_path=fast_path) as lake:
        with pytest.raises(S3ConnectionError) as caught:
            await lake.upload_bytes("key", b"data")
    cause = caught.value.__cause__
    assert cause is not None
    text = "".join(traceback.format_exception(caught.value))
    assert type(cause).__name__ in text
    assert __file__ in text
    assert "aiobotocore/" not in text
    assert "fastpath/" not in text
