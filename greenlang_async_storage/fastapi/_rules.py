"""What a browser may upload, and into how many parts it goes."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ._names import is_allowed
from ._problems import UploadRefusedError

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
MAX_PARTS: Final = 10_000
MIN_PART_SIZE: Final = 5 * MIB
MAX_PART_SIZE: Final = 5 * GIB
_TENANT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRules:
    """
    What uploads may be; the defaults suit files of people. Sizes in bytes; a bad value is a `ValueError`.

    `content_types` such as `{"application/pdf", "image/*"}`; `None` takes every type.
    """

    max_size: int = 5 * GIB
    content_types: Collection[str] | None = None
    post_up_to: int = 16 * MIB
    """Larger files go in parts, which can be resumed; at most 5 GiB."""
    part_size: int = 16 * MIB
    """At least 5 MiB; grows so that 10,000 parts are enough."""
    url_expires_in: timedelta = timedelta(minutes=15)
    """How long one signed request may be started; signed anew for an upload that goes on."""
    upload_expires_in: timedelta = timedelta(hours=24)
    """How long an upload may be resumed and confirmed; `abort_stale_uploads` removes older ones."""
    verify_up_to: int = GIB
    """Up to this size a checksum the client states is compared with the stored bytes, by reading them."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_size <= MAX_PARTS * MAX_PART_SIZE:
            raise ValueError(f"max_size {self.max_size} is not within 1 byte to 50,000 GiB")
        if not 0 <= self.post_up_to <= 5 * GIB:
            raise ValueError(f"post_up_to {self.post_up_to} is not within 0 to 5 GiB, S3's limit of a form")
        if not MIN_PART_SIZE <= self.part_size <= MAX_PART_SIZE:
            raise ValueError(
                f"part_size {self.part_size} is not within 5 MiB to 5 GiB, S3's limits of a part"
            )
        if not timedelta(seconds=1) <= self.url_expires_in <= timedelta(days=7):
            raise ValueError(f"url_expires_in {self.url_expires_in} is not within 1 second to 7 days")
        if self.upload_expires_in < self.url_expires_in:
            raise ValueError("upload_expires_in is shorter than url_expires_in")

    def check(self, size: int, content_type: str) -> None:
        """Raise `UploadRefusedError` 413 or 415 unless such a file may be sent."""
        if size > self.max_size:
            raise UploadRefusedError(
                413,
                "too-large",
                f"The file has {size:,} bytes; at most {self.max_size:,} are allowed",
                remedy="Choose a smaller file.",
            )
        allowed = self.content_types
        if allowed is not None and not is_allowed(content_type, frozenset(item.lower() for item in allowed)):
            raise UploadRefusedError(
                415,
                "type-not-allowed",
                f"Files of the type {content_type} are not taken",
                remedy=f"Allowed: {', '.join(sorted(allowed))}.",
            )

    def part_size_for(self, size: int) -> int:
        """Bytes of every part but the last of a file of *size* bytes, in whole MiB where it had to grow."""
        needed = -(-size // MAX_PARTS)
        return max(self.part_size, -(-needed // MIB) * MIB)


def checked_tenant(tenant: object) -> str:
    """*tenant* as one segment of a key: letters, digits, `.`, `_`, `-`, at most 64, no dot at either end."""
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise UploadRefusedError(
            403, "tenant", "The tenant of this request is not valid", remedy="Sign in again."
        )
    return tenant
