"""A request body that need not be bytes, and whose SHA-256 may be known already."""

from __future__ import annotations

import re
from typing import Final

from greenlang_async_storage.fastpath._pieces import Pieces
from greenlang_async_storage.fastpath._wire import Buffer

_HEX_DIGEST = re.compile("[0-9a-f]{64}")


class Payload:
    """
    Bytes for `Body=` of PutObject and UploadPart, also as a view or as a tuple of buffers that follow each
    other, that need not be hashed again to be signed.

    *sha256_hex* is computed where it is needed and not given; a wrong one is refused by the server, never by
    us. `UNSIGNED` in its place leaves the body out of the signature. *data* is not copied and must not change
    before the call has returned. A call that the fast path passes on gets the plain bytes.
    """

    UNSIGNED: Final = "UNSIGNED-PAYLOAD"
    """
    For calls with a checksum over https only: TLS keeps others from changing the body, and the store compares
    the checksum, a signed header.

    Source: "Authenticating Requests (AWS Signature Version 4)", S3 API Reference.
    """

    __slots__ = ("data", "sha256_hex")

    def __init__(self, data: Buffer | tuple[Buffer, ...], sha256_hex: str | None = None) -> None:
        held = Pieces(data) if isinstance(data, tuple) else data
        if not isinstance(held, bytes | bytearray | memoryview | Pieces):
            raise TypeError(f"a payload is bytes, a bytearray or a memoryview, not {type(data).__name__}")
        if sha256_hex not in {None, self.UNSIGNED} and _HEX_DIGEST.fullmatch(sha256_hex) is None:
            raise ValueError(f"{sha256_hex!r} is no SHA-256: pass the 64 hexadecimal digits of hexdigest()")
        self.data = held
        self.sha256_hex = sha256_hex

    def __len__(self) -> int:
        return self.data.nbytes if isinstance(self.data, memoryview) else len(self.data)

    def __repr__(self) -> str:
        return f"Payload({len(self)} bytes, sha256={self.sha256_hex})"

    def plain(self) -> bytes | bytearray:
        """The bytes as botocore takes them: a memoryview, which it refuses, and pieces are copied."""
        if isinstance(self.data, Pieces):
            return self.data.plain()
        return bytes(self.data) if isinstance(self.data, memoryview) else self.data
