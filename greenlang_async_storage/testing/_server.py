"""What moto and MinIO have in common as test servers: start, readiness, address, end."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, NotRequired, Self, TypedDict

from greenlang_async_storage.testing._process import LOOPBACK, ServerProcess, free_port

START_TIMEOUT = 60.0
"""Seconds a server may take until it answers; generous for a busy CI machine, a second is usual."""
_BIND_ATTEMPTS = 5
_POLL_INTERVAL = 0.02
_OUTPUT_SHOWN = 4000
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "VIRTUAL_ENV", "PYENV_VERSION", "LD_LIBRARY_PATH")


class ServerStartError(RuntimeError):
    """The server did not come up or is not installed; the message ends with its output, or what to do."""


class ServerSettings(TypedDict):
    """Arguments of `StorageSettings` that point a session at a server."""

    endpoint_url: str
    region: str
    access_key_id: str
    secret_access_key: str
    kms_key_id: NotRequired[str]


class StorageServer(ABC):
    """
    A running S3 server on loopback; a context manager that stops it and removes its folder.

    Made by `MotoServer.start` or `MinioServer.start`. Stopped by process id; when this process dies first,
    even by SIGKILL, a watchdog stops the server and removes the folder.
    """

    name: ClassVar[str]
    """`moto` or `minio`."""
    region = "us-east-1"

    def __init__(
        self,
        *,
        port: int,
        directory: Path | None,
        access_key: str,
        secret_key: str,
        environment: Mapping[str, str] | None,
        timeout: float,
    ) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self._port = port
        self._owns_directory = directory is None
        self.directory = (
            directory.resolve() if directory else Path(tempfile.mkdtemp(prefix=f"greenlang-{self.name}-"))
        )
        """Everything the server writes; removed at the end unless it was given."""
        self._extra_environment = dict(environment or {})
        self._timeout = timeout
        self._process: ServerProcess | None = None

    @property
    @abstractmethod
    def kms_key_id(self) -> str | None:
        """The key to set as `KMS_KEY_ID`; `None` when this server has no KMS."""

    @abstractmethod
    def _command(self, port: int) -> list[str]: ...

    @abstractmethod
    def _own_environment(self) -> dict[str, str]: ...

    @abstractmethod
    def _is_ready(self, port: int) -> bool: ...

    @property
    def endpoint_url(self) -> str:
        """The address clients use, for example `http://127.0.0.1:40123`."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def port(self) -> int:
        """The port it listens on; kept by `restart`."""
        return self._port

    @property
    def pid(self) -> int:
        """The server's process id; of the latest start when it was restarted."""
        if self._process is None:
            raise ServerStartError(f"{self.name} was never started: use {type(self).__name__}.start().")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.exit_code is None

    def output(self) -> str:
        """Standard output and error of the server since its latest start."""
        return self._process.output() if self._process is not None else ""

    def env(self) -> dict[str, str]:
        """The environment variables that point the SDK, and any AWS tool, at this server."""
        values = {
            "GREENLANG_STORAGE_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
        }
        if self.kms_key_id is not None:
            values["KMS_KEY_ID"] = self.kms_key_id
        return values

    def settings_kwargs(self) -> ServerSettings:
        """The same as arguments: `StorageSettings(**server.settings_kwargs())`."""
        values = ServerSettings(
            endpoint_url=self.endpoint_url,
            region=self.region,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
        )
        if self.kms_key_id is not None:
            values["kms_key_id"] = self.kms_key_id
        return values

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); `restart` brings it back on the same port."""
        if self._process is not None:
            self._process.kill()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections are accepted by the kernel, nothing answers."""
        if self._process is not None:
            self._process.freeze()

    def resume(self) -> None:
        """End a `pause`."""
        if self._process is not None:
            self._process.signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop the server if it runs and start it again: same port, credentials and folder."""
        if self._process is not None:
            self._process.stop()
        self._launch(keep_port=True, attempts=_BIND_ATTEMPTS)

    def wait(self) -> int:
        """Block until the server process ends; its exit code."""
        if self._process is None:
            raise ServerStartError(f"{self.name} was never started: use {type(self).__name__}.start().")
        return self._process.wait()

    def stop(self) -> None:
        """Stop the server (SIGTERM, then SIGKILL) and remove its folder; safe to call twice."""
        if self._process is not None:
            self._process.stop()
        if self._owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        return f"<{type(self).__name__} {self.endpoint_url} {state}>"

    def _start(self) -> Self:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._launch(keep_port=self._port != 0, attempts=1 if self._port else _BIND_ATTEMPTS)
        except BaseException:
            self.stop()
            raise
        return self

    def _launch(self, *, keep_port: bool, attempts: int) -> None:
        for _ in range(attempts):
            if not keep_port:
                self._port = free_port()
            if self._came_up():
                return
        raise ServerStartError(
            f"{self.name} could not listen on {self.endpoint_url}: the port is in use. "
            f"Give another port=, or none for a free one.\n{self.output()[-_OUTPUT_SHOWN:]}"
        )

    def _came_up(self) -> bool:
        """Start the process and wait until it answers; false when its port was lost to another process."""
        process = self._process = ServerProcess(
            self._command(self._port),
            self._environment(),
            directory=self.directory,
            folders=[self.directory] if self._owns_directory else [],
        )
        deadline = time.monotonic() + self._timeout
        try:
            while time.monotonic() < deadline:
                if process.exit_code is not None:
                    if "already in use" in process.output().lower():
                        process.stop()
                        return False
                    raise self._failure(f"ended with exit code {process.exit_code}")
                # Its own log names the address only after its bind: an answer alone may be another server's.
                if self.endpoint_url in process.output() and self._is_ready(self._port):
                    return True
                time.sleep(_POLL_INTERVAL)
            raise self._failure(f"did not answer on {self.endpoint_url} within {self._timeout:g} s")
        except BaseException:
            process.stop()
            raise

    def _failure(self, what: str) -> ServerStartError:
        return ServerStartError(f"{self.name} {what}. It printed:\n{self.output()[-_OUTPUT_SHOWN:]}")

    def _environment(self) -> dict[str, str]:
        """The caller's environment reduced to what a program needs: no AWS_*, no MINIO_*, no proxies."""
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        folder = str(self.directory)
        return {
            **passed_on,
            "HOME": folder,
            "TMPDIR": folder,
            **self._own_environment(),
            **self._extra_environment,
        }


def status_of(port: int, path: str, *, method: str = "GET", timeout: float = 2.0) -> int | None:
    """The HTTP status of one request to loopback; `None` when nobody answers."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return None
    else:
        return response.status
    finally:
        connection.close()
