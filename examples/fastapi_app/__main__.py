"""
Run the example application: `python -m examples.fastapi_app`.

Uses the store that GREENLANG_STORAGE_ENDPOINT_URL and the AWS variables name; else starts MinIO when it was
built (`make minio`), else an embedded test server. Prints the address; Ctrl-C ends everything.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from contextlib import ExitStack
from typing import Any

import uvicorn

from greenlang_async_storage import StorageSettings, StorageSettingsError
from greenlang_async_storage.testing import MinioServer, MotoServer, ServerStartError, StorageServer

from .app import create_app

BUCKETS: dict[str, Any] = {
    f"{purpose}_bucket": f"greenlang-dev-us-east-1-{purpose.replace('_', '-')}-internal"
    for purpose in ("data_lake", "reports", "models", "temp", "cache")
}


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.fastapi_app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port (default a free one)")
    parser.add_argument("--embedded", action="store_true", help="the embedded server, also where MinIO is")
    arguments = parser.parse_args()
    try:
        with ExitStack() as stack:
            settings = _settings(stack, embedded=arguments.embedded)
            listener = stack.enter_context(socket.create_server((arguments.host, arguments.port)))
            print(f"http://{arguments.host}:{listener.getsockname()[1]}/", flush=True)
            config = uvicorn.Config(create_app(settings), log_level="warning", timeout_graceful_shutdown=10)
            uvicorn.Server(config).run(sockets=[listener])
    except (StorageSettingsError, ServerStartError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _settings(stack: ExitStack, *, embedded: bool) -> StorageSettings:
    """The environment's settings with the example's buckets; without an endpoint, a server of its own."""
    unset: dict[str, Any] = {
        field: name for field, name in BUCKETS.items() if f"GREENLANG_{field.upper()}" not in os.environ
    }
    if os.environ.get("GREENLANG_STORAGE_ENDPOINT_URL") and not embedded:
        return StorageSettings(**unset)
    server = stack.enter_context(_server(embedded=embedded))
    print(f"storage: {server.name} at {server.endpoint_url}, gone when this ends", flush=True)
    return StorageSettings(**server.settings_kwargs(), **unset)


def _server(*, embedded: bool) -> StorageServer:
    if not embedded:
        try:
            return MinioServer.start()
        except ServerStartError as error:
            print(f"{error}\nUsing the embedded server instead.", file=sys.stderr)
    return MotoServer.start()


if __name__ == "__main__":
    sys.exit(main())
