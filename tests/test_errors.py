"""The error tree: fields, messages that end with what to do, pickling, the table from codes to classes."""

from __future__ import annotations

import asyncio
import errno
import pickle
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import botocore.exceptions
import pytest
from botocore.exceptions import ClientError

import greenlang_async_storage
from greenlang_async_storage import (
    S3AccessDeniedError,
    S3ConnectionError,
    S3CredentialsError,
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3LocalFileError,
    S3NotFoundError,
    S3PreconditionFailedError,
    S3ThrottlingError,
    S3TimeoutError,
)
from greenlang_async_storage._error_map import (
    CODES,
    PREFIXES,
    TYPES,
    Row,
    map_errors,
    row_for_code,
    row_for_type,
    to_s3_error,
)
from greenlang_async_storage._errors import is_write

CLASSES = [
    value
    for name in greenlang_async_storage.__all__
    if isinstance(value := getattr(greenlang_async_storage, name), type) and issubclass(value, S3Error)
]
ROWS = [*CODES.items(), *PREFIXES, *((name, row) for (_, name), row in TYPES.items())]


def client_error(code: str, status: int = 400, operation: str = "PutObject", **headers: str) -> ClientError:
    """What botocore raises for an error reply."""
    return ClientError(
        {
            "Error": {"Code": code, "Message": "because"},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "R1", "HTTPHeaders": dict(headers)},
        },
        operation,
    )


def mapped(exc: BaseException, operation: str = "PutObject") -> S3Error:
    """*exc* through the table."""
    error = to_s3_error(exc, operation=operation, bucket="b", key="k", attempts=2)
    assert error is not None
    return error


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_survives_pickling(cls: type[S3Error]) -> None:
    """An error comes out of a process pool with its class, message and fields."""
    error = cls("broken", operation="GetObject", bucket="b", key="k", code="C", status=418, attempts=3)
    error.retry_after = 2.5
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(again) is cls
    assert vars(again) == vars(error)
    assert str(again) == str(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_message_ends_with_what_to_do(cls: type[S3Error]) -> None:
    """The remedy is the last sentence of each class's message, and it is a sentence."""
    text = str(cls("it broke", operation="GetObject", bucket="b", key="k"))
    assert text.endswith(cls.default_remedy)
    assert cls.default_remedy.endswith(".")
    assert text.startswith("GetObject s3://b/k: it broke. ")


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_every_row_of_the_table_has_a_remedy(name: str, row: Row) -> None:
    """No code, prefix or exception leads to an error that does not say what to do."""
    remedy = row.remedy or row.error.default_remedy
    assert remedy.endswith("."), name
    assert row.error is not S3Error or row.remedy is not None, name


def test_the_message_tells_the_facts_once() -> None:
    """Status, code, request id and attempts are in the text, and nothing is repeated."""
    error = mapped(client_error("SlowDown", 503))
    assert str(error) == (
        "PutObject s3://b/k: because (503, SlowDown, request R1, 2 attempts). "
        + S3ThrottlingError.default_remedy
    )


@pytest.mark.parametrize(
    ("code", "status", "cls"),
    [
        ("NoSuchKey", 404, S3NotFoundError),
        ("404", 404, S3NotFoundError),
        ("NoSuchBucket", 404, S3NotFoundError),
        ("NoSuchUpload", 404, S3NotFoundError),
        ("AccessDenied", 403, S3AccessDeniedError),
        ("403", 403, S3AccessDeniedError),
        ("InvalidAccessKeyId", 403, S3AccessDeniedError),
        ("SlowDown", 503, S3ThrottlingError),
        ("SlowDownWrite", 503, S3ThrottlingError),
        ("429", 429, S3ThrottlingError),
        ("PreconditionFailed", 412, S3PreconditionFailedError),
        ("304", 304, S3PreconditionFailedError),
        ("ConditionalRequestConflict", 409, S3PreconditionFailedError),
        ("BadDigest", 400, S3IntegrityError),
        ("XAmzContentSHA256Mismatch", 400, S3IntegrityError),
        ("RequestTimeout", 400, S3TimeoutError),
        ("ExpiredToken", 400, S3CredentialsError),
        ("RequestTimeTooSkewed", 403, S3CredentialsError),
        ("KMS.NotFoundException", 400, S3InvalidRequestError),
        ("NotImplemented", 501, S3InvalidRequestError),
        ("SomethingNew", 400, S3InvalidRequestError),
        ("SomethingNew", 404, S3NotFoundError),
        ("SomethingNew", 503, S3ThrottlingError),
        ("PermanentRedirect", 301, S3InvalidRequestError),
    ],
)
def test_codes_lead_to_classes(code: str, status: int, cls: type[S3Error]) -> None:
    """Code first, then status, then the status's family decide the class."""
    error = mapped(client_error(code, status))
    assert type(error) is cls
    assert (error.code, error.status, error.request_id, error.attempts) == (code, status, "R1", 2)
    assert (error.operation, error.bucket, error.key) == ("PutObject", "b", "k")


def test_errors_about_kms_name_both_variables() -> None:
    """A store without KMS answers NotImplemented; the remedy says which two variables settle it."""
    text = str(mapped(client_error("NotImplemented", 501)))
    assert "KMS_KEY_ID" in text
    assert "GREENLANG_STORAGE_ENCRYPTION" in text


def test_a_skewed_clock_is_told_with_its_offset() -> None:
    """RequestTimeTooSkewed says how far the clocks are apart."""
    ahead = format_datetime(datetime.now(UTC) + timedelta(hours=1))
    text = str(mapped(client_error("RequestTimeTooSkewed", 403, date=ahead)))
    assert "+3600 s" in text or "+3599 s" in text


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("nonsense", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)]
)
def test_retry_after_is_read_in_both_forms(value: str, seconds: float | None) -> None:
    """RFC 9110 allows seconds and a date."""
    error = mapped(client_error("SlowDown", 503, **{"retry-after": value}))
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("exc", "cls", "outcome"),
    [
        (
            botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"),
            S3ConnectionError,
            "not_applied",
        ),
        (
            botocore.exceptions.EndpointConnectionError(
                endpoint_url="http://x", error=aiohttp.ClientOSError(errno.ECONNRESET, "reset")
            ),
            S3ConnectionError,
            "unknown",
        ),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="http://x"), S3TimeoutError, "not_applied"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://x"), S3TimeoutError, "unknown"),
        (botocore.exceptions.ConnectionClosedError(endpoint_url="http://x"), S3ConnectionError, "unknown"),
        (botocore.exceptions.NoCredentialsError(), S3CredentialsError, "not_applied"),
        (
            botocore.exceptions.SSLError(endpoint_url="https://x", error="bad"),
            S3ConnectionError,
            "not_applied",
        ),
        (botocore.exceptions.FlexibleChecksumError(error_msg="no"), S3IntegrityError, "not_applied"),
        (botocore.exceptions.ParamValidationError(report="no"), S3InvalidRequestError, "not_applied"),
        (aiohttp.ClientPayloadError("cut"), S3ConnectionError, "unknown"),
        (TimeoutError(), S3TimeoutError, "unknown"),
        (ConnectionResetError(), S3ConnectionError, "unknown"),
        (socket.gaierror(), S3ConnectionError, "not_applied"),
        (ssl.SSLCertVerificationError(), S3ConnectionError, "not_applied"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_library_exceptions_lead_to_classes(exc: Exception, cls: type[S3Error], outcome: str) -> None:
    """What the stack raises is told apart by type, and a lost reply to a write is not called a failure."""
    error = mapped(exc)
    assert type(error) is cls
    assert error.outcome == outcome
    assert mapped(exc, "GetObject").outcome == "not_applied"


def test_every_exception_of_botocore_has_a_row() -> None:
    """A newer botocore cannot bring an exception that users would see unmapped."""
    known: list[Any] = [
        cls
        for cls in vars(botocore.exceptions).values()
        if isinstance(cls, type) and issubclass(cls, botocore.exceptions.BotoCoreError)
    ]
    assert len(known) > 50
    for cls in known:
        empty: BaseException = cls.__new__(cls)
        assert row_for_type(empty) is not None, cls


def test_bad_tls_is_never_retried() -> None:
    """A certificate does not get better by asking again."""
    assert not mapped(botocore.exceptions.SSLError(endpoint_url="https://x", error="bad")).retryable


def test_a_failed_role_renewal_is_a_credentials_error() -> None:
    """AccessDenied from STS concerns the credentials, not the object."""
    error = mapped(client_error("AccessDenied", 403, "AssumeRoleWithWebIdentity"), "GetObject")
    assert type(error) is S3CredentialsError


def test_programming_mistakes_and_cancels_pass_unchanged() -> None:
    """A TypeError stays a TypeError, and CancelledError is never wrapped."""
    assert to_s3_error(TypeError("x"), operation="GetObject") is None
    with pytest.raises(TypeError), map_errors("GetObject"):
        raise TypeError("x")
    with pytest.raises(asyncio.CancelledError), map_errors("GetObject"):
        raise asyncio.CancelledError


def test_a_mapped_error_keeps_its_cause() -> None:
    """The original exception is the cause."""
    with pytest.raises(S3ConnectionError) as caught, map_errors("GetObject", "b", "k"):
        raise ConnectionResetError
    assert isinstance(caught.value.__cause__, ConnectionResetError)


def test_row_for_code_falls_back_to_the_family() -> None:
    """Unknown 5xx are retryable failures of the store; unknown 4xx are requests that cannot work."""
    assert row_for_code("Weird", 599).retryable
    assert row_for_code("Weird", 418).error is S3InvalidRequestError


def test_reads_and_writes_are_told_apart() -> None:
    """Only writes can leave an unknown outcome."""
    assert is_write("PutObject")
    assert is_write("CompleteMultipartUpload")
    assert not is_write("GetObject")
    assert not is_write("ListObjectsV2")


def test_a_local_failure_carries_its_errno() -> None:
    """`errno` is there to branch on."""
    assert S3LocalFileError("full", errno=28).errno == 28


def test_invalid_requests_are_value_errors_too() -> None:
    """Bad arguments can be caught the Python way."""
    assert issubclass(S3InvalidRequestError, ValueError)
