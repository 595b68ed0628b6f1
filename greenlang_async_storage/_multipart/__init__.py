"""The multipart verbs of S3, and the proof of what a lost reply hides."""

from __future__ import annotations

from ._abort import abandon, abort, abort_or_count
from ._arguments import ChecksumArgs, body_of, checksum_args
from ._complete import complete
from ._create import create
from ._given import complete_for_others, create_for_others, whole_checksum
from ._parts import is_open, list_parts, nbytes, upload_part
from ._proof import Written, prove
from ._stale import abort_stale_uploads

__all__ = [
    "ChecksumArgs",
    "Written",
    "abandon",
    "abort",
    "abort_or_count",
    "abort_stale_uploads",
    "body_of",
    "checksum_args",
    "complete",
    "complete_for_others",
    "create",
    "create_for_others",
    "is_open",
    "list_parts",
    "nbytes",
    "prove",
    "upload_part",
    "whole_checksum",
]
