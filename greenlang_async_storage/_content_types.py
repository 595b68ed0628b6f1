"""Content types by file extension: one table, so that every machine and Python answers alike."""

from __future__ import annotations

from typing import Final

DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"

# Python's `mimetypes` is not asked: it reads system files, so its answers differ from machine to machine.
# `x.csv.gz` is gzip, with no Content-Encoding: browsers would unpack it and so change the bytes.
_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
_TYPES: Final[dict[str, str]] = {
    "7z": "application/x-7z-compressed",
    "arrow": "application/vnd.apache.arrow.file",
    "arrows": "application/vnd.apache.arrow.stream",
    "avif": "image/avif",
    "avro": "application/avro",
    "bmp": "image/bmp",
    "bz2": "application/x-bzip2",
    "css": "text/css",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": f"{_OFFICE}.wordprocessingml.document",
    "eml": "message/rfc822",
    "epub": "application/epub+zip",
    "feather": "application/vnd.apache.arrow.file",
    "geojson": "application/geo+json",
    "gif": "image/gif",
    "gz": "application/gzip",
    "h5": "application/x-hdf5",
    "hdf5": "application/x-hdf5",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/vnd.microsoft.icon",
    "ics": "text/calendar",
    "ipynb": "application/x-ipynb+json",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "jsonld": "application/ld+json",
    "log": "text/plain",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "nc": "application/x-netcdf",
    "ndjson": "application/x-ndjson",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "ogg": "audio/ogg",
    "orc": "application/x-orc",
    "parquet": "application/x-parquet",
    "pdf": "application/pdf",
    "png": "image/png",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": f"{_OFFICE}.presentationml.presentation",
    "rtf": "application/rtf",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tgz": "application/gzip",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "toml": "application/toml",
    "tsv": "text/tab-separated-values",
    "txt": "text/plain",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
    "xls": "application/vnd.ms-excel",
    "xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    "xml": "application/xml",
    "xz": "application/x-xz",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}


def guess_content_type(key: str) -> str:
    """The content type of *key*'s extension, whatever its case; `application/octet-stream` for any other."""
    stem, dot, extension = key.rpartition("/")[2].rpartition(".")
    if not dot or not stem:
        return DEFAULT_CONTENT_TYPE
    return _TYPES.get(extension.lower(), DEFAULT_CONTENT_TYPE)
