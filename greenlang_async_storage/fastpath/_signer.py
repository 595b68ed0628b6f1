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

from greenlang_async_storage.fastpath._endpoint import Target

EMPTY_SHA256 = sha256(b"").hexdigest()
UNSIGNED = botocore.auth.UNSIGNED_PAYLOAD
UNSIGNED_TRAILER = botocore.auth.STREAMING_UNSIGNED_PAYLOAD_TRAILER
ALGORITHM = "AWS4-HMAC-SHA256"
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


class Keyed:
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
        """The HMAC of *text* in hexadecimal."""
        inner = self._inner.copy()
        inner.update(text)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()


clock = _Clock()
_signing_keys: dict[tuple[str, str, str, str], Keyed] = {}


def signing_key(secret: str, day: str, target: Target) -> Keyed:
    """The key of *day* (YYYYMMDD) for the region and service of *target*."""
    found = _signing_keys.get((secret, day, target.region, target.service))
    if found is None:
        key = f"AWS4{secret}".encode()
        for part in (day, target.region, target.service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        found = Keyed(key)
        if len(_signing_keys) >= _MAX_KEYS:
            _signing_keys.clear()
        _signing_keys[secret, day, target.region, target.service] = found
    return found


def scope(day: str, target: Target) -> str:
    """The credential scope."""
    return f"{day}/{target.region}/{target.service}/aws4_request"


def sign(
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    *,
    payload_hash: str,
    keys: Keys,
    target: Target,
) -> list[str]:
    """
    Add date, token, payload hash and `authorization` to *headers*: lower-case names, `host` among them.

    The names of the signed ones, in order. *path* and *query* are as they are sent, already percent-encoded.
    """
    stamp = clock.now()
    headers["x-amz-date"] = stamp
    headers["x-amz-content-sha256"] = payload_hash
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = sorted(headers.keys() - _UNSIGNED_HEADERS)
    signed = ";".join(names)
    canonical_headers = "".join([f"{name}:{trimmed(headers[name])}\n" for name in names])
    request = f"{method}\n{path}\n{canonical_query(query)}\n{canonical_headers}\n{signed}\n{payload_hash}"
    day = stamp[:8]
    within = scope(day, target)
    text = f"{ALGORITHM}\n{stamp}\n{within}\n{sha256(request.encode()).hexdigest()}"
    signature = signing_key(keys.secret_key, day, target).hexdigest(text.encode())
    who = f"{keys.access_key}/{within}"
    headers["authorization"] = f"{ALGORITHM} Credential={who}, SignedHeaders={signed}, Signature={signature}"
    return names


def trimmed(value: str) -> str:
    """A header value as it is signed."""
    return " ".join(value.split()) if " " in value else value


def canonical_query(query: str) -> str:
    """A percent-encoded query as it is signed: sorted."""
    if not query:
        return ""
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
