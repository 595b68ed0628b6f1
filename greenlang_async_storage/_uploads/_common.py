"""What every kind of upload agrees on: its limits, and the metadata it adds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from greenlang_async_storage._checksums import Digest, digest
from greenlang_async_storage._chunks import check_part_size
from greenlang_async_storage._connection import Connection
from greenlang_async_storage._errors import S3InvalidRequestError
from greenlang_async_storage._options import WriteRequest, prepare_write
from greenlang_async_storage._types import ChecksumChoice, PartData, WriteOptions

CONTENT_HASH: Final = "content-hash"
"""Metadata name of the SHA-256 (hex) of an object sent from bytes or from a file."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Where one upload goes, how it is written, and within which limits."""

    conn: Connection
    bucket: str
    write: WriteRequest
    part_size: int
    """Bytes of a part; more where 10,000 of them would not do."""
    concurrency: int
    """Parts on their way at once."""

    @property
    def key(self) -> str:
        """The key S3 sees."""
        return self.write.key

    @property
    def checksum(self) -> ChecksumChoice:
        """What is computed of every part and of the whole."""
        return self.conn.settings.checksum

    @property
    def signs_payload(self) -> bool:
        """Whether a SHA-256 computed in a thread saves the client from computing it on the loop."""
        return self.conn.signs_payload and self.conn.settings.fast_path

    @property
    def lacks_content_hash(self) -> bool:
        """Whether the caller gave no `content-hash` metadata; what the caller gave is stored as it is."""
        return CONTENT_HASH not in self.write.metadata

    def with_content_hash(self, sha256_hex: str | None) -> Transfer:
        """The same with `content-hash` metadata, unless there is one or *sha256_hex* is not known."""
        if sha256_hex is None or not self.lacks_content_hash:
            return self
        return replace(self, write=self.write.with_metadata({CONTENT_HASH: sha256_hex}))

    async def digested(self, data: PartData) -> tuple[PartData, Digest]:
        """*data* and its digests, as `PartSender` wants them."""
        return data, await digest(data, checksum=self.checksum, sha256=self.signs_payload)


def prepare_transfer(
    conn: Connection,
    bucket: str,
    key: str,
    options: WriteOptions,
    *,
    part_size: int | None = None,
    concurrency: int | None = None,
    default_content_type: str | None = None,
) -> Transfer:
    """
    A transfer with checked options and limits, completed by the settings.

    S3InvalidRequestError for a concurrency below 1, a part size S3 does not take, or options it would
    refuse.
    """
    write = prepare_write(conn.settings, key, options, default_content_type=default_content_type)
    if part_size is None:
        part_size = conn.settings.part_size
    else:
        check_part_size(part_size)
    if concurrency is None:
        concurrency = conn.settings.transfer_concurrency
    elif concurrency < 1:
        raise S3InvalidRequestError(
            f"concurrency is {concurrency}", remedy="Pass at least 1: one part must be on its way."
        )
    return Transfer(conn, bucket, write, part_size, concurrency)
