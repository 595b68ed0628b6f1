"""moto's S3 server in a process of its own: quick, in memory, and never imported here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from greenlang_async_storage.testing._process import LOOPBACK
from greenlang_async_storage.testing._server import START_TIMEOUT, ServerStartError, StorageServer, status_of


class MotoServer(StorageServer):
    """
    moto as an S3 server: keeps objects in memory, loses them at the end and at every restart.

    It checks no signature, digest, POST policy or KMS key: prove such things on `MinioServer`.
    A process of its own because `import moto` puts a handler on every AWS client of the importing process.
    """

    name = "moto"

    @classmethod
    def start(
        cls,
        *,
        port: int = 0,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = START_TIMEOUT,
    ) -> Self:
        """
        A running server, once it answers.

        *port* 0 means a free one. *environment* is added to the server's own (moto's `MOTO_*` switches).
        Raises `ServerStartError` when moto is not installed, or not up after *timeout* seconds.
        """
        if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
            raise ServerStartError(
                "moto's server is not installed: run pip install 'greenlang-async-storage[testing]'."
            )
        server = cls(
            port=port,
            directory=directory,
            access_key="test",
            secret_key="test",  # noqa: S106 - moto accepts any
            environment=environment,
            timeout=timeout,
        )
        return server._start()

    @property
    def kms_key_id(self) -> str | None:
        """Any value works: moto does not look at it."""
        return "alias/greenlang-s3-key"

    def reset(self) -> None:
        """Forget every bucket and object."""
        if status_of(self.port, "/moto-api/reset", method="POST", timeout=10.0) != 200:
            raise ServerStartError(f"moto at {self.endpoint_url} did not reset: is it running?")

    def _command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]

    def _own_environment(self) -> dict[str, str]:
        # Without buffering: the line that names the address is what readiness waits for.
        return {"PYTHONUNBUFFERED": "1", "MOTO_CALL_RESET_API": "false"}

    def _is_ready(self, port: int) -> bool:
        return status_of(port, "/moto-api/") == 200
