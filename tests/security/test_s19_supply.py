"""S19: what is installed is pinned, comes from where it says, and may be used."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
ALLOWED: Final = re.compile(
    r"MIT|Apache|BSD|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|Zlib|HPND|CNRI", re.IGNORECASE
)
FORBIDDEN: Final = re.compile(r"(?<!L)GPL|AGPL|SSPL|Business Source|Proprietary", re.IGNORECASE)


def runtime() -> set[str]:
    """The distributions an installation without extras brings, by following what each requires."""
    todo, found = ["greenlang-async-storage"], set[str]()
    while todo:
        for line in metadata.requires(todo.pop()) or []:
            name = re.split(r"[\s\[<>=!~;(]", line)[0].lower().replace("_", "-")
            if "extra ==" not in line and name not in found:
                try:
                    metadata.distribution(name)
                except metadata.PackageNotFoundError:
                    continue  # of another platform
                found.add(name)
                todo.append(name)
    return found


def pins() -> dict[str, str]:
    """Name and version of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def test_s19_everything_at_run_time_is_pinned_and_as_pinned() -> None:
    """Each distribution has its pin, and the tests run on exactly that version."""
    pinned = pins()
    wrong = {
        name: (metadata.version(name), pinned.get(name))
        for name in runtime()
        if pinned.get(name) != metadata.version(name)
    }
    assert wrong == {}


@pytest.mark.parametrize("name", sorted(runtime()))
def test_s19_licences_allow_use(name: str) -> None:
    """Each dependency at run time has a licence of the permissive kinds, named in its metadata."""
    told = metadata.metadata(name)
    named = [*(told.get_all("License-Expression") or []), *(told.get_all("License") or [])]
    named += [line for line in told.get_all("Classifier") or [] if line.startswith("License ::")]
    licence = " | ".join(text[:60] for text in named)
    assert ALLOWED.search(licence), licence
    assert not FORBIDDEN.search(licence), licence


def test_s19_nothing_comes_from_elsewhere() -> None:
    """No dependency is named by an address, a repository or a path, and no index is configured."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project.get("dependency-groups", {}).values()
    asked = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    asked += [line for lines in project["project"]["optional-dependencies"].values() for line in lines]
    asked += [line for lines in groups for line in lines if isinstance(line, str)]
    assert asked
    assert not [line for line in asked if "@" in line or "://" in line]
    assert not list(ROOT.glob("pip.conf"))
