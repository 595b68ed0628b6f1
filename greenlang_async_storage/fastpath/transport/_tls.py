"""TLS contexts as botocore configures them, with the host name checked."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TypeAlias

from botocore.httpsession import create_urllib3_context, get_cert_path

from greenlang_async_storage.fastpath.transport._errors import TLSSetupError

Verify: TypeAlias = bool | str | None
"""botocore's `verify`."""
ClientCertificate: TypeAlias = str | tuple[str, str] | None
"""botocore's `client_cert`."""


def build_context(verify: Verify, client_cert: ClientCertificate) -> ssl.SSLContext:
    """
    A client context for botocore's *verify* (True: certifi's authorities; a path: a PEM file, or a directory
    of hashed certificates; False: nothing is checked) and *client_cert* (a PEM file, or certificate and key).

    Reads files and parses the authorities, which takes tens of milliseconds: not for the event loop's thread.
    Host name and chain are checked, and TLS is 1.2 or later; with ``verify=False`` only the latter holds.
    """
    context: ssl.SSLContext = create_urllib3_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify:
        context.check_hostname = True
        authorities = get_cert_path(verify)
        if authorities and Path(authorities).is_dir():
            context.load_verify_locations(capath=authorities)
        elif authorities:
            context.load_verify_locations(cafile=authorities)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if isinstance(client_cert, str):
        context.load_cert_chain(client_cert)
    elif client_cert:
        context.load_cert_chain(*client_cert)
    return context


def ended_on_purpose(transport: asyncio.BaseTransport | None) -> bool:
    """
    Whether the end of the stream was sent by the server: over TLS, whether its close_notify has arrived.

    Anybody on the way can close the connection under TLS. A body without a length must not pass for complete
    then (RFC 9112, section 9.8), and asyncio reports both ends alike.
    """
    tls: ssl.SSLObject | None = None if transport is None else transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return tls.read(1) == b""
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False


class TLSContexts:
    """One context per session, built in a thread when the first https request needs it."""

    def __init__(
        self,
        verify: Verify,
        client_cert: ClientCertificate,
        given: ssl.SSLContext | None = None,
    ) -> None:
        self._verify = verify
        self._client_cert = client_cert
        self._context = given
        self._building: asyncio.Future[ssl.SSLContext] | None = None

    async def get(self) -> ssl.SSLContext:
        """The context; callers that come while it is built share the work; a failed build is tried again."""
        if self._context is not None:
            return self._context
        building = self._building
        if building is None or building.get_loop() is not asyncio.get_running_loop():
            building = asyncio.get_running_loop().run_in_executor(
                None,
                build_context,
                self._verify,
                self._client_cert,
            )
            building.add_done_callback(self._built)
            self._building = building
        # Shielded: a caller that is cancelled takes nothing from the others.
        try:
            return await asyncio.shield(building)
        except Exception as error:
            raise TLSSetupError(
                f"the TLS files (verify={self._verify!r}, client certificate) cannot be used: {error}",
            ) from error

    def _built(self, building: asyncio.Future[ssl.SSLContext]) -> None:
        self._building = None
        if not building.cancelled() and building.exception() is None:
            self._context = building.result()
