"""Where `Bucket` finds the sweep of unfinished uploads."""

from __future__ import annotations

from ._multipart import abort_stale_uploads as abort_stale_uploads
