"""The connections of a session: so many in all, first come first served, each deadline kept by one timer."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport._connection import Connection
from greenlang_async_storage.fastpath.transport._errors import NoFreeConnectionError, SessionClosedError
from greenlang_async_storage.fastpath.transport._memory import keep_freed_memory
from greenlang_async_storage.fastpath.transport._sending import NEVER

SCRATCH: Final = 262_144
"""Bytes received at a time when no reader offers its own buffer."""
ORIGINS: Final = 256
"""Origins remembered before those without an idle connection are forgotten."""
CLOSE_WAIT: Final = 1.0
"""Seconds `Pool.aclose` waits for the event loop to close the sockets it aborted."""


class Dial(Protocol):
    """What opens connections."""

    async def __call__(self, origin: Origin, pool: Pool) -> Connection:
        """A connection to *origin*, ready for its first request."""
        ...


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A pool at one moment."""

    limit: int
    in_use: int
    """Slots held by requests, open bodies, and connections being made."""
    idle: int
    """Open connections that wait for a request."""
    waiting: int
    """Requests that wait for a slot."""
    opened: int
    """Connections opened since the start."""
    replaced: int
    """Requests sent again because their kept-alive connection had been closed by the server."""


class Pool:
    """
    At most *limit* connections over all origins.

    A request that finds no slot waits in line; it fails when for *pool_timeout* seconds neither it nor
    anybody before it got one: a busy pool lets everyone through in turn, a stuck one does not hang its
    callers. Idle connections close after *keepalive* seconds, and earlier when another origin needs the slot.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        limit: int | None,
        keepalive: float,
        read_timeout: float,
        pool_timeout: float,
    ) -> None:
        self._dial = dial
        self._limit = limit or sys.maxsize
        self._keepalive = keepalive
        self.read_timeout = read_timeout
        self.pool_timeout = pool_timeout
        self.scratch = bytearray(SCRATCH)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = 0
        self._active: set[Connection] = set()
        self._idle: dict[Origin, deque[Connection]] = {}
        self._idle_count = 0
        self._waiters: deque[_Waiter] = deque()
        self._last_grant = 0.0
        self._sockets: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._closed = False
        self._all_gone: asyncio.Future[None] | None = None
        self.opened = 0
        self.replaced = 0

    def statistics(self) -> PoolStatistics:
        """The pool at this moment."""
        idle = self._idle_count
        waiting = sum(not waiter.granted.done() for waiter in self._waiters)
        return PoolStatistics(self._limit, self._slots - idle, idle, waiting, self.opened, self.replaced)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve *loop* from now on; connections of a loop that was closed are forgotten."""
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed() and self._slots:
            raise RuntimeError(
                "this HTTP session has connections on another event loop: make one session per loop"
            )
        self._forget()
        self._loop = loop

    def _forget(self) -> None:
        """Drop the connections of a loop that was closed: nothing of it can be called any more."""
        for connection in self._sockets:
            connection.socket.close()
        self._slots = self._idle_count = 0
        self._active.clear()
        self._idle.clear()
        self._waiters.clear()
        self._sockets.clear()
        self._timer, self._timer_at = None, NEVER

    # Taking and giving back.

    def take(self, origin: Origin) -> Connection | None:
        """An idle connection to *origin*, if one is there and nobody waits in line."""
        idle = self._idle.get(origin)
        if not idle or self._waiters:
            return None
        connection = idle.pop()
        self._idle_count -= 1
        assert self._loop is not None  # noqa: S101 - connections were made on it
        if self._loop.time() - connection.idle_since >= self._keepalive:
            connection.close()
            return None
        self._active.add(connection)
        return connection

    async def acquire(self, origin: Origin, *, fresh: bool = False) -> Connection:
        """A connection to *origin*, idle or (always when *fresh*) new; waits when all slots are taken."""
        first = False
        while True:
            if self._closed:
                # The second half is how aiobotocore 3.9 says it, which its users look for.
                raise SessionClosedError(
                    "the HTTP session is closed ('NoneType' object has no attribute 'get')"
                )
            if not fresh and (connection := self.take(origin)) is not None:
                return connection
            if not self._waiters and self._make_room():
                self._slots += 1
                return await self._open(origin)
            granted = await self._wait_in_line(first=first)
            if granted is None:
                return await self._open(origin)
            if not granted.closed:
                if granted.origin == origin and not fresh:
                    return granted
                self._keep_slot_of(granted)
                return await self._open(origin)
            # It was lost between two callbacks, and its slot went to somebody behind us.
            first = True

    def _keep_slot_of(self, connection: Connection) -> None:
        connection.has_slot = False
        self._active.discard(connection)
        connection.close()

    async def _open(self, origin: Origin) -> Connection:
        try:
            connection = await self._dial(origin, self)
        except BaseException:
            self._slots -= 1
            self._grant()
            raise
        self.opened += 1
        connection.has_slot = True
        self._active.add(connection)
        if self._closed:
            connection.close()
            raise SessionClosedError("the HTTP session was closed")
        return connection

    def _make_room(self) -> bool:
        if self._slots < self._limit:
            return True
        for idle in self._idle.values():
            if idle:
                idle[0].close()
                return True
        return False

    async def _wait_in_line(self, *, first: bool) -> Connection | None:
        """A connection somebody gave back, or None: a slot for a new one."""
        assert self._loop is not None  # noqa: S101 - bound before the first request
        waiter = _Waiter(self._loop)
        if first:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self.arm(waiter.since + self.pool_timeout)
        try:
            return await waiter.granted
        except BaseException:
            granted = waiter.granted
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                connection = granted.result()
                if connection is None:
                    self._slots -= 1
                    self._grant()
                elif not connection.closed:
                    self.release(connection)
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def _next_waiter(self) -> _Waiter | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.granted.done():
                assert self._loop is not None  # noqa: S101 - there is a waiter
                self._last_grant = self._loop.time()
                return waiter
        return None

    def _grant(self) -> None:
        """Pass a free slot to the next in line."""
        if self._slots < self._limit and (waiter := self._next_waiter()) is not None:
            self._slots += 1
            waiter.granted.set_result(None)

    # What connections tell.

    def release(self, connection: Connection) -> None:
        """As `Owner.release`."""
        if self._waiters and (waiter := self._next_waiter()) is not None:
            waiter.granted.set_result(connection)
            return
        assert self._loop is not None  # noqa: S101 - the connection was made on it
        if self._closed or self._keepalive <= 0:
            connection.close()
            return
        self._active.discard(connection)
        connection.idle_since = now = self._loop.time()
        idle = self._idle.get(connection.origin)
        if idle is None:
            if len(self._idle) >= ORIGINS:
                self._idle = {origin: queue for origin, queue in self._idle.items() if queue}
            idle = self._idle[connection.origin] = deque()
        idle.append(connection)
        self._idle_count += 1
        self.arm(now + self._keepalive)

    def discard(self, connection: Connection) -> None:
        """As `Owner.discard`."""
        if not connection.has_slot:
            return
        connection.has_slot = False
        if connection in self._active:
            self._active.discard(connection)
        else:
            idle = self._idle.get(connection.origin)
            if idle is not None and connection in idle:
                idle.remove(connection)
                self._idle_count -= 1
        self._slots -= 1
        self._grant()

    def made(self, connection: Connection) -> None:
        """A socket was opened for *connection*."""
        self._sockets.add(connection)

    def gone(self, connection: Connection) -> None:
        """As `Owner.gone`."""
        self._sockets.discard(connection)
        if not self._sockets and self._all_gone is not None and not self._all_gone.done():
            self._all_gone.set_result(None)

    # Deadlines.

    def arm(self, deadline: float) -> None:
        """As `Owner.arm`."""
        if deadline >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        assert self._loop is not None  # noqa: S101 - bound before the first request
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        assert self._loop is not None  # noqa: S101 - it called us
        self._timer, self._timer_at = None, NEVER
        now = self._loop.time()
        upcoming = NEVER
        for connection in tuple(self._active):
            if connection.deadline <= now:
                connection.stall()
            else:
                upcoming = min(upcoming, connection.deadline)
        for idle in tuple(self._idle.values()):
            for connection in tuple(idle):
                if connection.idle_since + self._keepalive <= now:
                    connection.close()
                else:
                    upcoming = min(upcoming, connection.idle_since + self._keepalive)
        for waiter in tuple(self._waiters):
            due = max(waiter.since, self._last_grant) + self.pool_timeout
            if waiter.granted.done():
                continue
            if due <= now:
                self._waiters.remove(waiter)
                waiter.granted.set_exception(
                    NoFreeConnectionError(
                        f"all {self._limit} connections stayed in use for {self.pool_timeout:g} s.",
                    ),
                )
            else:
                upcoming = min(upcoming, due)
        if upcoming != NEVER:
            self.arm(upcoming)

    # The end.

    def open(self) -> None:
        """Accept requests, again after `aclose` too."""
        keep_freed_memory()
        self._closed = False

    async def aclose(self) -> None:
        """Close every connection, fail every request, wait for the sockets to close; safe to call twice."""
        self._closed = True
        if self._loop is not None and self._loop.is_closed():
            self._forget()
            return
        error = SessionClosedError("the HTTP session was closed")
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.granted.done():
                waiter.granted.set_exception(error)
        for connection in tuple(self._active):
            connection.fail(error)
        for idle in tuple(self._idle.values()):
            for connection in tuple(idle):
                connection.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, NEVER
        loop = asyncio.get_running_loop()
        if self._sockets and loop is self._loop:
            self._all_gone = loop.create_future()
            await asyncio.wait([self._all_gone], timeout=CLOSE_WAIT)
            self._all_gone = None


class _Waiter:
    __slots__ = ("granted", "since")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.granted: asyncio.Future[Connection | None] = loop.create_future()
        self.since = loop.time()
