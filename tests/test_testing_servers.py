"""moto and MinIO as test servers: up when they say so, gone when they are stopped or their owner dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from greenlang_async_storage.testing import (
    MinioServer,
    MotoServer,
    ServerStartError,
    StorageServer,
    _process,
    _server,
    find_minio,
)
from greenlang_async_storage.testing.__main__ import main
from tests.support import servers

Start = Callable[..., StorageServer]


@pytest.fixture(params=["moto", "minio"])
def start(request: pytest.FixtureRequest) -> Start:
    """The `start` of one of the two, for servers of the test's own."""
    if request.param == "moto":
        return MotoServer.start
    if servers.MINIO_BINARY is None:
        servers.unavailable(servers.MINIO_MISSING)
    binary = Path(str(servers.MINIO_BINARY))
    return lambda **options: MinioServer.start(binary=binary, **options)


@pytest.fixture
def command_environment() -> dict[str, str]:
    """The environment of a process that has to find MinIO by itself."""
    return {**os.environ, "GREENLANG_STORAGE_MINIO": str(servers.MINIO_BINARY)}


@pytest.fixture
def occupied_port() -> Iterator[int]:
    """A loopback port somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def put_and_get(server: StorageServer) -> bytes:
    """What a plain client reads back from *server* after it has written it."""
    client = servers.observer_client(server)
    try:
        client.create_bucket(Bucket="test-bucket")
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": server.kms_key_id}
        client.put_object(Bucket="test-bucket", Key="key", Body=b"value", **encryption)
        return read(client)
    finally:
        client.close()


def read(client: Any) -> bytes:
    """The object that `put_and_get` wrote."""
    with client.get_object(Bucket="test-bucket", Key="key")["Body"] as body:
        content: bytes = body.read()
        return content


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.parent.parent.is_dir() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def leave_with_an_error(server: StorageServer) -> None:
    """Fail inside the block."""
    with server:
        raise ZeroDivisionError


def eventually(condition: Callable[[], bool], *, within: float = 30.0) -> bool:
    """Whether *condition* of another process came true before the deadline."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def can_bind(port: int) -> bool:
    """Whether nobody listens on *port*."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_serves_until_the_end_of_the_block(start: Start) -> None:
    """Inside the block a client can write and read; after it process, port and folder are gone."""
    with start() as server:
        assert put_and_get(server) == b"value"
        pid, port, folder = server.pid, server.port, server.directory
        assert is_alive(pid)
        assert folder.is_dir()
    assert not is_alive(pid)
    assert can_bind(port)
    assert not folder.exists()
    assert not server.running
    server.stop()


def test_an_error_in_the_block_stops_it(start: Start) -> None:
    """An exception leaves no server behind."""
    server = start()
    with pytest.raises(ZeroDivisionError):
        leave_with_an_error(server)
    assert not is_alive(server.pid)
    assert not server.directory.exists()


def test_two_at_once(start: Start) -> None:
    """Two servers share neither port nor data."""
    with start() as one, start() as other:
        assert one.port != other.port
        put_and_get(one)
        client = servers.observer_client(other)
        assert client.list_buckets()["Buckets"] == []
        client.close()


def test_env_points_at_it(start: Start) -> None:
    """`env()` and `settings_kwargs()` say the same, and enough to reach the server."""
    with start() as server:
        env, arguments = server.env(), server.settings_kwargs()
        assert env["GREENLANG_STORAGE_ENDPOINT_URL"] == arguments["endpoint_url"] == server.endpoint_url
        assert env["AWS_ACCESS_KEY_ID"] == arguments["access_key_id"] == server.access_key
        assert env["AWS_SECRET_ACCESS_KEY"] == arguments["secret_access_key"] == server.secret_key
        assert env["AWS_REGION"] == arguments["region"] == "us-east-1"
        assert env["KMS_KEY_ID"] == arguments["kms_key_id"] == server.kms_key_id
        assert server.secret_key not in repr(server)


def test_minio_keeps_what_it_holds_over_a_crash(start: Start) -> None:
    """After `kill` and `restart` MinIO serves the same object, on the same port; moto has forgotten it."""
    with start() as server:
        put_and_get(server)
        before = (server.endpoint_url, server.access_key, server.secret_key)
        old = server.pid
        server.kill()
        assert not is_alive(old)
        assert not server.running
        server.restart()
        assert server.pid != old
        assert (server.endpoint_url, server.access_key, server.secret_key) == before
        client = servers.observer_client(server)
        if server.name == "minio":
            assert read(client) == b"value"
        else:
            assert client.list_buckets()["Buckets"] == []
        client.close()


def test_restart_of_a_running_server(start: Start) -> None:
    """`restart` stops what runs first."""
    with start() as server:
        old = server.pid
        server.restart()
        assert not is_alive(old)
        assert put_and_get(server) == b"value"


def test_a_folder_of_the_user_stays(start: Start, tmp_path: Path) -> None:
    """A folder that was given is kept, and MinIO finds its encrypted data there again."""
    with start(directory=tmp_path, **keys_for(start)) as server:
        put_and_get(server)
    assert tmp_path.is_dir()
    with start(directory=tmp_path, **keys_for(start)) as server:
        if server.name == "minio":
            client = servers.observer_client(server)
            assert read(client) == b"value"
            client.close()


def keys_for(start: Start) -> dict[str, str]:
    """Fixed keys, where the server takes keys."""
    return {} if start == MotoServer.start else {"access_key": "a-user", "secret_key": "a-long-secret"}


def test_pause_and_resume(start: Start) -> None:
    """`pause` freezes the process, `resume` wakes it, and a paused server can be stopped."""
    with start() as server:
        server.pause()
        assert server.running
        assert _server.status_of(server.port, "/", timeout=0.2) is None
        server.resume()
        assert put_and_get(server) == b"value"
        server.pause()
    assert not is_alive(server.pid)


def test_a_taken_port_is_an_error_that_names_it(start: Start, occupied_port: int) -> None:
    """A port that was asked for and is in use is refused, and nothing is left behind."""
    with pytest.raises(ServerStartError, match=rf"127\.0\.0\.1:{occupied_port}.*in use"):
        start(port=occupied_port)


def test_a_port_lost_between_choice_and_bind_is_replaced(
    start: Start, occupied_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another process is faster with the chosen port, another one is chosen."""
    chosen = iter([occupied_port, _process.free_port()])
    monkeypatch.setattr(_server, "free_port", lambda: next(chosen))
    with start() as server:
        assert server.port != occupied_port
        assert put_and_get(server) == b"value"


def test_what_it_printed_is_in_the_error(tmp_path: Path) -> None:
    """A program that ends at once is reported with its exit code and its last words."""
    program = tmp_path / "minio"
    program.write_text("#!/bin/sh\necho the drive is on fire >&2\nexit 7\n")
    program.chmod(0o755)
    with pytest.raises(ServerStartError, match=r"exit code 7(.|\n)*the drive is on fire"):
        MinioServer.start(binary=program)


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """A program that stays silent is ended at the deadline."""
    program = tmp_path / "minio"
    program.write_text("#!/bin/sh\necho $$ > pid\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(ServerStartError, match=r"did not answer on .* within 0\.3 s"):
        MinioServer.start(binary=program, timeout=0.3, directory=tmp_path / "data", environment={"X": "y"})
    assert not is_alive(int((tmp_path / "data" / "pid").read_text()))


def test_the_environment_of_the_caller_stays_outside(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server sees none of the caller's AWS, MinIO or proxy variables; what was given for it, it sees."""
    for name in ("AWS_PROFILE", "MINIO_ROOT_USER", "HTTPS_PROXY", "GREENLANG_TEMP_BUCKET"):
        monkeypatch.setenv(name, "from-outside")
    if not Path("/proc/self/environ").exists():
        pytest.skip("this system does not show the environment of a process")
    with start(environment={"GIVEN": "from-inside"}) as server:
        seen = Path(f"/proc/{server.pid}/environ").read_text()
    assert "from-outside" not in seen
    assert "GIVEN=from-inside" in seen


def test_no_kms() -> None:
    """`kms=False` is a MinIO that refuses SSE-KMS, and its `env()` names no key."""
    if servers.MINIO_BINARY is None:
        servers.unavailable(servers.MINIO_MISSING)
    with MinioServer.start(binary=Path(str(servers.MINIO_BINARY)), kms=False) as server:
        assert server.kms_key_id is None
        assert "KMS_KEY_ID" not in server.env()
        assert "kms_key_id" not in server.settings_kwargs()
        client = servers.observer_client(server)
        client.create_bucket(Bucket="test-bucket")
        with pytest.raises(ClientError, match="NotImplemented"):
            client.put_object(Bucket="test-bucket", Key="key", Body=b"", ServerSideEncryption="aws:kms")
        client.close()


def test_moto_forgets_on_reset() -> None:
    """`reset` empties moto; on a stopped server it is an error."""
    with MotoServer.start() as server:
        put_and_get(server)
        server.reset()
        client = servers.observer_client(server)
        assert client.list_buckets()["Buckets"] == []
        client.close()
    with pytest.raises(ServerStartError, match="did not reset"):
        server.reset()


OWNER = """
import sys
from pathlib import Path
from greenlang_async_storage.testing import MinioServer, MotoServer
server = (MotoServer if sys.argv[1] == "moto" else MinioServer).start()
print(server.pid, server.directory, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("name", ["moto", "minio"])
def test_dies_with_its_owner(name: str, command_environment: dict[str, str]) -> None:
    """When the owner is killed without a chance to clean up, the server and its folder go too."""
    if name == "minio" and servers.MINIO_BINARY is None:
        servers.unavailable(servers.MINIO_MISSING)
    command = [sys.executable, "-c", OWNER, name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=command_environment
    ) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        assert is_alive(int(pid))
        owner.kill()
    assert eventually(lambda: not is_alive(int(pid)))
    assert eventually(lambda: not Path(folder).exists())


def test_missing_minio_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MinIO the error names `make minio`; a wrong variable is named too."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ServerStartError, match="make minio"):
        find_minio()
    monkeypatch.setenv("GREENLANG_STORAGE_MINIO", str(tmp_path / "nothing"))
    with pytest.raises(ServerStartError, match=r"GREENLANG_STORAGE_MINIO=.*nothing"):
        find_minio()


def test_missing_moto_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without moto the error names the extra to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServerStartError, match=r"\[testing\]"):
        MotoServer.start()


def test_moto_is_never_imported() -> None:
    """Running moto's server does not import moto here, where its handlers would touch every client."""
    check = (
        "import sys; from greenlang_async_storage.testing import MotoServer\n"
        "with MotoServer.start(): assert not [m for m in sys.modules if m.split('.')[0] == 'moto']\n"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=50)


@pytest.mark.parametrize("name", ["moto", "minio"])
def test_command_around_a_command(name: str, command_environment: dict[str, str]) -> None:
    """The command finds the server in its environment, and its exit code is passed on."""
    if name == "minio" and servers.MINIO_BINARY is None:
        servers.unavailable(servers.MINIO_MISSING)
    script = (
        "import os, sys, urllib.request, urllib.error\n"
        "assert 'AWS_SESSION_TOKEN' not in os.environ\n"
        "try: urllib.request.urlopen(os.environ['GREENLANG_STORAGE_ENDPOINT_URL'])\n"
        "except urllib.error.HTTPError as e: e.close()\n"
        "print(os.environ['KMS_KEY_ID'])\n"
        "sys.exit(7)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "greenlang_async_storage.testing", name, "--", sys.executable, "-c", script],
        env={**command_environment, "AWS_SESSION_TOKEN": "of-somebody-else"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.split() == ["greenlang-s3-key" if name == "minio" else "alias/greenlang-s3-key"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_alone_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    """Without a command the address is printed in shell syntax, and a signal ends command and server."""
    command = [sys.executable, "-m", "greenlang_async_storage.testing", "moto"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines: list[str] = []
        while not (lines and lines[-1].startswith("#")):
            lines.append(running.stdout.readline())
        assert any(
            line.startswith("export GREENLANG_STORAGE_ENDPOINT_URL=http://127.0.0.1:") for line in lines
        )
        pid = int(lines[-1].split("process ")[1].split(";")[0])
        assert is_alive(pid)
        running.send_signal(number)
        assert running.wait(30) == 0
    assert not is_alive(pid)


def test_command_reports_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A server that cannot start is one line on standard error and exit code 1."""
    monkeypatch.setenv("GREENLANG_STORAGE_MINIO", str(tmp_path / "nothing"))
    assert main(["minio"]) == 1
    assert "make minio" in capsys.readouterr().err
