"""One file out of a multipart/form-data body, as it arrives: nothing is spooled. Source: RFC 7578."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ._names import media_type
from ._problems import UploadRefusedError

OVERHEAD: Final = 256 * 1024
"""What a form may hold beside its file: boundaries, part headers, fields; in bytes."""
_FIELDS_BYTES: Final = 64 * 1024
_HEADER_BYTES: Final = 16 * 1024
_PARTS: Final = 64
_LONGEST_BOUNDARY: Final = 70


class FormFile:
    """
    The only file of a form: `await open()` gives its type, then `async for` its bytes, to the form's end.

    Memory: the piece that arrived, and at most 64 KiB of other fields. `fields` is complete after the last
    byte. Raises `UploadRefusedError` 400 for a broken, 413 for an overlong form, 422 for no file or two.
    """

    def __init__(self, pieces: AsyncIterator[bytes], content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
            raise _broken("it names no boundary of 1 to 70 characters")
        self._pieces = pieces
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._part_ends,
                "on_end": self._form_ends,
            },
        )
        self.filename = ""
        self.content_type = "application/octet-stream"
        self.fields: dict[str, str] = {}
        self._found = self._in_file = self._ended = False
        self._parts = self._field_bytes = self._header_bytes = 0
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._field, self._text = "", bytearray()
        self._ready: list[bytes] = []

    async def open(self) -> None:
        """Read up to the file's first byte: `filename` and `content_type` are known then."""
        while not self._found:
            if not await self._feed():
                raise UploadRefusedError(422, "no-file", "The form has no file", remedy="Choose a file.")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            ready, self._ready = self._ready, []
            for piece in ready:
                yield piece
            if not await self._feed():
                return

    async def _feed(self) -> bool:
        """Parse the next piece; false at the end of a whole form."""
        piece = await anext(self._pieces, None)
        if piece is None:
            if not self._ended:
                raise _broken("it ends before its last boundary")
            return False
        if self._ended:
            return True  # an epilogue says nothing (RFC 2046, 5.1.1)
        try:
            self._parser.write(piece)
        except FormParserError as exc:
            raise _broken("its parts cannot be told apart") from exc
        return True

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise _too_long(f"more than {_PARTS} parts")
        self._headers = {}
        self._header_bytes = 0
        self._name, self._value = b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _HEADER_BYTES:
            raise _too_long(f"part headers of more than {_HEADER_BYTES} bytes")

    def _header_ends(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _headers_end(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"").decode("latin-1")
        kind, options = parse_options_header(disposition)
        if kind != b"form-data":
            raise _broken("a part is no form-data")
        self._in_file = b"filename" in options
        self._field, self._text = options.get(b"name", b"").decode(errors="replace"), bytearray()
        if not self._in_file:
            return
        name = options[b"filename"].decode(errors="replace").replace("%22", '"')
        if not name:
            raise UploadRefusedError(422, "no-file", "No file was chosen", remedy="Choose a file.")
        if self._found:
            raise UploadRefusedError(
                422, "two-files", "The form has more than one file", remedy="Send one file a request."
            )
        self._found = True
        self.filename = name
        stated = self._headers.get(b"content-type", b"").decode("latin-1")
        self.content_type = media_type(stated) or self.content_type

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._ready.append(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > _FIELDS_BYTES:
            raise _too_long(f"fields of more than {_FIELDS_BYTES} bytes")
        self._text += data[start:end]

    def _part_ends(self) -> None:
        if not self._in_file:
            self.fields[self._field] = self._text.decode(errors="replace")
        self._in_file = False

    def _form_ends(self) -> None:
        self._ended = True


def _broken(why: str) -> UploadRefusedError:
    return UploadRefusedError(
        400, "broken-form", f"The form cannot be read: {why}", remedy="Send it as multipart/form-data."
    )


def _too_long(what: str) -> UploadRefusedError:
    return UploadRefusedError(413, "form-too-large", f"The form has {what} beside its file")
