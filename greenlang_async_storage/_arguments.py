"""Names users pass in, checked before anything is sent; refusals are `S3InvalidRequestError`."""

from __future__ import annotations

from ._errors import S3InvalidRequestError
from ._names import validate_bucket_name, validate_key, validate_prefix


def checked_bucket(name: str) -> str:
    """*name*, when S3 would accept it as a bucket's."""
    try:
        return validate_bucket_name(name)
    except ValueError as exc:
        raise _refused(exc, name, None) from None


def checked_key(bucket: str, key: str, prefix: str = "", operation: str | None = None) -> str:
    """The key S3 sees: *prefix* and *key*, each safe by itself and together."""
    try:
        validate_key(key)
        return validate_key(prefix + key) if prefix else key
    except ValueError as exc:
        raise _refused(exc, bucket, prefix + key, operation) from None


def checked_prefix(bucket: str, prefix: str, scope: str = "", operation: str | None = None) -> str:
    """The prefix S3 sees: *scope* and *prefix*."""
    try:
        return validate_prefix(scope + validate_prefix(prefix))
    except ValueError as exc:
        raise _refused(exc, bucket, scope + prefix, operation) from None


def _refused(
    fault: ValueError, bucket: str, key: str | None, operation: str | None = None
) -> S3InvalidRequestError:
    """The fault's sentence and its remedy, which stands behind the last semicolon."""
    message, _, remedy = str(fault).rpartition("; ")
    return S3InvalidRequestError(
        message,
        operation=operation,
        bucket=bucket,
        key=key,
        remedy=f"{remedy[:1].upper()}{remedy[1:]}.",
    )
