"""The checksums a request carries, verified, and those an object is stored with."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Final

from awscrt import checksums as crt

from greenlang_async_storage.testing._memory._wire import Refusal, md5

ALGORITHMS: Final = ("CRC64NVME", "CRC32", "CRC32C", "SHA1", "SHA256")
FULL_ONLY: Final = "CRC64NVME"
_HEADER: Final = "x-amz-checksum-"
_SHA256_HEX: Final = 64


def value_of(algorithm: str, data: bytes) -> str:
    """The checksum of *data* as S3 writes it: base64 of the big-endian bytes."""
    match algorithm:
        case "CRC64NVME":
            raw = crt.crc64nvme(data).to_bytes(8, "big")
        case "CRC32":
            raw = zlib.crc32(data).to_bytes(4, "big")
        case "CRC32C":
            raw = crt.crc32c(data).to_bytes(4, "big")
        case "SHA1":
            raw = hashlib.sha1(data, usedforsecurity=False).digest()
        case "SHA256":
            raw = hashlib.sha256(data).digest()
        case _:
            raise Refusal(400, "InvalidRequest", f"Checksum algorithm provided is unsupported: {algorithm}")
    return base64.b64encode(raw).decode()


def composite_of(algorithm: str, values: Iterable[str]) -> str:
    """The composite value `…-N` from the values of the parts."""
    listed = list(values)
    joined = b"".join(base64.b64decode(value) for value in listed)
    return f"{value_of(algorithm, joined)}-{len(listed)}"


def given(headers: Mapping[str, str]) -> dict[str, str]:
    """The checksum values a request states, by algorithm."""
    names = {name: f"{_HEADER}{name.lower()}" for name in ALGORITHMS}
    return {name: headers[header] for name, header in names.items() if header in headers}


def asked(headers: Mapping[str, str]) -> str | None:
    """The algorithm a request names without a value: S3 then computes it."""
    name = headers.get("x-amz-checksum-algorithm") or headers.get("x-amz-sdk-checksum-algorithm")
    return name.upper() if name else None


def verify_body(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """
    The checksums *headers* state, when they are those of *body*.

    `BadDigest` or `InvalidDigest` when one is not. Content-MD5 is compared too.
    """
    stated = given(headers)
    if len(stated) > 1:
        raise Refusal(400, "InvalidRequest", "Expecting a single x-amz-checksum- header")
    if (told := headers.get("content-md5")) is not None:
        try:
            digest = base64.b64decode(told, validate=True)
        except ValueError:
            digest = b""
        if len(digest) != 16:
            raise Refusal(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        if digest != md5(body):
            raise Refusal(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    for algorithm, value in stated.items():
        compare(algorithm, value, value_of(algorithm, body))
    return stated


def verify_signed(headers: Mapping[str, str], body: bytes) -> None:
    """`XAmzContentSHA256Mismatch` unless the signature's payload hash, where there is one, is *body*'s."""
    signed = headers.get("x-amz-content-sha256", "")
    if len(signed) == _SHA256_HEX and signed != hashlib.sha256(body).hexdigest():
        raise Refusal(
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )


def compare(algorithm: str, stated: str, computed: str) -> None:
    """`BadDigest` unless they are the same."""
    if stated != computed:
        raise Refusal(
            400, "BadDigest", f"The {algorithm} you specified did not match the calculated checksum."
        )


def headers_of(values: Mapping[str, str], kind: str | None) -> dict[str, str]:
    """The reply headers that tell stored checksums."""
    found = {f"{_HEADER}{name.lower()}": value for name, value in values.items()}
    if found and kind:
        found[f"{_HEADER}type"] = kind
    return found


def elements_of(values: Mapping[str, str], kind: str | None = None) -> dict[str, object]:
    """The same as elements of a document."""
    found: dict[str, object] = {f"Checksum{name}": value for name, value in values.items()}
    if found and kind:
        found["ChecksumType"] = kind
    return found
