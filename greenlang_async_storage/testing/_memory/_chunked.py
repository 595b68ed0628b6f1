"""Bodies in `aws-chunked` coding, as clients send them when a checksum follows the data in a trailer."""

from __future__ import annotations

from collections.abc import Mapping


def decoded(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    """
    The bytes that were meant, and the headers with those of the trailer.

    Source: Signature Version 4, "Transferring payload in multiple chunks". ValueError when cut short.
    """
    found = dict(headers)
    if "aws-chunked" not in found.get("content-encoding", ""):
        return body, found
    data = bytearray()
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        at = end + 2
        if size == 0:
            break
        data += body[at : at + size]
        at += size + 2
    for line in body[at:].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            found[name.decode().strip().lower()] = value.decode().strip()
    # The signature covers the chunks, not the data.
    found.pop("x-amz-content-sha256", None)
    return bytes(data), found
