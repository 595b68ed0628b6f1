"""What the store says: whether it takes our signature, which buckets answer, how fast, what it can do."""

from __future__ import annotations

import os
import statistics
import time
import uuid
from typing import Final

from greenlang_async_storage import (
    Bucket,
    Capabilities,
    Readiness,
    S3AccessDeniedError,
    S3Error,
    S3NotFoundError,
    StorageSession,
)
from greenlang_async_storage.cli._format import seconds_text
from greenlang_async_storage.cli._streams import closing

from ._identity import SECTION as CREDENTIALS
from ._identity import masked
from ._network import SECTION as NETWORK
from ._network import Answer
from ._report import Report, Status

BUCKETS: Final = "Buckets"
CLOCK: Final = "Clock"
FEATURES: Final = "Features"

SKEW_LIMIT: Final = 900.0
"""Seconds; S3 refuses requests signed further off (S3: RequestTimeTooSkewed)."""
_SKEW_WARNING: Final = 60.0
_SLOW: Final = 1.0
_SAMPLES: Final = 5
_NOBODYS_BUCKET: Final = "greenlang-storage-doctor-asks-for-no-bucket"
_SET_CLOCK: Final = "Set this machine's clock (NTP, chronyc makestep): S3 takes at most 15 minutes."


async def report_signature(report: Report, session: StorageSession, key_id: str, answer: Answer) -> bool:
    """
    Whether the store takes our signature; otherwise which part of it is wrong.

    Asked by listing: a reply to HeadBucket has no body, so it names no cause.
    """
    name = next(iter(session.settings.buckets.values()), _NOBODYS_BUCKET)
    error = await _first_failure(session.bucket(name))
    code = error.code if error is not None else None
    if code == "InvalidAccessKeyId":
        where = "AWS_ACCESS_KEY_ID" if os.environ.get("AWS_ACCESS_KEY_ID") else "the access key id"
        report.add(
            CREDENTIALS,
            "signature",
            "failed",
            f"the store knows no access key {masked(key_id)}",
            f"Correct {where}; it may have been deleted, or belong to another store or partition.",
            code=code,
        )
        return False
    if code == "SignatureDoesNotMatch":
        report.add(
            CREDENTIALS,
            "signature",
            "failed",
            f"the secret key does not belong to access key {masked(key_id)}",
            "Correct AWS_SECRET_ACCESS_KEY (a blank or a cut-off end is the usual cause).",
            code=code,
        )
        return False
    if code == "RequestTimeTooSkewed":
        _clock(report, answer.clock_offset, refused=True)
        return False
    if error is not None and type(error).__name__ == "S3CredentialsError":
        report.add(CREDENTIALS, "signature", "failed", error.message, error.remedy, code=code)
        return False
    if error is not None and not isinstance(error, S3NotFoundError | S3AccessDeniedError):
        if not answer.looks_like_s3 and answer.headers:
            report.add(
                NETWORK,
                "store",
                "failed",
                f"what answers there is no S3 store (Server: {answer.server or 'unnamed'}): {error.message}",
                "Correct GREENLANG_STORAGE_ENDPOINT_URL; MinIO's console, for example, has another port.",
            )
        else:
            report.add(NETWORK, "store", "failed", error.message, error.remedy, code=code)
        return False
    report.add(CREDENTIALS, "signature", "ok", "the store takes it")
    return True


async def _first_failure(bucket: Bucket) -> S3Error | None:
    try:
        async with closing(bucket.list_objects(page_size=1)) as found:
            async for _ in found:
                break
    except S3Error as error:
        return error
    return None


async def report_buckets(report: Report, session: StorageSession) -> Readiness:
    """A line for each configured bucket, how fast the store answers, and how long the credentials live."""
    readiness = await session.check(timeout=10)
    for purpose, found in readiness.buckets.items():
        if found.ok:
            report.add(BUCKETS, purpose, "ok", found.name, bucket=found.name)
            continue
        error = await _first_failure(session.bucket(found.name)) or found.error
        assert error is not None  # noqa: S101  # a bucket that is not ok has its reason
        detail, remedy = _bucket_fault(found.name, purpose, error)
        report.add(BUCKETS, purpose, "failed", detail, remedy, bucket=found.name, code=error.code)
    _life(report, readiness.credentials_expire_in)
    if readiness.buckets and all(found.ok for found in readiness.buckets.values()):
        await _latency(report, session)
    return readiness


def _bucket_fault(name: str, purpose: str, error: S3Error) -> tuple[str, str]:
    variable = f"GREENLANG_{purpose.upper()}_BUCKET"
    if isinstance(error, S3NotFoundError):
        return (
            f"{name} does not exist",
            f"Create it, or correct {variable}; StorageSession.ensure_buckets() does it for development.",
        )
    if isinstance(error, S3AccessDeniedError):
        return (
            f"{name}: access denied",
            f"Grant this role s3:ListBucket on {name}, or correct {variable} if it is another account's.",
        )
    return f"{name}: {error.message}", error.remedy


def _life(report: Report, left: float | None) -> None:
    if left is None:
        report.add(CREDENTIALS, "life", "ok", "they do not expire", expire_in=None)
        return
    status: Status = "warning" if left < 300 else "ok"
    remedy = "Renew them, unless a role does that by itself." if status == "warning" else ""
    report.add(CREDENTIALS, "life", status, f"they expire in {seconds_text(left)}", remedy, expire_in=left)


async def _latency(report: Report, session: StorageSession) -> None:
    bucket = next(iter(session.settings.buckets))
    times = []
    for _ in range(_SAMPLES):
        began = time.perf_counter()
        await session.check(timeout=10)
        times.append(time.perf_counter() - began)
    median = statistics.median(times)
    slow = median > _SLOW
    report.add(
        NETWORK,
        "latency",
        "warning" if slow else "ok",
        f"{median * 1000:.1f} ms per request (median of {_SAMPLES}, warm connection)",
        "Run closer to the store, or ask its operator." if slow else "",
        seconds=median,
        bucket=bucket,
    )


def report_clock(report: Report, answer: Answer) -> None:
    """How far this machine's clock is from the store's."""
    _clock(report, answer.clock_offset, refused=False)


def _clock(report: Report, offset: float | None, *, refused: bool) -> None:
    if offset is None:
        if refused:
            report.add(CLOCK, "offset", "failed", "the store calls this machine's clock wrong", _SET_CLOCK)
        return
    side = "behind" if offset > 0 else "ahead of"
    text = f"this machine's clock is {seconds_text(abs(offset))} {side} the store's"
    if refused or abs(offset) > SKEW_LIMIT:
        report.add(CLOCK, "offset", "failed", f"{text}: it refuses signatures", _SET_CLOCK, seconds=offset)
    elif abs(offset) > _SKEW_WARNING:
        report.add(CLOCK, "offset", "warning", text, _SET_CLOCK, seconds=offset)
    else:
        report.add(CLOCK, "offset", "ok", f"within {max(1.0, abs(offset)):.0f} s", seconds=offset)


async def report_features(report: Report, session: StorageSession, name: str) -> None:
    """What the store can do, found out on small objects in bucket *name* that are removed again."""
    try:
        found = await session.probe(name)
    except S3AccessDeniedError as error:
        report.add(
            FEATURES,
            "writing",
            "warning",
            f"these credentials may not write to {name}, so nothing more was tried",
            f"Fine for a reader. {error.remedy}",
        )
        return
    except S3Error as error:
        report.add(FEATURES, "writing", "failed", f"{name}: {error.message}", error.remedy, code=error.code)
        return
    report.add(FEATURES, "writing", "ok", f"objects can be written to {name} and removed")
    _capabilities(report, found, forms_need_kms=session.settings.encryption == "aws:kms" and not found.kms)
    await _kms(report, session, name, found)


_FEATURES: Final[tuple[tuple[str, str, str], ...]] = (
    ("conditional_writes", "if_none_match and if_match", "Two writers can overwrite each other unnoticed."),
    ("conditional_multipart", "the same for uploads in parts", "Large objects can overwrite each other."),
    ("full_object_checksums", "CRC64NVME is stored", "Downloads can be checked by size and ETag only."),
    ("tags", "object tags", "tags= and the platform's tags do not work."),
    ("presigned_post", "browser forms (presign post)", "Use presign put instead."),
)


def _capabilities(report: Report, found: Capabilities, *, forms_need_kms: bool) -> None:
    for name, text, loss in _FEATURES:
        value: bool | None = getattr(found, name)
        if name == "presigned_post" and not value and forms_need_kms:
            report.add(FEATURES, name, "warning", f"{text}: refused, like every upload", "See kms below.")
            continue
        if value:
            report.add(FEATURES, name, "ok", text, supported=True)
        elif value is None:
            report.add(FEATURES, name, "warning", "could not be tried: access denied", loss, supported=None)
        else:
            report.add(FEATURES, name, "warning", f"{text}: not supported", loss, supported=False)
    kept = {True: "the bucket keeps versions", False: "the bucket keeps no versions"}
    text = kept.get(found.versions, "unknown: access denied") if found.versions is not None else "unknown"
    report.add(FEATURES, "versions", "ok", text, supported=found.versions)


async def _kms(report: Report, session: StorageSession, name: str, found: Capabilities) -> None:
    settings = session.settings
    needed = settings.encryption == "aws:kms"
    if found.kms:
        report.add(FEATURES, "kms", "ok", f"objects are encrypted with {settings.kms_key_id}", supported=True)
        return
    if not needed:
        text = f"not available, and not needed: GREENLANG_STORAGE_ENCRYPTION is {settings.encryption}"
        report.add(FEATURES, "kms", "ok", text, supported=found.kms)
        return
    error = await _kms_failure(session.bucket(name))
    said = f" ({error.code}: {error.message.rstrip('.')})" if error is not None else ""
    report.add(
        FEATURES,
        "kms",
        "failed",
        f"every upload asks for encryption with key {settings.kms_key_id!r}, and the store cannot{said}",
        "Set KMS_KEY_ID to a key that exists and that this role may use (kms:GenerateDataKey, kms:Decrypt), "
        "or GREENLANG_STORAGE_ENCRYPTION to AES256 or none for a store without KMS.",
        supported=found.kms,
    )


async def _kms_failure(bucket: Bucket) -> S3Error | None:
    """The store's own words; the probe keeps only that it did not work."""
    key = f"greenlang-probe/{uuid.uuid4().hex}"
    try:
        await bucket.upload_bytes(key, b"probe", encryption="aws:kms")
    except S3Error as error:
        return error
    await bucket.delete(key)
    return None
