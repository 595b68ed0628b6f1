"""An asyncio-first S3 SDK on aioboto3: one pooled session, typed errors, verified and atomic transfers."""

from __future__ import annotations

import importlib
import typing

from ._version import __version__

if typing.TYPE_CHECKING:
    from ._bucket import Bucket
    from ._downloads import Download
    from ._errors import (
        S3AccessDeniedError,
        S3ConnectionError,
        S3CredentialsError,
        S3Error,
        S3IntegrityError,
        S3InvalidRequestError,
        S3LocalFileError,
        S3NotFoundError,
        S3ObjectChangedError,
        S3PoolTimeoutError,
        S3PreconditionFailedError,
        S3SessionClosedError,
        S3SourceChangedError,
        S3ThrottlingError,
        S3TimeoutError,
        S3WrongLoopError,
        WriteOutcome,
    )
    from ._log import SecretFilter
    from ._session import StorageSession
    from ._settings import StorageSettings, StorageSettingsError
    from ._types import (
        AsyncReader,
        BatchReport,
        BucketReadiness,
        Buffer,
        ByteRange,
        ByteSource,
        Capabilities,
        Checksum,
        ChecksumAlgorithm,
        ChecksumChoice,
        ChecksumType,
        Encryption,
        EncryptionMode,
        MultipartUpload,
        ObjectInfo,
        ObjectVersion,
        Outcome,
        PresignedPost,
        PresignedUpload,
        PresignedUrl,
        Progress,
        ProgressHook,
        Purpose,
        Readiness,
        RetryMode,
        StaleUpload,
        Statistics,
        StrPath,
        SyncReader,
        UploadedPart,
        UploadItem,
        UploadResult,
        Verify,
        WriteOptions,
    )

__all__ = [
    "AsyncReader",
    "BatchReport",
    "Bucket",
    "BucketReadiness",
    "Buffer",
    "ByteRange",
    "ByteSource",
    "Capabilities",
    "Checksum",
    "ChecksumAlgorithm",
    "ChecksumChoice",
    "ChecksumType",
    "Download",
    "Encryption",
    "EncryptionMode",
    "MultipartUpload",
    "ObjectInfo",
    "ObjectVersion",
    "Outcome",
    "PresignedPost",
    "PresignedUpload",
    "PresignedUrl",
    "Progress",
    "ProgressHook",
    "Purpose",
    "Readiness",
    "RetryMode",
    "S3AccessDeniedError",
    "S3ConnectionError",
    "S3CredentialsError",
    "S3Error",
    "S3IntegrityError",
    "S3InvalidRequestError",
    "S3LocalFileError",
    "S3NotFoundError",
    "S3ObjectChangedError",
    "S3PoolTimeoutError",
    "S3PreconditionFailedError",
    "S3SessionClosedError",
    "S3SourceChangedError",
    "S3ThrottlingError",
    "S3TimeoutError",
    "S3WrongLoopError",
    "SecretFilter",
    "StaleUpload",
    "Statistics",
    "StorageSession",
    "StorageSettings",
    "StorageSettingsError",
    "StrPath",
    "SyncReader",
    "UploadItem",
    "UploadResult",
    "UploadedPart",
    "Verify",
    "WriteOptions",
    "WriteOutcome",
    "__version__",
]

_HOMES: typing.Final = ("_types", "_errors", "_log", "_settings", "_downloads", "_bucket", "_session")

if not typing.TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        """The names above, from the moment one is asked for: `fastpath` alone needs nothing of it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        for home in _HOMES:
            module = importlib.import_module(f"{__name__}.{home}")
            globals().update({each: value for each, value in vars(module).items() if each in __all__})
        return globals()[name]


def __dir__() -> list[str]:
    """What is public, imported or not."""
    return sorted({*globals(), *__all__})
