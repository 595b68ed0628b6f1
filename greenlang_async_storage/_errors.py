"""
Every failure as one tree, so that `except S3Error` is always enough.

S3Error
├── S3NotFoundError              the bucket, key, version or upload does not exist
├── S3AccessDeniedError          a policy, a wrong key id or a signature refused the call
├── S3ThrottlingError            the store asked to slow down, also after the retries
├── S3PreconditionFailedError    `if_match` / `if_none_match` did not hold
├── S3ObjectChangedError         the object was replaced while it was being read or copied
├── S3SourceChangedError         the local file changed while it was being uploaded
├── S3IntegrityError             bytes and checksum disagree
├── S3TimeoutError               a deadline passed
│   └── S3PoolTimeoutError       … while waiting for a free connection
├── S3ConnectionError            no connection, or it broke
├── S3CredentialsError           no usable credentials
├── S3InvalidRequestError        the request can never work as it stands
├── S3LocalFileError             the local disk or file refused
├── S3SessionClosedError         the session is not open
└── S3WrongLoopError             the session belongs to another event loop or process
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

WriteOutcome: TypeAlias = Literal["not_applied", "applied", "unknown"]


def is_write(operation: str) -> bool:
    """Whether S3 may have changed something when this operation's reply is lost."""
    return not operation.startswith(("Get", "Head", "List"))


class S3Error(Exception):
    """
    A call failed; the message says what, where, and what to do.

    `operation` is S3's name of the call (`PutObject`), `code` S3's error code, `status` the HTTP status,
    `attempts` how many requests were sent, `retryable` whether the same call may work later, and `outcome`
    what is known of a write: `not_applied`, `applied`, or `unknown` when the reply was lost.
    """

    default_remedy: ClassVar[str] = "Look up the code in S3's list of error responses."

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        bucket: str | None = None,
        key: str | None = None,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        attempts: int = 0,
        retryable: bool = False,
        outcome: WriteOutcome = "not_applied",
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.bucket = bucket
        self.key = key
        self.code = code
        self.status = status
        self.request_id = request_id
        self.attempts = attempts
        self.retryable = retryable
        self.outcome: WriteOutcome = outcome
        self.remedy = remedy or self.default_remedy
        self.retry_after: float | None = None
        """Seconds the server asked to wait, where it did."""
        self.ambiguous = False
        """Whether an attempt of this write lost its reply, so that this very failure may be its echo."""

    def __str__(self) -> str:
        where = f"s3://{self.bucket}/{self.key}" if self.key is not None else f"s3://{self.bucket}"
        head = f"{self.operation or 'storage call'} {where}: " if self.bucket else ""
        known = dict.fromkeys(str(part) for part in (self.status, self.code) if part is not None)
        facts = [part for part in known if part not in self.message]
        if self.request_id:
            facts.append(f"request {self.request_id}")
        if self.attempts > 1:
            facts.append(f"{self.attempts} attempts")
        if self.outcome == "unknown":
            facts.append("the write may have been applied")
        note = f" ({', '.join(facts)})" if facts else ""
        return f"{head}{self.message.rstrip('.')}{note}. {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.__dict__.copy())


def _rebuild(cls: type[S3Error], message: str, state: dict[str, object]) -> S3Error:
    """An error as it was pickled, whatever its class's own arguments are."""
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class S3NotFoundError(S3Error):
    """The bucket, key, version or multipart upload does not exist, whether HEAD or GET asked for it."""

    default_remedy = "Check the bucket and key; without s3:ListBucket S3 hides which of the two is missing."


class S3AccessDeniedError(S3Error):
    """The store refused these credentials this call."""

    default_remedy = (
        "Grant this role the matching s3: permission, or check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )


class S3ThrottlingError(S3Error):
    """The store asked to slow down, and still did after the configured retries."""

    default_remedy = (
        "Lower the concurrency, spread keys over prefixes, or raise GREENLANG_STORAGE_MAX_ATTEMPTS."
    )


class S3PreconditionFailedError(S3Error):
    """`if_none_match` or `if_match` did not hold: the object exists, is missing, or has another ETag."""

    default_remedy = "Read the object's current state with head() and decide again."


class S3ObjectChangedError(S3Error):
    """The object was replaced or deleted while it was being read or copied; versions were not mixed."""

    default_remedy = "Call again to read the new version, or pass version_id= to pin one."


class S3SourceChangedError(S3Error):
    """The local file was modified, truncated or replaced during its upload; nothing was stored."""

    default_remedy = "Upload a file nobody writes to, such as a snapshot or a finished temporary file."


class S3IntegrityError(S3Error):
    """The bytes do not match their checksum, also after one more try; the bad bytes were not kept."""

    default_remedy = "Call again; if it persists, the stored object or a proxy on the way corrupts data."


class S3TimeoutError(S3Error):
    """A deadline passed before the call was done."""

    default_remedy = (
        "Raise timeout= or the GREENLANG_STORAGE_*_TIMEOUT variable it names, or check the network."
    )


class S3PoolTimeoutError(S3TimeoutError):
    """No connection of the pool became free in time; nothing was sent."""

    default_remedy = (
        "Close bodies sooner, lower the concurrency, or raise GREENLANG_STORAGE_MAX_POOL_CONNECTIONS."
    )


class S3ConnectionError(S3Error):
    """The store could not be reached, or the connection broke."""

    default_remedy = "Check GREENLANG_STORAGE_ENDPOINT_URL, AWS_REGION, DNS and proxies from this machine."


class S3CredentialsError(S3Error):
    """There are no usable credentials: none found, expired, or they could not be refreshed."""

    default_remedy = (
        "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE."
    )


class S3InvalidRequestError(S3Error, ValueError):
    """The request can never work as it stands; usually found before anything is sent. Also a `ValueError`."""

    default_remedy = "Correct the argument the message names and call again."


class S3LocalFileError(S3Error):
    """The local disk or file refused; `errno` tells why. Nothing half-written was left behind."""

    default_remedy = "Check free space, permissions and the path, then call again."

    def __init__(self, message: str, *, errno: int | None = None, **fields: object) -> None:
        super().__init__(message, **fields)  # type: ignore[arg-type]  # the fields are S3Error's own
        self.errno = errno


class S3SessionClosedError(S3Error):
    """The session is not open: `async with` was not entered yet, or has ended."""

    default_remedy = "Make calls inside `async with StorageSession()`; one session per process lives long."


class S3WrongLoopError(S3Error):
    """The session was opened in another event loop or, before a fork, in another process."""

    default_remedy = "Open one StorageSession in each event loop or process that uses it."
