"""
CPU of this process per exchange of the transport alone, against a scripted server in another process.

    python benchmarks/micro_transport.py [--uvloop] [--seconds 2]

Prints microseconds of CPU (user + system) per GET and PUT of 1 KiB, milliseconds per MiB of 8 MiB bodies.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import socket
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable

from greenlang_async_storage.fastpath._wire import Origin
from greenlang_async_storage.fastpath.transport import HTTPSession

MIB = 1024 * 1024
LARGE = 8 * MIB
HEADERS = (
    b"Accept-Ranges: bytes\r\nContent-Type: binary/octet-stream\r\n"
    b'ETag: "d41d8cd98f00b204e9800998ecf8427e"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n'
    b"Server: MinIO\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\nVary: Origin\r\n"
    b"X-Amz-Id-2: dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2e3e8\r\n"
    b"X-Amz-Request-Id: 17E0A0A0A0A0A0A0\r\nX-Content-Type-Options: nosniff\r\n"
    b"X-Xss-Protection: 1; mode=block\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\n"
)
REQUEST_HEADERS = [
    ("Host", "127.0.0.1"),
    (
        "User-Agent",
        "Boto3/1.40.61 md/Botocore#1.40.61 ua/2.1 os/linux lang/python#3.11 cfg/retry-mode#legacy",
    ),
    ("X-Amz-Date", "20151021T072800Z"),
    ("X-Amz-Content-SHA256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("Authorization", "AWS4-HMAC-SHA256 Credential=x/20151021/us-east-1/s3/aws4_request, " + "s" * 130),
    ("amz-sdk-invocation-id", "d41d8cd9-8f00-b204-e980-0998ecf8427e"),
    ("amz-sdk-request", "attempt=1"),
]


def _reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + HEADERS + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _serve_one(sock: socket.socket) -> None:
    small, large, done = _reply(b"x" * 1024), _reply(b"x" * LARGE), _reply(b"")
    sink = bytearray(MIB)
    pending = b""
    with sock:
        while True:
            while b"\r\n\r\n" not in pending:
                data = sock.recv(65_536)
                if not data:
                    return
                pending += data
            head, _, pending = pending.partition(b"\r\n\r\n")
            length = 0
            if (at := head.find(b"Content-Length: ")) >= 0:
                length = int(head[at + 16 :].partition(b"\r\n")[0])
            length -= len(pending)
            pending = b""
            while length > 0:
                length -= sock.recv_into(sink, min(length, MIB))
            if head.startswith(b"PUT"):
                sock.sendall(done)
            else:
                sock.sendall(large if b"/large" in head[:32] else small)


def serve(ready: multiprocessing.Queue[int]) -> None:
    """Answer on a free port until the process ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    ready.put(listener.getsockname()[1])
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve_one, args=(sock,), daemon=True).start()


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(
    name: str,
    work: Callable[[], Awaitable[object]],
    *,
    seconds: float,
    width: int,
    per: float,
    unit: str,
) -> None:
    """Run *work* in *width* loops and print the median of five rounds."""

    async def worker(until: float) -> int:
        done = 0
        while time.perf_counter() < until:
            await work()
            done += 1
        return done

    figures = []
    for _ in range(5):
        start = _cpu()
        until = time.perf_counter() + seconds / 5
        counts = await asyncio.gather(*(worker(until) for _ in range(width)))
        figures.append((_cpu() - start) / (sum(counts) * per))
    print(f"{name:32s} {statistics.median(figures) * (1e6 if unit == 'us' else 1e3):9.2f} {unit}")


async def main(port: int, seconds: float) -> None:
    """All measurements."""
    origin = Origin("http", "127.0.0.1", port)
    target = bytearray(LARGE)
    view = memoryview(target)
    small = b"x" * 1024
    large = bytes(LARGE)
    async with HTTPSession(timeout=(5, 60), max_pool_connections=32) as session:

        async def get() -> None:
            response = await session.exchange(origin, "GET", "/bucket/small", REQUEST_HEADERS)
            assert len(await response.read()) == 1024
            response.close()

        async def put() -> None:
            headers = [*REQUEST_HEADERS, ("Content-Length", "1024")]
            response = await session.exchange(origin, "PUT", "/bucket/small", headers, small)
            response.close()

        async def get_into() -> None:
            response = await session.exchange(origin, "GET", "/large", REQUEST_HEADERS)
            assert await response.readinto(view) == LARGE
            response.close()

        async def get_whole() -> None:
            response = await session.exchange(origin, "GET", "/large", REQUEST_HEADERS)
            assert len(await response.read()) == LARGE

        async def get_pieces() -> None:
            response = await session.exchange(origin, "GET", "/large", REQUEST_HEADERS)
            while await response.read(65_536):
                pass

        async def put_large() -> None:
            headers = [*REQUEST_HEADERS, ("Content-Length", str(LARGE))]
            response = await session.exchange(origin, "PUT", "/large", headers, large)
            response.close()

        await get()
        for width in (1, 32):
            await measure(
                f"GET 1 KiB, {width} in flight", get, seconds=seconds, width=width, per=1, unit="us"
            )
            await measure(
                f"PUT 1 KiB, {width} in flight", put, seconds=seconds, width=width, per=1, unit="us"
            )
        for name, work in (
            ("GET 8 MiB readinto, per MiB", get_into),
            ("GET 8 MiB read(), per MiB", get_whole),
            ("GET 8 MiB read(64 KiB), per MiB", get_pieces),
            ("PUT 8 MiB, per MiB", put_large),
        ):
            await measure(name, work, seconds=seconds, width=1, per=8, unit="ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ready: multiprocessing.Queue[int] = context.Queue()
    server = context.Process(target=serve, args=(ready,), daemon=True)
    server.start()
    factory = None
    if arguments.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    print(f"Python {sys.version.split()[0]}, {'uvloop' if factory else 'asyncio'}")
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(ready.get(), arguments.seconds))
    server.terminate()
