"""Uploads: bytes, values, files and streams, each as one request or as an upload in parts."""

from __future__ import annotations

from ._api import upload_bytes, upload_file, upload_json, upload_stream

__all__ = ["upload_bytes", "upload_file", "upload_json", "upload_stream"]
