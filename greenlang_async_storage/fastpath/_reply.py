"""Replies as they come from the transport: read within a bound, and told to botocore in its own terms."""

from __future__ import annotations

from xml.parsers import expat

from botocore.exceptions import HTTPClientError
from botocore.parsers import ResponseParserError

from greenlang_async_storage.fastpath._wire import WireResponse
from greenlang_async_storage.fastpath._xml import UnsafeDocumentError, check_document

MAX_REPLY_BYTES = 8 << 20
"""Largest reply read into memory that is not an object's body; a page of 1,000 long keys is below 2 MiB."""
_NOT_XML = b"<"


class ReplyTooLargeError(ResponseParserError):  # type: ignore[misc]
    """A reply that should be a short document passed the limit; not read further, nor retried."""


async def read_document(wire: WireResponse, headers: dict[str, str], operation: str) -> bytes:
    """
    The whole body of a reply that is no object, in at most `MAX_REPLY_BYTES` bytes.

    ReplyTooLargeError beyond that; the connection is given back or closed in every case.
    """
    try:
        announced = headers.get("content-length", "")
        if announced.isdecimal() and len(announced) < 20 and int(announced) <= MAX_REPLY_BYTES:
            return await wire.read()
        pieces: list[bytes] = []
        size = 0
        while piece := await wire.readany():
            size += len(piece)
            if size > MAX_REPLY_BYTES:
                raise ReplyTooLargeError(
                    f"the reply to {operation} is larger than {MAX_REPLY_BYTES} bytes: ask for smaller pages"
                )
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        wire.close()


def read_fields(wire: WireResponse) -> dict[str, str]:
    """The headers by lower-case name, the last of several winning. HTTPClientError when one is not UTF-8."""
    try:
        return wire.fields()
    except UnicodeDecodeError as error:
        raise HTTPClientError(error=error) from error


def safe_for_botocore(body: bytes) -> bytes:
    """*body*, or no XML where reading it as XML could cost more than its length."""
    if body:
        try:
            check_document(body)
        except UnsafeDocumentError:
            return _NOT_XML
        except expat.ExpatError:
            pass
    return body
