"""What the project says about itself in several places agrees."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import greenlang_async_storage

ROOT = Path(__file__).parents[1]


def project() -> dict[str, Any]:
    """The parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_version_has_one_home() -> None:
    """`__version__`, the installed metadata and the newest entry of the changelog are the same version."""
    newest = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert greenlang_async_storage.__version__ == newest == metadata.version("greenlang-async-storage")


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-next.txt"])
def test_constraints_are_pins_only(name: str) -> None:
    """Constraints name exact versions, no index, no address and no option."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    assert lines
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)]
    assert not wrong


def test_every_development_tool_is_pinned() -> None:
    """What pyproject.toml asks for by name has its version in constraints.txt."""
    groups = project()["dependency-groups"]
    asked = [entry for name in ("test", "dev") for entry in groups[name] if isinstance(entry, str)]
    asked += project()["project"]["dependencies"]
    names = {re.split(r"[\[<>=!~ ]", entry)[0] for entry in asked}
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines_of("constraints.txt")}
    assert names <= pinned


def lines_of(name: str) -> list[str]:
    """The lines of a file of the project."""
    return (ROOT / name).read_text().splitlines()


def test_all_means_all() -> None:
    """`[all]` names every other extra."""
    extras = project()["project"]["optional-dependencies"]
    [everything] = extras["all"]
    named = everything.split("[")[1].rstrip("]").split(",")
    assert sorted(named) == sorted(set(extras) - {"all"})


def test_the_pinned_stack_is_the_supported_one() -> None:
    """The fast path is written against one aiobotocore: development runs on exactly that."""
    assert {"aioboto3==15.5.0", "aiobotocore==2.25.1"} <= set(lines_of("constraints.txt"))
    assert any(line.startswith("aiobotocore==3.") for line in lines_of("constraints-next.txt"))


def test_every_make_target_is_explained() -> None:
    """`make` alone lists every target a person may want."""
    targets = re.findall(r"^\.PHONY: (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    explained = re.findall(r"^([a-z-]+):.*## .+", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(targets) == sorted(explained)


def test_ruff_exceptions_have_reasons() -> None:
    """Each rule that is switched off has its reason on the same line."""
    ruff = (ROOT / "pyproject.toml").read_text().split("[tool.ruff.lint]")[1]
    rules = re.findall(r'^    "[A-Z]+[0-9]*".*$', ruff, re.MULTILINE)
    assert rules
    assert not [line for line in rules if not re.search(r"# \S+", line)]
