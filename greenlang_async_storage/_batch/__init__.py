"""Many uploads, downloads and deletes with an outcome per item."""

from __future__ import annotations

from ._deletes import delete_many
from ._downloads import download_many, stream_downloads
from ._target import BatchTarget
from ._uploads import stream_uploads, upload_many

__all__ = ["BatchTarget", "delete_many", "download_many", "stream_downloads", "stream_uploads", "upload_many"]
