"""What a browser is given to go on with its upload: signed, so that nobody can make or change one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from dataclasses import asdict, dataclass
from typing import Final

from greenlang_async_storage import MultipartUpload

from ._problems import UploadRefusedError

MIN_SECRET_BYTES: Final = 32
_PURPOSE: Final = b"greenlang upload handle 1\0"


@dataclass(frozen=True, slots=True)
class Ticket:
    """One upload on its way: all the service needs to know of it, so that any process may go on with it."""

    tenant: str
    bucket: str
    key: str
    """The whole key."""
    name: str
    size: int
    content_type: str
    expires_at: int
    """Seconds since 1970."""
    upload_id: str = ""
    """Of the multipart upload; empty for a form."""
    token: str = ""
    part_size: int = 0

    @property
    def upload(self) -> MultipartUpload:
        """The multipart upload it is about."""
        return MultipartUpload(self.bucket, self.key, self.upload_id, token=self.token)

    @property
    def parts(self) -> int:
        """How many parts the file goes in."""
        return -(-self.size // self.part_size) if self.part_size else 0

    def length(self, number: int) -> int:
        """Bytes of part *number*, from 1."""
        return min(self.part_size, self.size - (number - 1) * self.part_size)


class Signer:
    """Tickets as text and back: base64url JSON and an HMAC-SHA256 over it."""

    def __init__(self, secret: str | bytes) -> None:
        raw = secret.encode() if isinstance(secret, str) else bytes(secret)
        if len(raw) < MIN_SECRET_BYTES:
            raise ValueError(
                f"the secret has {len(raw)} bytes; give at least {MIN_SECRET_BYTES} random ones, the same in "
                "every process: secrets.token_hex(32)"
            )
        self._secret = raw

    def seal(self, ticket: Ticket) -> str:
        """The handle a client keeps."""
        payload = json.dumps(asdict(ticket), ensure_ascii=False, separators=(",", ":")).encode()
        return f"{_encoded(payload)}.{_encoded(self._mac(payload))}"

    def open(self, handle: str, tenant: str, bucket: str) -> Ticket:
        """
        The ticket of *handle*, when it was sealed here, for *tenant* and *bucket*, and has not expired.

        Raises `UploadRefusedError`: 403 for any other, the same whether it was forged or is another tenant's;
        410 for one that has expired.
        """
        try:
            payload, mac = (_decoded(part) for part in handle.split("."))
        except (ValueError, binascii.Error):
            raise _foreign() from None
        if not hmac.compare_digest(mac, self._mac(payload)):
            raise _foreign()
        ticket = Ticket(**json.loads(payload))
        if (ticket.tenant, ticket.bucket) != (tenant, bucket):
            raise _foreign()
        if ticket.expires_at < time.time():
            raise UploadRefusedError(
                410, "upload-expired", "This upload has expired", remedy="Start it again."
            )
        return ticket

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, _PURPOSE + payload, hashlib.sha256)


def _foreign() -> UploadRefusedError:
    return UploadRefusedError(
        403, "unknown-upload", "There is no such upload of yours", remedy="Start it again."
    )


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
