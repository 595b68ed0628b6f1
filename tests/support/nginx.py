"""nginx over TLS, in front of files, of any server on loopback, and of an S3 store."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from greenlang_async_storage.testing._process import ServerProcess, free_port
from tests.support.tls import CertificateAuthority

NGINX = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
MISSING = "nginx was not found: run `make nginx` (Debian and Ubuntu), or install it."
START_TIMEOUT = 30.0
_ATTEMPTS = 5
_NAMES = ("main", "tls12", "tls13", "tls11", "mutual", "wrong_host", "short", "store")

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_timeout 60;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    ssl_protocols TLSv1.2 TLSv1.3;
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_request_buffering off;
    root {files};

    server {{
        listen 127.0.0.1:{main} ssl;
        listen [::1]:{main} ssl;
        location /included/ {{ ssi on; ssi_types *; }}
        location /until-close/ {{ ssi on; ssi_types *; chunked_transfer_encoding off; }}
        location /small-only/ {{ client_max_body_size 1k; proxy_pass http://127.0.0.1:9; }}
        location ~ ^/upstream/(?<to>[0-9]+)/ {{ proxy_pass http://127.0.0.1:$to; client_max_body_size 0; }}
    }}
    server {{ listen 127.0.0.1:{tls12} ssl; ssl_protocols TLSv1.2; return 200 $ssl_protocol; }}
    server {{ listen 127.0.0.1:{tls13} ssl; ssl_protocols TLSv1.3; return 200 $ssl_protocol; }}
    server {{
        listen 127.0.0.1:{tls11} ssl;
        ssl_protocols TLSv1 TLSv1.1;
        ssl_ciphers ALL:@SECLEVEL=0;
        return 200 $ssl_protocol;
    }}
    server {{
        listen 127.0.0.1:{mutual} ssl;
        ssl_client_certificate {bundle};
        ssl_verify_client on;
        location / {{ return 200 $ssl_client_s_dn; }}
    }}
    server {{
        listen 127.0.0.1:{wrong_host} ssl;
        ssl_certificate {stranger};
        ssl_certificate_key {stranger};
    }}
    server {{ listen 127.0.0.1:{short} ssl; keepalive_requests 3; }}
    server {{
        listen 127.0.0.1:{store} ssl;
        client_max_body_size 0;
        keepalive_requests 5;
        add_header x-seen-payload $http_x_amz_content_sha256 always;
        add_header x-seen-expect $http_expect always;
        add_header x-seen-trailer $http_x_amz_trailer always;
        add_header x-seen-connection $connection always;
        location / {{ proxy_pass http://127.0.0.1:{behind}; proxy_set_header Host $http_host; }}
    }}
}}
"""


class NginxServer:
    """
    nginx, stopped on leaving the `with`.

    `ports` names its listeners, all with a certificate for localhost, 127.0.0.1 and ::1 except `wrong_host`;
    `main` serves the folder `files`, and `/upstream/PORT/` passes on to any port of loopback; `store` passes
    all to the port *behind*. `short` closes each connection after three requests, `store` after five.
    """

    def __init__(self, folder: Path, authority: CertificateAuthority, *, behind: int = 9) -> None:
        self.files = folder / "files"
        self.files.mkdir()
        self.ports: dict[str, int] = {}
        self._folder = folder
        self._authority = authority
        self._behind = behind
        self._certificate = authority.certificate("localhost", "127.0.0.1", "::1")
        self._stranger = authority.certificate("wrong.example.com")
        self._process: ServerProcess | None = None

    def __enter__(self) -> Self:
        for _ in range(_ATTEMPTS):
            self.ports = {name: free_port() for name in _NAMES}
            if len(set(self.ports.values())) == len(_NAMES) and self._run():
                return self
        raise AssertionError(f"nginx does not start: {self.output()}")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def restart(self) -> None:
        """The same ports again: connections of before are closed."""
        self._stop()
        assert self._run(), self.output()

    def output(self) -> str:
        """What nginx has printed."""
        return "" if self._process is None else self._process.output()

    def _run(self) -> bool:
        assert NGINX is not None, MISSING
        configuration = self._folder / "nginx.conf"
        text = _CONFIGURATION.format(
            folder=self._folder,
            files=self.files,
            bundle=self._authority.bundle,
            certificate=self._certificate,
            stranger=self._stranger,
            behind=self._behind,
            **self.ports,
        )
        configuration.write_text(text)
        command = [NGINX, "-p", str(self._folder), "-c", str(configuration)]
        self._process = process = ServerProcess(command, os.environ, directory=self._folder)
        deadline = time.monotonic() + START_TIMEOUT
        while process.exit_code is None and time.monotonic() < deadline:
            if self._answers():
                return True
            time.sleep(0.02)
        process.stop()
        return False

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=str(self._authority.bundle))
        connection = http.client.HTTPSConnection("localhost", self.ports["tls13"], timeout=5, context=context)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read() == b"TLSv1.3"
        except OSError:
            return False
        finally:
            connection.close()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stop()
