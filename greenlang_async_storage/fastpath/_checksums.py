"""Checksums of requests and replies as the client's configuration asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import botocore.httpchecksum
from botocore.utils import CHECKSUM_HEADER_PATTERN

from greenlang_async_storage.fastpath._conditions import PassOn, Reason
from greenlang_async_storage.fastpath._model import Operation
from greenlang_async_storage.fastpath._wire import Buffer

DEFAULT = botocore.httpchecksum.DEFAULT_CHECKSUM_ALGORITHM
TRAILER_CHUNK = botocore.httpchecksum.AwsChunkedWrapper._DEFAULT_CHUNK_SIZE
# Since this function exists, a checksum the caller brings is named in the user agent too.
_NAMES_GIVEN_CHECKSUMS = hasattr(botocore.httpchecksum, "_register_checksum_feature_ids")
_NO_FEATURES: frozenset[str] = frozenset()
_NOT_ALGORITHMS = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"})


def given(headers: Iterable[str]) -> list[str]:
    """The names among *headers* (lower-case) by which the caller brings a checksum."""
    return [
        name for name in headers if name.startswith("x-amz-checksum-") and CHECKSUM_HEADER_PATTERN.match(name)
    ]


def request_algorithm(
    operation: Operation, parameters: Mapping[str, Any], config: Any, headers: dict[str, str]
) -> str | None:
    """
    The lower-case algorithm to compute over the body, or None; announces a default one in *headers*.

    PassOn for an algorithm this botocore cannot compute here, so that it says so.
    """
    member = operation.checksum_member
    if member is not None and member in parameters:
        algorithm = str(parameters[member]).lower()
        if algorithm not in botocore.httpchecksum._SUPPORTED_CHECKSUM_ALGORITHMS:
            raise PassOn(Reason.CHECKSUM)
        return algorithm
    if not operation.checksum_required and not (
        member is not None and config.request_checksum_calculation == "when_supported"
    ):
        return None
    if operation.checksum_header is not None:
        headers[operation.checksum_header.lower()] = DEFAULT
    return str(DEFAULT).lower()


def compute(algorithm: str, body: Buffer) -> str:
    """The checksum in base64."""
    checksum = botocore.httpchecksum._CHECKSUM_CLS[algorithm]()
    checksum.update(body)
    digest: str = checksum.b64digest()
    return digest


def compute_file(algorithm: str, file: Any) -> str:
    """The checksum of *file*, from its start, where it is left, in base64."""
    digest: str = botocore.httpchecksum._CHECKSUM_CLS[algorithm]().handle(file)
    file.seek(0)
    return digest


def with_trailer(algorithm: str, body: Buffer) -> bytes:
    """
    *body* in `aws-chunked` coding with the checksum in the trailer; the transport frames it for HTTP.

    Source: "Signature calculations including trailing headers", S3 API Reference. Chunks are those of
    aiobotocore: 1 MiB. The result is a copy.
    """
    view = memoryview(body)
    pieces: list[Buffer] = []
    for start in range(0, len(view), TRAILER_CHUNK):
        chunk = view[start : start + TRAILER_CHUNK]
        pieces += (b"%x\r\n" % len(chunk), chunk, b"\r\n")
    pieces.append(f"0\r\nx-amz-checksum-{algorithm}:{compute(algorithm, body)}\r\n\r\n".encode())
    return b"".join(pieces)


def response_algorithm(
    operation: Operation, parameters: Mapping[str, Any], headers: Mapping[str, str]
) -> str | None:
    """The algorithm by which botocore would check the reply's body, or None."""
    member = operation.validation_member
    if member is None or member not in parameters:
        return None
    for header, algorithm in operation.response_checksums:
        # A dash ends the checksum of a multipart object, which is one over its parts' checksums.
        if header in headers and "-" not in headers[header]:
            return algorithm
    return None


def features(algorithm: str | None, given_headers: Sequence[str]) -> frozenset[str]:
    """The feature names botocore registers for the user agent."""
    if algorithm is None and not given_headers:
        return _NO_FEATURES
    names = set() if algorithm is None else {algorithm.upper()}
    if _NAMES_GIVEN_CHECKSUMS and (
        headers := [name for name in given_headers if name not in _NOT_ALGORITHMS]
    ):
        names = {name.removeprefix("x-amz-checksum-").upper() for name in headers}
    return frozenset(f"FLEXIBLE_CHECKSUMS_REQ_{'CRC64' if name == 'CRC64NVME' else name}" for name in names)
