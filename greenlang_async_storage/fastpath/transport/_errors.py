"""What can go wrong on the wire, and the botocore class each case is told as.

Inside the package failures are the small classes below, which know nothing of URLs. `to_botocore` turns them
into the classes aiobotocore's own session raises, with its fields (`endpoint_url`, `error`, `request`):

| on the wire | botocore class |
|---|---|
| name not found, refused, unreachable | `EndpointConnectionError`: nothing was sent |
| no connection, TLS included, within the connect timeout | `ConnectTimeoutError`: nothing was sent |
| no slot of the pool became free | `PoolTimeoutError`, a `ConnectTimeoutError`: nothing was sent |
| certificate or TLS handshake refused | `SSLError`: nothing was sent |
| closed or reset before the reply | `ConnectionClosedError` |
| no byte within the read timeout | `ReadTimeoutError` |
| not HTTP, head too large, TLS files that cannot be loaded, a body source that failed | `HTTPClientError` |
| body shorter than announced, or reset while it arrives | `TruncatedBodyError` |
| no byte of the body within the read timeout | aiobotocore's `AioReadTimeoutError` |

A reset after the request went out is always `ConnectionClosedError`. (aiobotocore says
`EndpointConnectionError` there, which hides that the server may have acted on the request.)
"""

from __future__ import annotations

import re
import ssl

import aiohttp
from aiobotocore.response import AioReadTimeoutError
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)

from greenlang_async_storage.fastpath._wire import Origin

_SECRET_QUERY = re.compile(
    r"(?i)([?&](?:x-amz-(?:signature|credential|security-token)|signature|awsaccesskeyid)=)[^&#]*",
)
_USER_INFO = re.compile(r"(?<=://)[^/?#@]*@")


class WireError(Exception):
    """A failure inside the transport, before it is told in botocore's terms."""


class ConnectionLostError(WireError):
    """The server closed or reset the connection before its reply was complete."""


class StalledError(WireError):
    """The server sent nothing, and took nothing, for the read timeout."""


class BadResponseError(WireError):
    """What arrived is not an HTTP/1.1 response this transport accepts."""


class ConnectTimedOutError(WireError):
    """No usable connection came into being within the connect timeout."""


class NoFreeConnectionError(WireError):
    """Every slot of the pool stayed taken for the pool timeout."""


class SessionClosedError(WireError):
    """The session, or the response, was closed before this."""


class TLSSetupError(WireError):
    """The authorities or the client certificate could not be loaded."""


class BodySourceError(WireError):
    """The body of the request could not be read, or has another length than was announced."""


class PoolTimeoutError(ConnectTimeoutError):  # type: ignore[misc]
    """No connection of the pool became free in time; nothing was sent."""

    fmt = (
        'No free connection for endpoint URL: "{endpoint_url}": {error} '
        "Close response bodies, or raise max_pool_connections or the pool timeout."
    )


class TruncatedBodyError(ConnectionClosedError, aiohttp.ClientPayloadError):  # type: ignore[misc]
    """
    The connection ended, or broke HTTP, before the whole body had arrived.

    Both what aiobotocore raises here (`aiohttp.ClientPayloadError`) and what botocore's retry rules know
    (`ConnectionClosedError`). `received` and `expected` count bytes of the body; `expected` is None when
    the response did not announce a length.
    """

    fmt = "Response body is not complete: received {received} of {expected} bytes. {error}"

    def __init__(
        self,
        request: object = None,
        response: object = None,
        *,
        received: int = 0,
        expected: int | None = None,
        error: object = "",
    ) -> None:
        told = "an unknown number of" if expected is None else expected
        HTTPClientError.__init__(self, request, response, received=received, expected=told, error=error)
        self.kwargs = {"received": received, "expected": expected, "error": error}
        self.received = received
        self.expected = expected


def safe_url(url: str) -> str:
    """*url* fit for messages and logs: user info, signatures and tokens replaced by `***`."""
    return _SECRET_QUERY.sub(r"\1***", _USER_INFO.sub("", url))


def url_of(origin: Origin, target: str) -> str:
    """The URL of *target* on *origin*, for messages."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if origin.port == {"http": 80, "https": 443}.get(origin.scheme) else f":{origin.port}"
    return f"{origin.scheme}://{host}{port}{target}"


def body_error(error: WireError, url: str, received: int, expected: int | None) -> Exception:
    """The exception a read of a body raises for *error*, after *received* bytes."""
    if isinstance(error, StalledError):
        return _made(AioReadTimeoutError, endpoint_url=safe_url(url), error=error)
    return TruncatedBodyError(received=received, expected=expected, error=error)


def to_botocore(error: BaseException, url: str, request: object = None) -> Exception:
    """The exception to raise for *error*; the caller chains it with `from`."""
    url = safe_url(url)
    match error:
        case ConnectionLostError():
            return _made(ConnectionClosedError, error=error, request=request, endpoint_url=url)
        case StalledError():
            return _made(ReadTimeoutError, endpoint_url=url, error=error)
        case NoFreeConnectionError():
            return _made(PoolTimeoutError, endpoint_url=url, error=error)
        case ConnectTimedOutError():
            return _made(ConnectTimeoutError, endpoint_url=url, error=error)
        case ssl.SSLError():
            return _made(SSLError, endpoint_url=url, error=error)
        case OSError():
            return _made(EndpointConnectionError, endpoint_url=url, error=error)
        case _:
            return _made(HTTPClientError, error=error)


def _made(kind: type[Exception], **fields: object) -> Exception:
    return kind(**fields)
