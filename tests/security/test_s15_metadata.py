"""S15, S16: what goes with an object has S3's limits, and keys of encryption are told to nobody."""

from __future__ import annotations

import inspect
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage import Bucket, S3Error, S3InvalidRequestError, StorageSettings, WriteOptions
from greenlang_async_storage._options import MAX_METADATA_BYTES, prepare_write
from greenlang_async_storage._tags import MAX_TAGS, prepare_tags
from greenlang_async_storage.testing import Fault
from tests.support.faults import laboratory

SETTINGS: Final = StorageSettings(encryption="none")
ARN: Final = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=1200), max_size=5))
def test_s15_metadata_is_kept_as_given_or_refused(metadata: dict[str, str]) -> None:
    """Whatever passes is ASCII tokens and printable ASCII, 2 KiB in all, and unchanged but for name case."""
    try:
        made = prepare_write(SETTINGS, "key", {"metadata": metadata}).metadata
    except S3InvalidRequestError:
        return
    assert dict(made) == {name.lower(): value for name, value in metadata.items()}
    assert sum(len(name) + len(value) for name, value in made.items()) <= MAX_METADATA_BYTES
    assert all(f"{name}{value}".isascii() and f"{name}{value}".isprintable() for name, value in made.items())


@pytest.mark.parametrize(("size", "fits"), [(MAX_METADATA_BYTES - 1, True), (MAX_METADATA_BYTES, False)])
def test_s15_metadata_has_its_limit(size: int, fits: bool) -> None:
    """2,048 bytes of names and values; one more is refused here, not by the store."""
    options: WriteOptions = {"metadata": {"a": "x" * size}}
    if fits:
        assert prepare_write(SETTINGS, "key", options).metadata
    else:
        with pytest.raises(S3InvalidRequestError, match="2048"):
            prepare_write(SETTINGS, "key", options)


@given(st.dictionaries(st.text(max_size=140), st.text(max_size=280), max_size=12))
def test_s15_tags_are_kept_as_given_or_refused(tags: dict[str, str]) -> None:
    """Ten, of 128 and 256 characters S3 knows, none under `aws:`."""
    try:
        made = prepare_tags(tags)
    except S3InvalidRequestError:
        return
    assert made == tags
    assert len(made) <= MAX_TAGS
    assert all(0 < len(name) <= 128 and len(value) <= 256 for name, value in made.items())
    assert not any(name.lower().startswith("aws:") for name in made)


@pytest.mark.parametrize(
    ("tags", "limit"),
    [
        ({str(number): "v" for number in range(11)}, "at most 10"),
        ({"k" * 129: "v"}, "allows 128"),
        ({"k": "v" * 257}, "allows 256"),
        ({"aws:k": "v"}, "aws:"),
    ],
)
def test_s15_tags_have_their_limits(tags: dict[str, str], limit: str) -> None:
    """Each limit is named in the refusal; what is just within passes."""
    with pytest.raises(S3InvalidRequestError, match=limit):
        prepare_tags(tags)
    within = {str(number): "v" * 256 for number in range(10)}
    assert prepare_tags(within) == within


@pytest.mark.asyncio
async def test_s15_links_for_strangers_content_are_attachments() -> None:
    """With a file name a link makes the browser save, whatever type the object claims to be."""
    async with laboratory() as lab:
        await lab.lake.upload_bytes("page", b"<script>", content_type="text/html")
        link = await lab.lake.presign_download("page", filename="page.html")
    assert "response-content-disposition=attachment" in str(link)


@pytest.mark.asyncio
async def test_s16_no_call_takes_a_customer_key() -> None:
    """SSE-C is not offered, so no key of it can leak: no parameter, no option, no header on the wire."""
    names = {
        parameter
        for _, call in inspect.getmembers(Bucket, inspect.isfunction)
        for parameter in inspect.signature(call).parameters
    }
    assert not {name for name in names | set(WriteOptions.__annotations__) if "customer" in name.lower()}
    async with laboratory() as lab:
        hidden: dict[str, Any] = {"SSECustomerKey": "CANARY"}
        with pytest.raises(TypeError) as caught:
            await lab.lake.upload_bytes("key", b"", **hidden)
        assert "CANARY" not in str(caught.value)
        await lab.lake.upload_bytes("key", b"data")
        await lab.lake.copy("key", "copy")
        assert not [name for sent in lab.faults.requests for name in sent.headers if "customer" in name]


@pytest.mark.asyncio
async def test_s16_errors_name_the_key_without_its_account() -> None:
    """Of a KMS key a message has the id that whoever may use it needs, not region and account."""
    body = f"<Error><Code>KMS.NotFoundException</Code><Message>Key '{ARN}' does not exist</Message></Error>"
    async with laboratory(retry_mode="none", kms_key_id=ARN) as lab:
        lab.plan(Fault("PutObject", 0, "unforwarded", "replace", status=400, body=body))
        with pytest.raises(S3Error) as caught:
            await lab.lake.upload_bytes("key", b"data")
    assert "key/1234abcd-12ab-34cd-56ef-1234567890ab" in str(caught.value)
    assert "111122223333" not in f"{caught.value}{caught.value!r}"
    assert "arn:" not in f"{caught.value}{caught.value!r}"
