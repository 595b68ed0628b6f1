"""Which object a request is about: its version, and the ETag it must or must not have."""

from __future__ import annotations

import re
from typing import Final, TypedDict

from ._errors import S3InvalidRequestError

_ETAG: Final = re.compile(r"[\x21\x23-\x7e]+")


class ReadArgs(TypedDict, total=False):
    """Which version of an object a read is about, and under which condition."""

    IfMatch: str
    IfNoneMatch: str
    VersionId: str


class VersionArgs(TypedDict, total=False):
    """The version a request is about; empty for the current one."""

    VersionId: str


def read_args(
    key: str, *, if_match: str | None = None, if_none_match: str | None = None, version_id: str | None = None
) -> ReadArgs:
    """S3's arguments for a conditional or pinned read; ETags may come with or without quotes."""
    args: ReadArgs = {}
    if if_match is not None:
        args["IfMatch"] = quoted_etag("if_match", if_match, key=key)
    if if_none_match is not None:
        args["IfNoneMatch"] = quoted_etag("if_none_match", if_none_match, key=key)
    if version_id is not None:
        args["VersionId"] = version_id
    return args


def version_args(version_id: str | None) -> VersionArgs:
    """S3's argument for one version, or none."""
    return {} if version_id is None else {"VersionId": version_id}


def quoted_etag(name: str, etag: str, *, key: str | None = None) -> str:
    """*etag* in the quotes S3's conditions want; quotes it already has are kept."""
    if not isinstance(etag, str):
        raise TypeError(f"{name} must be an ETag as a str, not {type(etag).__name__}")
    bare = etag[1:-1] if len(etag) > 1 and etag[0] == etag[-1] == '"' else etag
    if bare == "*" or not _ETAG.fullmatch(bare):
        raise S3InvalidRequestError(
            f"{name} {etag!r} is not an ETag",
            key=key,
            remedy=f"Pass {name}= the etag of head() or of an earlier result.",
        )
    return f'"{bare}"'
