"""The servers of a test run, a plain botocore client that watches them, and what each of them can prove."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, NoReturn

import botocore.exceptions
import botocore.session
import pytest
from botocore.config import Config
from botocore.handlers import add_expect_header

from greenlang_async_storage.testing import ServerStartError, StorageServer, find_minio

PROVED_ELSEWHERE = "proved on the other server"
ON_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def _find() -> tuple[str | None, str]:
    try:
        return str(find_minio()), ""
    except ServerStartError as error:
        return None, str(error)


# Looked up at import: a test's own environment no longer has the variable that may name it.
MINIO_BINARY, MINIO_MISSING = _find()


def unavailable(reason: str) -> NoReturn:
    """Skip the test because its server is not here; on CI `conftest` makes a failure of it."""
    pytest.skip(reason)


def hides_a_missing_server(reason: str) -> bool:
    """Whether a skip with this reason leaves a claim about MinIO, or any other server, unproved."""
    told = reason.lower()
    return ("minio" in told or "was not found" in told) and PROVED_ELSEWHERE not in reason


def observer_client(server: StorageServer, **overrides: str) -> Any:
    """A plain, blocking botocore S3 client: sees what the store holds without going through the SDK."""
    session = botocore.session.Session()
    arguments: dict[str, Any] = {
        "endpoint_url": server.endpoint_url,
        "region_name": server.region,
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
        **overrides,
    }
    config = Config(
        signature_version="s3v4",
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=30,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"},
    )
    client = session.create_client("s3", config=config, **arguments)
    # Its wait for `100 Continue` gets out of step with MinIO when the machine is busy, and then times out.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client


def empty_and_remove(client: Any, bucket: str) -> None:
    """Remove *bucket* with all versions and open uploads; nothing happens when the server is gone."""
    try:
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            doomed = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
            if doomed:
                client.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
        client.delete_bucket(Bucket=bucket)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        return


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except botocore.exceptions.ClientError:
        return True
    return False


def _checks_signatures(server: StorageServer, client: Any, bucket: str) -> bool:
    stranger = observer_client(server, aws_secret_access_key="not-the-secret-key-at-all")
    try:
        return _refused(lambda: stranger.list_objects_v2(Bucket=bucket))
    finally:
        stranger.close()


def _checks_kms(server: StorageServer, client: Any, bucket: str) -> bool:
    return _refused(
        lambda: client.put_object(
            Bucket=bucket, Key="k", Body=b"", ServerSideEncryption="aws:kms", SSEKMSKeyId="no-such-key"
        )
    )


def _checks_digests(server: StorageServer, client: Any, bucket: str) -> bool:
    return _refused(lambda: client.put_object(Bucket=bucket, Key="k", Body=b"a", ChecksumCRC32="AAAAAA=="))


def _checks_post_policy(server: StorageServer, client: Any, bucket: str) -> bool:
    post = client.generate_presigned_post(bucket, "k", Conditions=[["content-length-range", 1, 2]])
    boundary = "greenlang-probe"
    fields = [*post["fields"].items(), ("file", "longer than two bytes")]
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields
    ]
    request = urllib.request.Request(
        post["url"],
        data=("".join(parts) + f"--{boundary}--\r\n").encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        error.close()
        return True
    return False


def _has_conditional_writes(server: StorageServer, client: Any, bucket: str) -> bool:
    client.put_object(Bucket=bucket, Key="k", Body=b"")
    return _refused(lambda: client.put_object(Bucket=bucket, Key="k", Body=b"", IfNoneMatch="*"))


def _lists_uploads_by_prefix(server: StorageServer, client: Any, bucket: str) -> bool:
    upload = client.create_multipart_upload(Bucket=bucket, Key="folder/key")["UploadId"]
    try:
        listing = client.list_multipart_uploads(Bucket=bucket, Prefix="folder/")
        return bool(listing.get("Uploads"))
    finally:
        client.abort_multipart_upload(Bucket=bucket, Key="folder/key", UploadId=upload)


def _dates_uploads(server: StorageServer, client: Any, bucket: str) -> bool:
    upload = client.create_multipart_upload(Bucket=bucket, Key="key")
    try:
        [found] = client.list_multipart_uploads(Bucket=bucket, Prefix="key")["Uploads"]
        return bool(found["Initiated"].year > 2020)
    finally:
        client.abort_multipart_upload(Bucket=bucket, Key="key", UploadId=upload["UploadId"])


Probe = Callable[[StorageServer, Any, str], bool]
CAPABILITIES: dict[str, tuple[Probe, str]] = {
    "signatures": (_checks_signatures, "accepts a wrong signature"),
    "kms": (_checks_kms, "accepts an unknown KMS key"),
    "digests": (_checks_digests, "accepts a wrong checksum"),
    "post-policy": (_checks_post_policy, "accepts a form that breaks its POST policy"),
    "conditional-writes": (_has_conditional_writes, "ignores If-None-Match on a write"),
    "uploads-by-prefix": (_lists_uploads_by_prefix, "lists open uploads by exact key only"),
    "upload-dates": (_dates_uploads, "does not date open uploads"),
}
_probed: dict[tuple[int, str], bool] = {}


def supports(server: StorageServer, capability: str) -> bool:
    """Whether *server* can prove claims about *capability*: asked once per server, by doing it."""
    probe, _ = CAPABILITIES[capability]
    known = _probed.get((server.pid, capability))
    if known is None:
        client = observer_client(server)
        bucket = f"probe-{capability}"
        client.create_bucket(Bucket=bucket)
        try:
            known = _probed[server.pid, capability] = probe(server, client, bucket)
        finally:
            empty_and_remove(client, bucket)
            client.close()
    return known


def require(server: StorageServer, *capabilities: str) -> None:
    """Skip the test on a server that cannot prove it, with the reason."""
    for capability in capabilities:
        if not supports(server, capability):
            pytest.skip(f"{server.name} {CAPABILITIES[capability][1]}: {PROVED_ELSEWHERE}")
