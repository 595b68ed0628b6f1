"""MinIO in a process of its own: a real S3 server, with a KMS that holds one key."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from greenlang_async_storage.testing._process import LOOPBACK
from greenlang_async_storage.testing._server import START_TIMEOUT, ServerStartError, StorageServer, status_of

KMS_KEY_NAME = "greenlang-s3-key"
_KMS_KEY_BYTES = 32
_VARIABLE = "GREENLANG_STORAGE_MINIO"


def find_minio() -> Path:
    """
    The MinIO program: `GREENLANG_STORAGE_MINIO`, else `.tools/bin/minio` here or by the package, else `PATH`.

    Raises `ServerStartError` when there is none.
    """
    named = os.environ.get(_VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise ServerStartError(f"{_VARIABLE}={named} is not a program: correct it, or run `make minio`.")
        return Path(named)
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        built = root / ".tools" / "bin" / "minio"
        if os.access(built, os.X_OK):
            return built
    on_path = shutil.which("minio")
    if on_path is None:
        raise ServerStartError(
            f"MinIO was not found: run `make minio` in the source tree, or set {_VARIABLE} to the program."
        )
    return Path(on_path)


class MinioServer(StorageServer):
    """
    MinIO with one drive, its data in a folder, SSE-KMS on with the key `greenlang-s3-key`.

    What it holds survives `kill` and `restart`; with a *directory* of yours it survives `stop` too.
    """

    name = "minio"

    @classmethod
    def start(
        cls,
        *,
        port: int = 0,
        directory: Path | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        kms: bool = True,
        binary: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = START_TIMEOUT,
    ) -> Self:
        """
        A running server, once it answers S3 requests.

        *port* 0 means a free one; keys not given are random. *kms=False* is a store that refuses SSE-KMS.
        *environment* is added to the server's own (`MINIO_*`). The program is *binary*, else `find_minio()`.
        Raises `ServerStartError` when there is no program, or it is not up after *timeout* seconds.
        """
        binary = binary or find_minio()
        server = cls(
            port=port,
            directory=directory,
            access_key=access_key or secrets.token_hex(8),
            secret_key=secret_key or secrets.token_hex(20),
            environment=environment,
            timeout=timeout,
        )
        server._binary = binary
        server._kms = kms
        return server._start()

    _binary: Path
    _kms: bool

    @property
    def kms_key_id(self) -> str | None:
        """`greenlang-s3-key`, without `alias/`: MinIO knows its key by name."""
        return KMS_KEY_NAME if self._kms else None

    def _command(self, port: int) -> list[str]:
        certificates = self.directory / "certs"
        options = ["--address", f"{LOOPBACK}:{port}", "--certs-dir", str(certificates)]
        return [str(self._binary), "server", *options, str(self.directory / "data")]

    def _own_environment(self) -> dict[str, str]:
        values = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            # Data in a test's folder may share the system's disk, which MinIO refuses elsewhere.
            "MINIO_CI_CD": "1",
        }
        if self._kms:
            values["MINIO_KMS_SECRET_KEY"] = f"{KMS_KEY_NAME}:{self._kms_secret()}"
        return values

    def _kms_secret(self) -> str:
        """The key of this folder, made once: what it encrypted must stay readable after a restart."""
        path = self.directory / "kms.key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(base64.b64encode(secrets.token_bytes(_KMS_KEY_BYTES)).decode())
        return path.read_text()

    def _is_ready(self, port: int) -> bool:
        # An unsigned listing is refused by a server that is up, and answered 503 by one that still starts.
        return status_of(port, "/minio/health/cluster") == 200 and status_of(port, "/") == 403
