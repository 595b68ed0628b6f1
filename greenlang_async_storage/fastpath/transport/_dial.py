"""From an origin to a connection: name lookup, every address in turn, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable
from itertools import chain, count, zip_longest
from typing import Any, Final, Protocol, TypeAlias

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport._connection import Connection
from greenlang_async_storage.fastpath.transport._errors import ConnectTimedOutError
from greenlang_async_storage.fastpath.transport._pool import Pool
from greenlang_async_storage.fastpath.transport._tls import TLSContexts

Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]
SocketOption: TypeAlias = tuple[int, int, int | bytes]

DNS_TTL: Final = 10.0
"""Seconds a name's addresses are remembered, as in aiohttp."""


class Resolver(Protocol):
    """aiohttp's `AbstractResolver`, as `connector_args` may name one."""

    async def resolve(self, host: str, port: int, family: socket.AddressFamily) -> list[Any]:
        """Dicts with `host`, `port` and `family`."""
        ...


class Dialer:
    """
    Opens connections within *connect_timeout* seconds each (None: no limit), lookup and TLS included.

    Several addresses are tried in turn, families interleaved; each may take its equal share of the time left.
    Successive connections start at successive addresses, so that they spread over a service's servers.
    """

    def __init__(
        self,
        tls: TLSContexts,
        *,
        connect_timeout: float | None,
        socket_options: Iterable[SocketOption] = (),
        resolver: Resolver | None = None,
        dns_ttl: float | None = DNS_TTL,
    ) -> None:
        self._tls = tls
        self._timeout = connect_timeout
        self._options = tuple(socket_options)
        self.resolver = resolver
        self._ttl = dns_ttl
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}
        self._lookups: dict[tuple[str, int], asyncio.Task[list[Address]]] = {}
        self._turn = count()

    async def __call__(self, origin: Origin, pool: Pool) -> Connection:
        """A connection of *pool* to *origin*; raises OSError, ssl.SSLError or ConnectTimedOutError."""
        loop = asyncio.get_running_loop()
        context = await self._tls.get() if origin.scheme == "https" else None
        sock: socket.socket | None = None
        try:
            async with asyncio.timeout(self._timeout) as limit:
                sock = await self._reach(loop, origin, limit)
                connection = Connection(pool, origin, loop, sock)
                pool.made(connection)
                try:
                    await loop.create_connection(
                        lambda: connection,
                        sock=sock,
                        ssl=context,
                        server_hostname=origin.host.rstrip(".") if context else None,
                    )
                except BaseException:
                    connection.close()
                    pool.gone(connection)
                    raise
                return connection
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, TimeoutError):
                raise ConnectTimedOutError(f"no connection within {self._timeout} s") from error
            raise

    async def _reach(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, limit: asyncio.Timeout
    ) -> socket.socket:
        addresses = await self._addresses(loop, origin)
        failures: list[OSError] = []
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            deadline = limit.when()
            share = None if deadline is None else (deadline - loop.time()) / left
            try:
                async with asyncio.timeout(share):
                    return await self._open(loop, address)
            except OSError as error:
                failures.append(error)
        self._known.pop((origin.host, origin.port), None)
        if not failures:
            raise OSError(f"{origin.host} has no address")
        raise failures[0] if len(failures) == 1 else _worst(failures)

    async def _open(self, loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
        family, target = address
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
            for level, name, value in self._options:
                sock.setsockopt(level, name, value)
            await loop.sock_connect(sock, target)
        except BaseException:
            sock.close()
            raise
        return sock

    # Names.

    async def _addresses(self, loop: asyncio.AbstractEventLoop, origin: Origin) -> list[Address]:
        key = (origin.host, origin.port)
        if (literal := _literal(*key)) is not None:
            return [literal]
        known = self._known.get(key)
        if known is None or known[0] <= loop.time():
            lookup = self._lookups.get(key)
            if lookup is None or lookup.get_loop() is not loop:
                lookup = loop.create_task(self._look_up(loop, *key))
                self._lookups[key] = lookup
                lookup.add_done_callback(self._forget(key))
            # Shielded: callers share one lookup, and one that is cancelled takes nothing from the others.
            found = await asyncio.shield(lookup)
        else:
            found = known[1]
        return _in_turn(found, next(self._turn))

    async def _look_up(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Address]:
        found: list[Address]
        if self.resolver is not None:
            hosts = await self.resolver.resolve(host, port, socket.AF_UNSPEC)
            found = [(entry["family"], (entry["host"], entry["port"])) for entry in hosts]
        else:
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            found = [(family, target) for family, _, _, _, target in infos]
        if self._ttl is None or self._ttl > 0:
            until = float("inf") if self._ttl is None else loop.time() + self._ttl
            self._known[host, port] = (until, found)
        return found

    def _forget(self, key: tuple[str, int]) -> Callable[[asyncio.Task[list[Address]]], None]:
        def done(lookup: asyncio.Task[list[Address]]) -> None:
            self._lookups.pop(key, None)
            if not lookup.cancelled():
                lookup.exception()  # told to those who wait; when all were cancelled, to nobody

        return done


def _literal(host: str, port: int) -> Address | None:
    """The address when *host* is one already: no lookup, no thread."""
    with contextlib.suppress(OSError, ValueError):
        socket.inet_pton(socket.AF_INET, host)
        return socket.AF_INET, (host, port)
    with contextlib.suppress(OSError, ValueError):
        socket.inet_pton(socket.AF_INET6, host)
        return socket.AF_INET6, (host, port, 0, 0)
    return None


def _in_turn(addresses: list[Address], turn: int) -> list[Address]:
    """*addresses*, each family rotated by *turn*, families alternating; the resolver's first family first."""
    if len(addresses) < 2:
        return addresses
    first = addresses[0][0]
    groups = ([a for a in addresses if a[0] == first], [a for a in addresses if a[0] != first])
    rotated = [group[turn % len(group) :] + group[: turn % len(group)] for group in groups if group]
    return [address for address in chain.from_iterable(zip_longest(*rotated)) if address is not None]


def _worst(failures: list[OSError]) -> OSError:
    """One error for several addresses: refusals outrank timeouts, since they are the surer answer."""
    told = "; ".join(str(failure) or type(failure).__name__ for failure in failures)
    if all(isinstance(failure, TimeoutError) for failure in failures):
        return TimeoutError(f"every address timed out: {told}")
    return OSError(f"no address could be reached: {told}")
