"""
Signature Version 4 for S3, with everything that repeats kept: the derived key, the day, the second.

Source: "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk", S3 API
Reference; the choice of signed headers and of the payload hash is botocore's.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

import botocore.auth

EMPTY_SHA256 = sha256(b"").hexdigest()
UNSIGNED = botocore.auth.UNSIGNED_PAYLOAD
UNSIGNED_TRAILER = botocore.auth.STREAMING_UNSIGNED_PAYLOAD_TRAILER
_UNSIGNED_HEADERS = frozenset(botocore.auth.SIGNED_HEADERS_BLACKLIST)
_MAX_KEYS = 16
_BLOCK = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


class Keys(NamedTuple):
    """The credentials of one call, frozen."""

    access_key: str
    secret_key: str
    token: str | None

    def __repr__(self) -> str:
        return f"Keys({self.access_key}, ...)"


class _Clock:
    """The time as AWS writes it, formatted once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._text = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._second = second
        return self._text


class _Keyed:
    """
    HMAC-SHA-256 with its key already taken in (RFC 2104): two copies of a hash instead of a new HMAC.

    `hmac.digest` looks its algorithm up in OpenSSL again for every call, three times what this takes.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = sha256(padded.translate(_INNER_PAD))
        self._outer = sha256(padded.translate(_OUTER_PAD))

    def hexdigest(self, text: bytes) -> str:
        inner = self._inner.copy()
        inner.update(text)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()


clock = _Clock()
_signing_keys: dict[tuple[str, str, str, str], _Keyed] = {}


def _signing_key(secret: str, day: str, region: str, service: str) -> _Keyed:
    found = _signing_keys.get((secret, day, region, service))
    if found is None:
        key = f"AWS4{secret}".encode()
        for part in (day, region, service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        found = _Keyed(key)
        if len(_signing_keys) >= _MAX_KEYS:
            _signing_keys.clear()
        _signing_keys[secret, day, region, service] = found
    return found


def sign(
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    *,
    payload_hash: str,
    keys: Keys,
    region: str,
    service: str,
) -> None:
    """
    Add date, token, payload hash and `authorization` to *headers*: lower-case names, `host` among them.

    *path* and *query* are as they are sent, already percent-encoded.
    """
    stamp = clock.now()
    headers["x-amz-date"] = stamp
    headers["x-amz-content-sha256"] = payload_hash
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = sorted(headers.keys() - _UNSIGNED_HEADERS)
    signed = ";".join(names)
    canonical_headers = "".join([f"{name}:{_trimmed(headers[name])}\n" for name in names])
    canonical_query = _canonical_query(query) if query else ""
    request = f"{method}\n{path}\n{canonical_query}\n{canonical_headers}\n{signed}\n{payload_hash}"
    day = stamp[:8]
    scope = f"{day}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    key = _signing_key(keys.secret_key, day, region, service)
    signature = key.hexdigest(text.encode())
    who = f"{keys.access_key}/{scope}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={who}, SignedHeaders={signed}, Signature={signature}"
    )


def _trimmed(value: str) -> str:
    return " ".join(value.split()) if " " in value else value


def _canonical_query(query: str) -> str:
    pairs = [pair.partition("=") for pair in query.split("&")]
    pairs.sort(key=lambda pair: (pair[0], pair[2]))
    return "&".join([f"{name}={value}" for name, _, value in pairs])


def signs_payload(
    s3_options: Mapping[str, object] | None,
    *,
    secure: bool,
    streams: bool,
    checksum_header: str,
    headers: Mapping[str, str],
) -> bool:
    """Whether the hash of the body is signed, or `UNSIGNED-PAYLOAD`: botocore's rule for S3."""
    chosen = s3_options.get("payload_signing_enabled") if s3_options else None
    if chosen is not None:
        return bool(chosen)
    return not (secure and streams and checksum_header in headers)
