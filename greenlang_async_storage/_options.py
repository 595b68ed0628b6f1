"""
Write options, checked before anything is sent and turned into S3's own arguments.

The only module that spells `ServerSideEncryption`. What S3 would refuse, or would store differently from what
was asked, is refused here with the limit and the remedy; nothing is dropped, cut or replaced silently.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypedDict, cast, get_args

from ._conditions import quoted_etag as quoted_etag  # noqa: PLC0414  # offered to readers too
from ._content_types import guess_content_type
from ._errors import S3InvalidRequestError
from ._headers import check_header_value
from ._settings import StorageSettings
from ._tags import prepare_tags, tagging_header
from ._types import Encryption, EncryptionMode, WriteOptions

if TYPE_CHECKING:
    from datetime import datetime

    from types_aiobotocore_s3.literals import ServerSideEncryptionType, StorageClassType

UPLOAD_TOKEN: Final = "greenlang-upload-token"  # noqa: S105  # a name, no password
"""Metadata name that marks which upload made an object; hidden from `ObjectInfo.metadata`."""

MAX_METADATA_BYTES: Final = 2048
"""Names and values together (S3: "Working with object metadata")."""

_RESERVED_METADATA: Final = frozenset({UPLOAD_TOKEN})
_OPTION_NAMES: Final = frozenset(WriteOptions.__annotations__)
_MODES: Final[frozenset[str]] = frozenset(get_args(EncryptionMode))
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTENT_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:\s*;.*)?")
_STORAGE_CLASS: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_SENT_MODES: Final = frozenset({"AES256", "aws:kms", "aws:kms:dsse"})


class EncryptionArgs(TypedDict, total=False):
    """How S3 is told to encrypt; empty when it is told nothing."""

    ServerSideEncryption: ServerSideEncryptionType
    SSEKMSKeyId: str
    BucketKeyEnabled: bool


class ConditionArgs(TypedDict, total=False):
    """The condition of a write: for PutObject and CompleteMultipartUpload."""

    IfMatch: str
    IfNoneMatch: str


class CreateArgs(EncryptionArgs, total=False):
    """What CreateMultipartUpload takes: everything but the condition, which Complete carries."""

    CacheControl: str
    ContentDisposition: str
    ContentEncoding: str
    ContentLanguage: str
    ContentType: str
    Expires: datetime
    Metadata: Mapping[str, str]
    StorageClass: StorageClassType
    Tagging: str


class PutArgs(CreateArgs, ConditionArgs, total=False):
    """What PutObject takes."""


def new_upload_token() -> str:
    """A fresh value for the `greenlang-upload-token` metadata: 128 random bits in hex."""
    return secrets.token_hex(16)


def encryption_args(mode: str, key_id: str | None) -> EncryptionArgs:
    """
    S3's arguments for an encryption mode and, for KMS, a key; empty for `none`.

    `BucketKeyEnabled` is left out, so the bucket's own setting decides: forcing it on would change the KMS
    encryption context from the object's ARN to the bucket's and break key policies written for the former
    (S3: "Reducing the cost of SSE-KMS with Amazon S3 Bucket Keys").
    """
    if mode not in _SENT_MODES:
        return {}
    args: EncryptionArgs = {"ServerSideEncryption": cast("ServerSideEncryptionType", mode)}
    if mode != "AES256" and key_id:
        args["SSEKMSKeyId"] = key_id
    return args


def kept_encryption(settings: StorageSettings, reply: Mapping[str, object]) -> EncryptionArgs:
    """
    The encryption a copy of the object in *reply* (of HeadObject) gets: the same mode and key.

    An object the store keeps unencrypted is encrypted as configured, so a copy is never the weaker one.
    """
    args = encryption_args(
        str(reply.get("ServerSideEncryption")), cast("str | None", reply.get("SSEKMSKeyId"))
    )
    if not args:
        return encryption_args(settings.encryption, settings.kms_key_id)
    if reply.get("BucketKeyEnabled"):
        args["BucketKeyEnabled"] = True
    return args


def encryption_headers(args: EncryptionArgs) -> dict[str, str]:
    """The same as HTTP headers (and POST form fields), for requests somebody else sends."""
    headers: dict[str, str] = {}
    if mode := args.get("ServerSideEncryption"):
        headers["x-amz-server-side-encryption"] = mode
    if key_id := args.get("SSEKMSKeyId"):
        headers["x-amz-server-side-encryption-aws-kms-key-id"] = key_id
    return headers


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Checked write options of one object, as S3's arguments; made by `prepare_write`, spread with `**`."""

    key: str
    args: CreateArgs = field(repr=False)
    conditions: ConditionArgs = field(default_factory=ConditionArgs)

    def create_args(self) -> CreateArgs:
        """Arguments for CreateMultipartUpload."""
        return self.args

    def complete_args(self) -> ConditionArgs:
        """Arguments for CompleteMultipartUpload: the condition, which S3 evaluates there."""
        return self.conditions

    def put_args(self) -> PutArgs:
        """Arguments for PutObject."""
        return cast("PutArgs", {**self.args, **self.conditions})

    @property
    def metadata(self) -> Mapping[str, str]:
        """The user metadata, names in lower case."""
        return self.args.get("Metadata", {})

    def with_metadata(self, extra: Mapping[str, str]) -> WriteRequest:
        """The same request with *extra* metadata of ours; a name the caller gave keeps the caller's value."""
        given = self.metadata
        merged = {**extra, **given} if given else dict(extra)
        if (total := _metadata_bytes(merged)) > MAX_METADATA_BYTES:
            raise _too_much(total, self.key, ours=total - _metadata_bytes(given))
        return WriteRequest(self.key, {**self.args, "Metadata": merged}, self.conditions)


def prepare_write(
    settings: StorageSettings, key: str, options: WriteOptions, *, default_content_type: str | None = None
) -> WriteRequest:
    """
    The write options of *key*, checked and completed with the configured encryption and a content type.

    The content type is the caller's, else *default_content_type*, else guessed from the key's extension, else
    `application/octet-stream`. Raises `S3InvalidRequestError` for values S3 cannot store as given, and
    `TypeError` for an unknown option or a value of the wrong type.
    """
    unknown = options.keys() - _OPTION_NAMES
    if unknown:
        raise TypeError(
            f"unknown write option {min(unknown)!r}; the options are {', '.join(sorted(_OPTION_NAMES))}"
        )
    content_type = options.get("content_type")
    args: CreateArgs = {
        "ContentType": default_content_type or guess_content_type(key)
        if content_type is None
        else check_content_type(key, content_type)
    }
    args.update(cast("CreateArgs", prepare_encryption(settings, key, options.get("encryption"))))
    if metadata := options.get("metadata"):
        args["Metadata"] = _prepare_metadata(key, metadata)
    if tags := options.get("tags"):
        args["Tagging"] = tagging_header(prepare_tags(tags, key=key))
    if (disposition := options.get("content_disposition")) is not None:
        args["ContentDisposition"] = check_header_value("content_disposition", disposition, key=key)
    if (cache_control := options.get("cache_control")) is not None:
        args["CacheControl"] = check_header_value("cache_control", cache_control, key=key)
    if (storage_class := options.get("storage_class")) is not None:
        args["StorageClass"] = _storage_class(key, storage_class)
    conditions = _conditions(key, options.get("if_none_match", False), options.get("if_match"))
    return WriteRequest(key, args, conditions)


def prepare_encryption(
    settings: StorageSettings, key: str, chosen: Encryption | EncryptionMode | None = None
) -> EncryptionArgs:
    """S3's arguments for the encryption *chosen* for *key*, else for the configured one."""
    if chosen is None:
        return encryption_args(settings.encryption, settings.kms_key_id)
    if isinstance(chosen, str):
        chosen = Encryption(chosen)
    if not isinstance(chosen, Encryption):
        raise TypeError(f"encryption must be an Encryption or one of {sorted(_MODES)}, not {chosen!r}")
    if chosen.mode not in _MODES:
        raise S3InvalidRequestError(
            f"encryption {chosen.mode!r} is none of {', '.join(sorted(_MODES))}",
            key=key,
            remedy="Pass one of these, or leave encryption out to use GREENLANG_STORAGE_ENCRYPTION.",
        )
    if chosen.mode != "aws:kms":
        if chosen.key_id is not None:
            raise S3InvalidRequestError(
                f"encryption {chosen.mode!r} takes no key",
                key=key,
                remedy="Leave key_id out, or use the mode 'aws:kms'.",
            )
    elif chosen.key_id is not None:
        check_header_value("encryption key_id", chosen.key_id, key=key, show=False)
    return encryption_args(chosen.mode, chosen.key_id or settings.kms_key_id)


def check_content_type(key: str, content_type: str) -> str:
    """*content_type* unchanged when it is `type/subtype` with optional parameters and safe in a header."""
    check_header_value("content_type", content_type, key=key)
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise S3InvalidRequestError(
            f"content_type {content_type!r} is not of the form type/subtype",
            key=key,
            remedy="Pass a type such as 'text/csv' or 'text/html; charset=utf-8', or leave content_type out.",
        )
    return content_type


def _conditions(key: str, if_none_match: object, if_match: str | None) -> ConditionArgs:
    if not isinstance(if_none_match, bool):
        raise TypeError(
            f"if_none_match must be True (create only) or False, not {if_none_match!r}; "
            "to write over one known ETag pass if_match="
        )
    if if_match is None:
        return {"IfNoneMatch": "*"} if if_none_match else {}
    if if_none_match:
        raise S3InvalidRequestError(
            "if_none_match=True and if_match exclude each other",
            key=key,
            remedy="Pass if_none_match=True to create only, or if_match= to replace one known version.",
        )
    return {"IfMatch": quoted_etag("if_match", if_match, key=key)}


def _prepare_metadata(key: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata with names in lower case, as S3 keeps them; refuses what would come back changed."""
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping of str to str, not {type(metadata).__name__}")
    checked: dict[str, str] = {}
    for name, value in metadata.items():
        if not isinstance(name, str):
            raise TypeError(f"metadata names must be str, not {name!r}")
        if not _TOKEN.fullmatch(name):
            raise S3InvalidRequestError(
                f"metadata name {name!r} is not an HTTP token",
                key=key,
                remedy="Use ASCII letters, digits, '-', '_' and '.', at least one.",
            )
        lowered = name.lower()
        if lowered in _RESERVED_METADATA:
            raise S3InvalidRequestError(
                f"metadata name {name!r} is reserved",
                key=key,
                remedy="Choose another name; uploads set this one.",
            )
        if lowered in checked:
            raise S3InvalidRequestError(
                f"metadata names {name!r} and {lowered!r} differ only in case, which S3 does not keep",
                key=key,
                remedy="Give each value a name of its own.",
            )
        checked[lowered] = check_header_value(f"metadata {name!r}", value, key=key)
    if (total := _metadata_bytes(checked)) > MAX_METADATA_BYTES:
        raise _too_much(total, key)
    return checked


def _metadata_bytes(metadata: Mapping[str, str]) -> int:
    return sum(map(len, metadata)) + sum(map(len, metadata.values()))


def _too_much(total: int, key: str, *, ours: int = 0) -> S3InvalidRequestError:
    added = f", {ours} of them added by this SDK" if ours else ""
    return S3InvalidRequestError(
        f"metadata takes {total} bytes{added}; S3 keeps at most {MAX_METADATA_BYTES}",
        key=key,
        remedy="Shorten the values, or store them in the object or in one beside it.",
    )


def _storage_class(key: str, storage_class: str) -> StorageClassType:
    if not isinstance(storage_class, str):
        raise TypeError(f"storage_class must be a str, not {type(storage_class).__name__}")
    if not _STORAGE_CLASS.fullmatch(storage_class):
        raise S3InvalidRequestError(
            f"storage_class {storage_class!r} is not of the form of S3's classes",
            key=key,
            remedy="Pass a class such as 'STANDARD_IA' or 'INTELLIGENT_TIERING', or leave storage_class out.",
        )
    return cast("StorageClassType", storage_class)
