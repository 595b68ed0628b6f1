"""What botocore, aiohttp and asyncio raise, as the tree of `_errors`: by code, status and type."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from ._errors import (
    S3AccessDeniedError,
    S3ConnectionError,
    S3CredentialsError,
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3NotFoundError,
    S3PreconditionFailedError,
    S3ThrottlingError,
    S3TimeoutError,
    is_write,
)


@dataclass(frozen=True, slots=True)
class Row:
    """What one code, status or exception type means to a caller."""

    error: type[S3Error]
    retryable: bool = False
    maybe_applied: bool = False
    """A write may have taken effect although this came back."""
    remedy: str | None = None


_CLOCK = "Set this machine's clock (NTP): S3 refuses requests signed more than 15 minutes off."
_REGION = "Set AWS_REGION to the bucket's region, or GREENLANG_STORAGE_ENDPOINT_URL to its endpoint."
_KMS = (
    "Set KMS_KEY_ID to a key this store and role can use, "
    "or GREENLANG_STORAGE_ENCRYPTION to AES256 or none for a store without KMS."
)
_KEYS = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) against the store."
_EXPIRED = "Renew the credentials (AWS_SESSION_TOKEN, AWS_PROFILE or AWS_WEB_IDENTITY_TOKEN_FILE)."
_NO_BUCKET = (
    "Create the bucket or correct the GREENLANG_*_BUCKET variable; ensure_buckets() does it for development."
)
_RESTORE = "Restore the archived object (s3:RestoreObject) and call again when the copy is ready."
_INSIDE = "The store failed inside; call again later, and give its operator the request id."
_LATER = "Another operation on the same resource is running; call again."
_UPLOAD_GONE = "Start the upload again; this one was completed, aborted or expired."
_PARTS = "Send every part but the last with at least 5 MiB and list each with the ETag S3 gave."
_SIZE = (
    "Keep single puts at 5 GiB or less and objects at 5 TiB or less; upload_file sends larger ones in parts."
)
# Of a KMS key its id or alias: region and account are nobody's business in a log.
_KMS_ARN = re.compile(r"arn:aws[a-z-]*:kms:[^:\s]*:\d{12}:((?:key|alias)/)")
_DESCRIPTORS = "Raise the limit on open files (ulimit -n), or lower GREENLANG_STORAGE_MAX_POOL_CONNECTIONS."
_TLS = "Check the host name, and point GREENLANG_STORAGE_VERIFY_TLS at the CA bundle that signed the server."

CODES: Final[Mapping[str, Row]] = {
    **dict.fromkeys(("404", "NoSuchKey", "NotFound", "NoSuchVersion"), Row(S3NotFoundError)),
    "NoSuchBucket": Row(S3NotFoundError, remedy=_NO_BUCKET),
    "NoSuchUpload": Row(S3NotFoundError, remedy=_UPLOAD_GONE),
    **dict.fromkeys(
        (
            *("403", "AccessDenied", "Forbidden", "UnauthorizedAccess"),
            *("AllAccessDisabled", "AccountProblem", "NotSignedUp"),
        ),
        Row(S3AccessDeniedError),
    ),
    **dict.fromkeys(
        ("401", "InvalidAccessKeyId", "SignatureDoesNotMatch"), Row(S3AccessDeniedError, remedy=_KEYS)
    ),
    "InvalidObjectState": Row(S3AccessDeniedError, remedy=_RESTORE),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired", "InvalidToken"),
        Row(S3CredentialsError, remedy=_EXPIRED),
    ),
    "RequestTimeTooSkewed": Row(S3CredentialsError, remedy=_CLOCK),
    **dict.fromkeys(
        (
            *("429", "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "Busy"),
            *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled"),
            *(
                "RequestThrottledException",
                "TooManyRequests",
                "TooManyRequestsException",
                "RequestLimitExceeded",
            ),
            *("BandwidthLimitExceeded", "ProvisionedThroughputExceededException", "PriorRequestNotComplete"),
            *("LimitExceededException", "EC2ThrottledException", "XMinioServerNotInitialized"),
        ),
        Row(S3ThrottlingError, retryable=True),
    ),
    # Without a code of S3's own it may come from a proxy that has lost the reply.
    "503": Row(S3ThrottlingError, retryable=True, maybe_applied=True),
    **dict.fromkeys(("304", "NotModified", "412", "PreconditionFailed"), Row(S3PreconditionFailedError)),
    "ConditionalRequestConflict": Row(S3PreconditionFailedError, retryable=True, remedy=_LATER),
    **dict.fromkeys(
        ("BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"),
        Row(S3IntegrityError, retryable=True),
    ),
    **dict.fromkeys(
        ("RequestTimeout", "RequestTimeoutException", "408"), Row(S3TimeoutError, retryable=True)
    ),
    **dict.fromkeys(("504", "GatewayTimeout"), Row(S3TimeoutError, retryable=True, maybe_applied=True)),
    **dict.fromkeys(
        ("500", "502", "InternalError", "InternalServerError", "BadGateway", "InternalFailure"),
        Row(S3Error, retryable=True, maybe_applied=True, remedy=_INSIDE),
    ),
    **dict.fromkeys(("OperationAborted", "409", "Conflict"), Row(S3Error, retryable=True, remedy=_LATER)),
    **dict.fromkeys(("BucketAlreadyExists", "BucketAlreadyOwnedByYou"), Row(S3InvalidRequestError)),
    **dict.fromkeys(
        (
            *("301", "307", "PermanentRedirect", "TemporaryRedirect", "Redirect", "MovedPermanently"),
            *("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion"),
        ),
        Row(S3InvalidRequestError, remedy=_REGION),
    ),
    **dict.fromkeys(("501", "NotImplemented"), Row(S3InvalidRequestError, remedy=_KMS)),
    **dict.fromkeys(
        ("EntityTooSmall", "InvalidPart", "InvalidPartOrder"), Row(S3InvalidRequestError, remedy=_PARTS)
    ),
    **dict.fromkeys(("EntityTooLarge", "MaxMessageLengthExceeded"), Row(S3InvalidRequestError, remedy=_SIZE)),
}
_LAYERS: Final = 5
"""Exceptions of libraries around one of the system, at most."""
PREFIXES: Final[tuple[tuple[str, Row], ...]] = (
    ("KMS.", Row(S3InvalidRequestError, remedy=_KMS)),
    ("XMinioKMS", Row(S3InvalidRequestError, remedy=_KMS)),
    ("Kms", Row(S3InvalidRequestError, remedy=_KMS)),
)
_BY_STATUS: Final[Mapping[int, Row]] = {5: CODES["500"], 4: Row(S3InvalidRequestError), 3: CODES["301"]}

_CLIENT_MODULES: Final = (
    *("aioboto3.", "aiobotocore.", "aiohttp.", "botocore."),
    f"{__name__.rpartition('.')[0]}.fastpath.",
)

TYPES: Final[Mapping[tuple[str, str], Row]] = {
    # (top-level package, class name), looked up along the class's MRO: the table imports nothing.
    ("botocore", "ConnectTimeoutError"): Row(S3TimeoutError, retryable=True),
    ("botocore", "ReadTimeoutError"): Row(S3TimeoutError, retryable=True, maybe_applied=True),
    ("botocore", "SSLError"): Row(S3ConnectionError, remedy=_TLS),
    ("botocore", "EndpointConnectionError"): Row(S3ConnectionError, retryable=True),
    ("botocore", "ProxyConnectionError"): Row(S3ConnectionError, retryable=True),
    ("botocore", "ConnectionClosedError"): Row(S3ConnectionError, retryable=True, maybe_applied=True),
    ("botocore", "IncompleteReadError"): Row(S3ConnectionError, retryable=True, maybe_applied=True),
    ("botocore", "HTTPClientError"): Row(S3ConnectionError, retryable=True, maybe_applied=True),
    ("botocore", "ConnectionError"): Row(S3ConnectionError, retryable=True),
    ("botocore", "ChecksumError"): Row(S3IntegrityError, retryable=True),
    ("botocore", "FlexibleChecksumError"): Row(S3IntegrityError, retryable=True),
    ("botocore", "ResponseParserError"): Row(S3ConnectionError, retryable=True, maybe_applied=True),
    **{
        ("botocore", name): Row(S3CredentialsError)
        for name in (
            *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"),
            *("NoAuthTokenError", "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOError"),
            *("ProfileNotFound", "ConfigNotFound", "InvalidConfigError", "InfiniteLoopConfigError"),
            *("RefreshWithMFAUnsupportedError", "MetadataRetrievalError"),
        )
    },
    ("botocore", "BotoCoreError"): Row(S3InvalidRequestError),
    ("aiohttp", "ClientConnectorCertificateError"): Row(S3ConnectionError, remedy=_TLS),
    ("aiohttp", "ClientConnectorError"): Row(S3ConnectionError, retryable=True),
    ("aiohttp", "ClientError"): Row(S3ConnectionError, retryable=True, maybe_applied=True),
    ("ssl", "SSLCertVerificationError"): Row(S3ConnectionError, remedy=_TLS),
    ("builtins", "TimeoutError"): Row(S3TimeoutError, retryable=True, maybe_applied=True),
    ("builtins", "ConnectionError"): Row(S3ConnectionError, retryable=True, maybe_applied=True),
    ("socket", "gaierror"): Row(S3ConnectionError, retryable=True),
}

_UNREADABLE: Final = TYPES["botocore", "ResponseParserError"]
_CHOKED: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def row_for_code(code: str, status: int | None) -> Row:
    """The row of an S3 error code, else of its HTTP status, else of the status's family."""
    for name in (code, str(status)):
        if (row := CODES.get(name)) is not None:
            return row
    for prefix, row in PREFIXES:
        if code.startswith(prefix):
            return row
    return _BY_STATUS.get((status or 0) // 100, Row(S3Error))


def row_for_type(exc: BaseException) -> Row | None:
    """The row of a library exception, or `None` for a programming mistake, which passes through unchanged."""
    for cls in type(exc).__mro__:
        if (row := TYPES.get((cls.__module__.partition(".")[0], cls.__name__))) is not None:
            return row
    return None


def to_s3_error(
    exc: BaseException,
    *,
    operation: str,
    bucket: str | None = None,
    key: str | None = None,
    attempts: int = 1,
) -> S3Error | None:
    """*exc* as an `S3Error` with its fields filled; `None` when it is not a failure of storage."""
    if isinstance(exc, S3Error):
        return exc
    response = getattr(exc, "response", None)
    if isinstance(response, Mapping) and "Error" in response:
        _forget_request(exc)
        return _from_response(response, exc, operation=operation, bucket=bucket, key=key, attempts=attempts)
    row = row_for_type(exc) or (_UNREADABLE if _choked(exc) else None)
    if row is None:
        return None
    _forget_request(exc)
    maybe_applied = row.maybe_applied or _broke_midway(exc)
    text, remedy = f"{type(exc).__name__}: {_text(exc)}", row.remedy
    if (lacking := _no_descriptor(exc)) is not None:
        why, remedy = os.strerror(lacking), _DESCRIPTORS
        text = text if why in text else f"{text} ({why})"
    return row.error(
        text,
        operation=operation,
        bucket=bucket,
        key=key,
        attempts=attempts,
        retryable=row.retryable,
        outcome="unknown" if maybe_applied and is_write(operation) else "not_applied",
        remedy=remedy,
    )


def _choked(exc: BaseException) -> bool:
    """
    Whether botocore itself stumbled over a reply: it takes some for granted that no store means to send.

    A refusal with the body of a listing is one, from a gateway that changed the status only.
    """
    step = exc.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    module = str(step.tb_frame.f_globals.get("__name__", "")) if step is not None else ""
    return isinstance(exc, _CHOKED) and module.startswith(("botocore.", "aiobotocore."))


def _no_descriptor(exc: BaseException) -> int | None:
    """EMFILE or ENFILE, when the lack of a descriptor for a socket is what is under a connection error."""
    under: BaseException | None = exc
    for _ in range(_LAYERS):
        if isinstance(under, OSError) and under.errno in (errno.EMFILE, errno.ENFILE):
            return under.errno
        wrapped = getattr(under, "kwargs", {}).get("error")
        under = wrapped if isinstance(wrapped, BaseException) else getattr(under, "__cause__", None)
    return None


def _forget_request(exc: BaseException) -> None:
    """
    Take from *exc*, and from what led to it, the client's frames and fields, which hold the signed request.

    Error reporters show the locals of every frame: of these a session token and a signature. They would also
    keep the request's body in memory as long as the error.
    """
    if not _cut_at_client(exc):
        return
    todo, seen = [exc], {id(exc)}
    while todo:
        each = todo.pop()
        if getattr(each, "request", None) is not None:
            each.request = None  # type: ignore[attr-defined]  # botocore's, just found
        if isinstance(kwargs := getattr(each, "kwargs", None), dict):
            kwargs.pop("request", None)
        for before in (each.__cause__, each.__context__):
            if before is not None and id(before) not in seen:
                before.__traceback__ = None  # it was caught inside the client
                seen.add(id(before))
                todo.append(before)


def _cut_at_client(exc: BaseException) -> bool:
    """Whether *exc* came out of the client; its traceback ends there then."""
    last, step = None, exc.__traceback__
    while step is not None:
        if str(step.tb_frame.f_globals.get("__name__", "")).startswith(_CLIENT_MODULES):
            if last is None:
                exc.__traceback__ = None
            else:
                last.tb_next = None
            return True
        last, step = step, step.tb_next
    return False


def _broke_midway(exc: BaseException) -> bool:
    """
    Whether an `EndpointConnectionError` hides a connection that was there and broke.

    aiobotocore's own session says so of a reset after the request went out, too.
    """
    cause = (
        getattr(exc, "kwargs", {}).get("error") if type(exc).__name__ == "EndpointConnectionError" else None
    )
    names = {cls.__name__ for cls in type(cause).__mro__}
    return "ClientConnectionError" in names and "ClientConnectorError" not in names


def _text(exc: BaseException) -> str:
    text = str(exc).strip().partition("\n")[0] or "no details given"
    if type(exc).__name__ == "EndpointConnectionError":  # botocore's text leaves out why
        why = str(getattr(exc, "kwargs", {}).get("error") or "").strip().partition("\n")[0]
        return f"{text} ({why})" if why and why not in text else text
    return text


def _from_response(
    response: Mapping[str, object],
    exc: BaseException,
    *,
    operation: str,
    bucket: str | None,
    key: str | None,
    attempts: int,
) -> S3Error:
    details = _mapping(response.get("Error"))
    meta = _mapping(response.get("ResponseMetadata"))
    headers = {str(name).lower(): str(value) for name, value in _mapping(meta.get("HTTPHeaders")).items()}
    status = meta.get("HTTPStatusCode")
    status = status if isinstance(status, int) else None
    code = str(details.get("Code") or status or "Unknown")
    # A call of another service under this one (STS renewing a role) fails the credentials, not the object.
    called = getattr(exc, "operation_name", operation)
    row = (
        Row(S3CredentialsError, remedy=_EXPIRED)
        if "WebIdentity" in called or "AssumeRole" in called
        else row_for_code(code, status)
    )
    text = _KMS_ARN.sub(r"\1", str(details.get("Message") or "").strip()) or f"the store answered {code}"
    if code == "RequestTimeTooSkewed" and (offset := _clock_offset(headers)) is not None:
        text = f"{text} (the server's clock is {offset:+.0f} s from this machine's)"
    error = row.error(
        text,
        operation=operation,
        bucket=bucket,
        key=key,
        code=code,
        status=status,
        request_id=str(meta["RequestId"]) if meta.get("RequestId") else headers.get("x-amz-request-id"),
        attempts=attempts,
        retryable=row.retryable,
        outcome="unknown" if row.maybe_applied and is_write(operation) else "not_applied",
        remedy=row.remedy,
    )
    error.retry_after = _retry_after(headers.get("retry-after"))
    return error


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _clock_offset(headers: Mapping[str, str]) -> float | None:
    try:
        return (parsedate_to_datetime(headers["date"]) - datetime.now(UTC)).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from either form of the header (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


@contextmanager
def map_errors(operation: str, bucket: str | None = None, key: str | None = None) -> Iterator[None]:
    """Failures inside the block as `S3Error`, from their cause; other exceptions unchanged."""
    try:
        yield
    except Exception as exc:
        error = to_s3_error(exc, operation=operation, bucket=bucket, key=key)
        if error is None or error is exc:
            raise
        raise error from exc
