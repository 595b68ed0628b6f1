"""The streaming body of GetObject: aiobotocore's own body classes over a response of our transport."""

from __future__ import annotations

from binascii import a2b_base64

from aiobotocore.httpchecksum import StreamingChecksumBody
from aiobotocore.response import StreamingBody
from botocore.httpchecksum import _CHECKSUM_CLS

from greenlang_async_storage.fastpath._botocore import Untyped
from greenlang_async_storage.fastpath._wire import Buffer, WireResponse
from greenlang_async_storage.fastpath.transport._raw import RawResponse
from greenlang_async_storage.fastpath.transport._response import WholeResponse

# aiobotocore 2.x makes its bodies proxies of the response; a proxy's own attributes start with `_self_`.
_IS_PROXY = any(base.__name__ == "ObjectProxy" for base in StreamingBody.__mro__)
_PREFIX = "_self" if _IS_PROXY else ""
_AMOUNT = f"{_PREFIX}_amount_read"
_LENGTH = f"{_PREFIX}_content_length"
_UNCHECKED = f"{_PREFIX}_unchecked"
_DIGEST = f"{_PREFIX}_digest"
_WIRE = f"{_PREFIX}_wire"


class PlainBody(StreamingBody):  # type: ignore[misc]
    """A body botocore would not check, with what the layers above need beside aiobotocore's methods."""

    async def read(self, amt: int | None = None) -> bytes:
        """At most *amt* bytes, all of the rest without it."""
        if amt is None and (data := _at_once(self)) is not None:
            return data
        rest: bytes = await super().read(amt)
        return rest

    @property
    def bytes_received(self) -> int:
        """Bytes that have arrived so far, those of a read under way included."""
        wire: WireResponse = getattr(self, _WIRE)
        return wire.received

    def take_whole(self, length: int | None) -> bytes | None:
        """The body, unchecked, when all of its *length* bytes came with the head and none was read yet."""
        wire: WireResponse = getattr(self, _WIRE)
        return wire.take(length) if type(wire) is WholeResponse else None

    async def readinto(self, b: Buffer) -> int:
        """As many bytes as *b* holds, received straight into it; fewer only at the end, 0 after it."""
        # Released when we leave: a view that lives on in a traceback would keep its buffer from being freed.
        with memoryview(b) as whole, whole.cast("B") as view:
            count = await _receive(self, view)
            if count == 0 and view.nbytes:
                self._verify_content_length()
        return count

    async def readany(self) -> bytes:
        """Whatever has arrived, waiting for at least one byte; `b""` at the end."""
        data = await _arrived(self)
        if not data:
            self._verify_content_length()
        return data

    def disable_validation(self) -> None:
        """Leave checksums to the caller: there is none here; the length is still checked."""


class CheckedBody(StreamingChecksumBody):  # type: ignore[misc]
    """The same, with the check of the checksum that came in the headers at the end of the body."""

    def __init__(self, raw: RawResponse, length: str | None, digest: Untyped, expected: str | None) -> None:
        # StreamingChecksumBody sets the same, where its body is a proxy on what that stands for.
        owner: Untyped = raw if _IS_PROXY else self
        owner._checksum = digest
        owner._expected = expected
        StreamingBody.__init__(self, raw, length)
        setattr(self, _DIGEST, (digest, expected))

    async def read(self, amt: int | None = None) -> bytes:
        """
        At most *amt* bytes, all of the rest without it; FlexibleChecksumError at the end of a body that
        differs.
        """
        checked = not getattr(self, _UNCHECKED)
        if amt is None and (data := _at_once(self)) is not None:
            if checked:
                # A proxy's way to attributes that are not its own is long.
                digest, expected = getattr(self, _DIGEST)
                digest.update(data)
                if digest.digest() != a2b_base64(expected):
                    self._validate_checksum()
            return data
        base = StreamingChecksumBody if checked else StreamingBody
        rest: bytes = await base.read(self, amt)
        return rest

    @property
    def bytes_received(self) -> int:
        """Bytes that have arrived so far, those of a read under way included."""
        wire: WireResponse = getattr(self, _WIRE)
        return wire.received

    def take_whole(self, length: int | None) -> bytes | None:
        """The body, unchecked, when all of its *length* bytes came with the head and none was read yet."""
        wire: WireResponse = getattr(self, _WIRE)
        return wire.take(length) if type(wire) is WholeResponse else None

    async def readinto(self, b: Buffer) -> int:
        """As many bytes as *b* holds, received straight into it; fewer only at the end, 0 after it."""
        with memoryview(b) as whole, whole.cast("B") as view:
            count = await _receive(self, view)
            with view[:count] as received:
                self._check(received, ended=count == 0 and view.nbytes > 0)
        return count

    async def readany(self) -> bytes:
        """Whatever has arrived, waiting for at least one byte; `b""` at the end."""
        data = await _arrived(self)
        self._check(data, ended=not data)
        return data

    def disable_validation(self) -> None:
        """
        Leave the checksum to the caller, who verifies it; the length is still checked. Call it before any
        read.
        """
        setattr(self, _UNCHECKED, True)

    def _check(self, data: Buffer, *, ended: bool) -> None:
        checked = not getattr(self, _UNCHECKED)
        if checked:
            self._checksum.update(data)
        if ended:
            self._verify_content_length()
            if checked:
                self._validate_checksum()


# Of the class until `disable_validation` sets it on a body: what few bodies need costs the others nothing.
setattr(CheckedBody, _UNCHECKED, False)


def streamed_body(
    raw: RawResponse, wire: WireResponse, length: str | None, algorithm: str | None, expected: str | None
) -> PlainBody | CheckedBody:
    """The installed aiobotocore's body for *raw*, which reads *wire*, with botocore's check."""
    body: Untyped
    if algorithm is None:
        body = PlainBody(raw, length)
    else:
        body = CheckedBody(raw, length, _CHECKSUM_CLS[algorithm](), expected)
    setattr(body, _WIRE, wire)
    found: PlainBody | CheckedBody = body
    return found


def _at_once(body: Untyped) -> bytes | None:
    """All of a body of which nothing was read yet, when it came whole with its head."""
    wire = getattr(body, _WIRE)
    length = getattr(body, _LENGTH)
    if type(wire) is not WholeResponse or length is None or not length.isdecimal():
        return None
    data = wire.take(int(length))
    if data is not None:
        setattr(body, _AMOUNT, len(data))
    return data


async def _receive(body: Untyped, view: memoryview) -> int:
    content = (body.__wrapped__ if _IS_PROXY else body._raw_stream).content
    count = 0
    if content._rest:  # left over from `content.readline()`
        rest = await content.read(view.nbytes)
        count = len(rest)
        view[:count] = rest
    if count < view.nbytes:
        wire: WireResponse = getattr(body, _WIRE)
        with view[count:] as rest:
            count += await wire.readinto(rest)
        content._eof = count < view.nbytes
    setattr(body, _AMOUNT, getattr(body, _AMOUNT) + count)
    return count


async def _arrived(body: Untyped) -> bytes:
    content = (body.__wrapped__ if _IS_PROXY else body._raw_stream).content
    data: bytes = await content.readany()
    setattr(body, _AMOUNT, getattr(body, _AMOUNT) + len(data))
    return data
