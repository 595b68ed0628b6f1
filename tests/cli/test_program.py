from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import greenlang_async_storage.cli
from greenlang_async_storage import __version__
from greenlang_async_storage.cli._command import Command, Options
from greenlang_async_storage.cli._errors import ExitCode
from tests.cli.conftest import PROGRAM, SOURCES, Cli

EVERY_COMMAND = [
    *("ls", "cat", "head", "put", "get", "cp", "mv", "rm", "sync", "doctor"),
    *("tags get", "tags set", "presign get", "presign put", "presign post"),
    *("stale-uploads list", "stale-uploads abort", "models list", "models versions", "models show"),
    *("models get", "models promote", "factors list", "factors get", "factors put"),
]


def test_help_and_completion_load_no_aws_library() -> None:
    """`--help` starts without aioboto3, botocore, the ingest and the artifacts."""
    script = (
        "import sys\n"
        "from greenlang_async_storage.cli import main\n"
        "sys.argv = ['greenlang-storage', '--help']\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert not loaded & {"aioboto3", "aiobotocore", "botocore", "boto3", "pyarrow", "joblib", "numpy"}
    assert "greenlang_async_storage.ingest" not in done.stderr.split()
    assert "greenlang_async_storage.artifacts" not in done.stderr.split()
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_every_command_explains_itself(name: str, offline: Cli) -> None:
    """Each command has a help of its own, with the common options."""
    done = offline.ok(*name.split(), "--help")
    assert "--json" in done.out
    assert "--profile" in done.out


def test_every_command_is_listed_here_and_documented(offline: Cli) -> None:
    """The list above is the program's own, and docs/cli.md has a section for each command and exit code."""
    found = []
    for line in commands_of(offline):
        inner = commands_of(offline, line)
        found += [f"{line} {name}" for name in inner] if inner else [line]
    assert sorted(found) == sorted(EVERY_COMMAND)
    text = (SOURCES / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in EVERY_COMMAND:
        assert re.search(rf"`{name}\b", text), f"docs/cli.md says nothing of {name}"
    for code in ExitCode:
        assert re.search(rf"^\| {int(code)} \|", text, re.MULTILINE), f"docs/cli.md leaves out code {code}"


def commands_of(cli: Cli, *group: str) -> list[str]:
    """The commands a help lists."""
    text = cli.ok(*group, "--help").out
    _, _, listed = text.partition("Commands")
    return re.findall(r"^│ ([a-z-]+) ", listed, re.MULTILINE)


def test_version(offline: Cli) -> None:
    """`--version` names program and version."""
    assert offline.ok("--version").out == f"greenlang-storage {__version__}\n"


def test_without_typer_one_line_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the extra is not installed, `main` says which it is."""
    real = importlib.util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return None if name == "typer" else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(SystemExit) as ended:
        greenlang_async_storage.cli.main()
    assert ended.value.code == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "pip install 'greenlang-async-storage[cli]'" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, offline: Cli) -> None:
    """Commands and the first word of a place complete in bash, zsh and fish; the script names the program."""
    arguments = {
        "bash": {"COMP_WORDS": "greenlang-storage st", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "greenlang-storage st"},
        "fish": {"_TYPER_COMPLETE_ARGS": "greenlang-storage st", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }
    done = offline.run(env={"_GREENLANG_STORAGE_COMPLETE": f"complete_{shell}", **arguments[shell]})
    assert "stale-uploads" in done.out, done
    source = offline.run(env={"_GREENLANG_STORAGE_COMPLETE": f"source_{shell}"})
    assert "greenlang-storage" in source.out
    assert "_GREENLANG_STORAGE_COMPLETE" in source.out


def test_places_complete(offline: Cli) -> None:
    """`cat da<TAB>` offers the data lake, without a network."""
    words = {"COMP_WORDS": "greenlang-storage cat da", "COMP_CWORD": "2"}
    done = offline.run(env={"_GREENLANG_STORAGE_COMPLETE": "complete_bash", **words})
    assert done.out.split() == ["data-lake:"]


def test_the_script_is_declared() -> None:
    """Installing the package gives the program."""
    text = (SOURCES / "pyproject.toml").read_text(encoding="utf-8")
    assert 'greenlang-storage = "greenlang_async_storage.cli:main"' in text
    assert PROGRAM[-1] == "greenlang_async_storage.cli"


def test_settings_that_cannot_work_are_usage(offline: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad variable is one line that names it, and exit code 2; no traceback."""
    monkeypatch.setenv("GREENLANG_STORAGE_PART_SIZE", "3")
    done = offline.call("cat", "s3://bucket/key")
    assert done.code == ExitCode.USAGE
    assert "GREENLANG_STORAGE_PART_SIZE" in done.err
    assert "Traceback" not in done.err
    assert done.err.count("\n") == 1


def test_an_unset_purpose_names_its_variable(offline: Cli) -> None:
    """`reports:` without a bucket says which variable to set."""
    done = offline.call("cat", "reports:key", "--endpoint-url", "http://127.0.0.1:9")
    assert (done.code, "GREENLANG_REPORTS_BUCKET" in done.err) == (ExitCode.USAGE, True)


def test_nobody_listens(offline: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is not there is exit code 7, and as JSON an object that says so."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("GREENLANG_STORAGE_MAX_ATTEMPTS", "1")
    place = ("s3://bucket/key", "--region", "eu-west-1", "--endpoint-url", "http://127.0.0.1:9")
    done = offline.call("head", *place, "--json")
    assert done.code == ExitCode.UNREACHABLE
    error = json.loads(done.err)["error"]
    assert (error["type"], error["exit_code"], error["bucket"]) == ("S3ConnectionError", 7, "bucket")
    assert done.out == ""


def test_no_credentials(offline: Cli) -> None:
    """Without credentials the exit code is 4 and the text says where they may come from."""
    done = offline.call("--endpoint-url", "http://127.0.0.1:9", "head", "s3://bucket/key", "--region", "x-1")
    assert done.code == ExitCode.ACCESS
    assert "AWS_PROFILE" in done.err


def test_a_profile_named_here_wins(offline: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--profile` is used even where the environment has keys, which botocore would prefer."""
    credentials = tmp_path / "credentials"
    credentials.write_text("[other]\naws_access_key_id = OTHERKEY\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    place = ("presign", "get", "s3://bucket/key", "--region", "eu-west-1")
    assert "ENVKEY" in offline.ok(*place).out
    assert "OTHERKEY" in offline.ok(*place, "--profile", "other").out


def test_debug_shows_the_traceback(offline: Cli) -> None:
    """`--debug` tells everything; without it a failure is one line."""
    done = offline.run("put", "missing", "s3://bucket/key", "--debug", env={"AWS_REGION": "eu-west-1"})
    assert "Traceback" in done.err
    assert done.code != 0


def test_an_upload_left_open_is_told(offline: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the store did not confirm an abort, the command says so and how to remove what is left."""
    run = Command(Options())
    statistics = SimpleNamespace(possible_orphans=2)
    run._session = cast("Any", SimpleNamespace(statistics=lambda: statistics))
    run.tell_orphans()
    text = capsys.readouterr().err
    assert "2 uploads may have been left open" in text
    assert "stale-uploads" in text
