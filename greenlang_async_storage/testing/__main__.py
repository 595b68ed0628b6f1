"""
A storage server from the command line: alone until Ctrl-C, or around a command that gets its address.

    python -m greenlang_async_storage.testing moto -- python my_script.py
    python -m greenlang_async_storage.testing minio --port 9000 --directory ./minio-data
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from greenlang_async_storage.testing import MinioServer, MotoServer, ServerStartError, StorageServer

_OVERRULED = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "USE_LOCALSTACK")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m greenlang_async_storage.testing",
        description="Run a storage server on loopback, alone or around a command.",
    )
    parser.add_argument("server", choices=("moto", "minio"))
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--directory", type=Path, help="keep everything here (default: a temporary folder)")
    parser.add_argument("--access-key", help="minio only; default: random")
    parser.add_argument("--secret-key", help="minio only; default: random")
    parser.add_argument("command", nargs="*", help="after --: run this, then stop the server")
    return parser


def _start(options: argparse.Namespace) -> StorageServer:
    if options.server == "moto":
        return MotoServer.start(port=options.port, directory=options.directory)
    return MinioServer.start(
        port=options.port,
        directory=options.directory,
        access_key=options.access_key,
        secret_key=options.secret_key,
    )


def _run(command: Sequence[str], server: StorageServer) -> int:
    """Run *command* against *server*; its exit code, as a shell gives it."""
    environment = {name: value for name, value in os.environ.items() if name not in _OVERRULED}
    child = subprocess.Popen(command, env={**environment, **server.env()})
    # Ctrl-C reaches the command through the terminal; a SIGTERM meant for both has to be passed on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    return code if code >= 0 else 128 - code


def _leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the signature of a signal handler
    raise SystemExit(0)


def _serve(server: StorageServer) -> int:
    """Print the variables and wait for the end."""
    for name, value in server.env().items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"# {server.name} is ready, process {server.pid}; Ctrl-C stops it", flush=True)
    return server.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command line *arguments*."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)
    try:
        with _start(options) as server:
            return _run(options.command, server) if options.command else _serve(server)
    except (ServerStartError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
