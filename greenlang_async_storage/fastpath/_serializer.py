"""Parameters of a call into the parts of its request, as botocore's handlers and serializer do."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from hashlib import md5
from typing import Any
from urllib.parse import quote

import botocore.handlers

from greenlang_async_storage.fastpath._conditions import PassOn, Reason
from greenlang_async_storage.fastpath._model import Operation, Place

# Everything else (spaces at the ends, control characters, other scripts) is left to botocore and its session.
_PLAIN_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUERY_SAFE = "-._~"
_KEY_SAFE = "/~"
_UNQUOTED = re.compile(r"[A-Za-z0-9_.~-]*")
_UNQUOTED_KEY = re.compile(r"[A-Za-z0-9_.~/-]*")
# Looking a member up in its Enum class takes longer than what is done with it.
_HEADER, _PATH, _QUERY, _METADATA = Place.HEADER, Place.PATH, Place.QUERY, Place.METADATA


@dataclass(slots=True, repr=False)
class Draft:
    """A request before it knows host, credentials and the hash of its body. Its repr shows no header."""

    bucket: str
    key: str | None
    """Percent-encoded."""
    query: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """What the caller gave for a streamed body, or the written document; None without one."""
    parameters: dict[str, Any]
    """With what botocore's handlers would have added."""
    decode_keys: bool


def serialize(operation: Operation, parameters: dict[str, Any], config: Any) -> Draft:
    """
    The draft for *parameters*, which are not changed. PassOn for everything botocore might refuse or treat
    apart.
    """
    parameters, decode_keys = _complete(operation, parameters, config)
    if not operation.required <= parameters.keys():
        raise PassOn(Reason.PARAMETERS)
    headers: dict[str, str] = {}
    query = [operation.query] if operation.query else []
    bucket = key = ""
    body: Any = None
    members = operation.members
    for name, value in parameters.items():
        member = members.get(name)
        if member is None:
            raise PassOn(Reason.PARAMETERS)
        place = member.place
        if place is _HEADER:
            text = member.convert(value)
            if text is not None:
                headers[member.name] = visible(text)
        elif place is _PATH:
            text = member.convert(value) or ""
            if name == "Bucket":
                bucket = text
            else:
                key = quoted_key(text)
        elif place is _QUERY:
            text = member.convert(value) or ""
            query.append(f"{member.name}={text if _UNQUOTED.fullmatch(text) else _quoted(text, _QUERY_SAFE)}")
        elif place is _METADATA:
            _add_metadata(member.name, value, headers)
        else:
            body = _body(operation, place, value)
    return Draft(
        bucket, key if operation.has_key else None, "&".join(query), headers, body, parameters, decode_keys
    )


def _complete(operation: Operation, parameters: dict[str, Any], config: Any) -> tuple[dict[str, Any], bool]:
    """*parameters* with what `before-parameter-build` adds; a copy when there is anything to add."""
    added: dict[str, Any] = {}
    mode = operation.validation_member
    if (
        mode is not None
        and mode not in parameters
        and config.response_checksum_validation == "when_supported"
    ):
        added[mode] = "ENABLED"
    decode_keys = operation.encodes_keys and "EncodingType" not in parameters
    if decode_keys:
        added["EncodingType"] = "url"
    if operation.quotes_source and "CopySource" in parameters:
        added["CopySource"] = _copy_source(parameters["CopySource"])
    for prefix in operation.sse_prefixes:
        customer_key = parameters.get(f"{prefix}Key")
        if customer_key is not None and f"{prefix}KeyMD5" not in parameters:
            added[f"{prefix}Key"], added[f"{prefix}KeyMD5"] = _customer_key(customer_key)
    return ({**parameters, **added} if added else parameters), decode_keys


def _copy_source(source: Any) -> str:
    try:
        if type(source) is str:
            return str(botocore.handlers._quote_source_header(source))
        if type(source) is dict:
            return str(botocore.handlers._quote_source_header_from_dict(source))
    except Exception as error:
        raise PassOn(Reason.PARAMETERS) from error
    raise PassOn(Reason.PARAMETERS)


def _customer_key(key: Any) -> tuple[str, str]:
    if type(key) not in (str, bytes):
        raise PassOn(Reason.PARAMETERS)
    raw = key.encode() if isinstance(key, str) else key
    digest = md5(raw, usedforsecurity=False).digest()
    return base64.b64encode(raw).decode(), base64.b64encode(digest).decode()


def _add_metadata(prefix: str, metadata: Any, headers: dict[str, str]) -> None:
    if type(metadata) is not dict:
        raise PassOn(Reason.PARAMETERS)
    for name, value in metadata.items():
        if type(name) is not str or type(value) is not str:
            raise PassOn(Reason.PARAMETERS)
        full = f"{prefix}{name}".lower()
        # Two names that differ in case only become one header with two values in botocore's signature.
        if full in headers or _HEADER_NAME.fullmatch(name) is None:
            raise PassOn(Reason.TEXT)
        headers[full] = visible(value)


def _body(operation: Operation, place: Place, value: Any) -> Any:
    if value is None:
        raise PassOn(Reason.PARAMETERS)
    if place is Place.BODY or operation.write_body is None:
        return value
    try:
        body = operation.write_body(value)
    except UnicodeEncodeError as error:
        raise PassOn(Reason.TEXT) from error
    if operation.escape_newlines:
        body = body.replace(b"\r", b"&#xD;").replace(b"\n", b"&#xA;")
    return body


def visible(text: str) -> str:
    """*text* when it is a plain header value; PassOn when not."""
    if _PLAIN_VALUE.fullmatch(text) is None or "  " in text:
        raise PassOn(Reason.TEXT)
    return text


def quoted_key(key: str) -> str:
    """*key*, percent-encoded for the path. PassOn for lone surrogates."""
    return key if _UNQUOTED_KEY.fullmatch(key) else _quoted(key, _KEY_SAFE)


def _quoted(text: str, safe: str) -> str:
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError as error:
        raise PassOn(Reason.TEXT) from error
