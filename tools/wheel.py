"""
Builds the wheel and runs the tests against it, away from the sources, on the oldest and newest Python here.

What passed is remembered by content (wheel, tests, pins): the second run has nothing to do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tools.pythons import pythons

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "wheel"
EXTRAS = "cli,demo,fastapi,json,metrics,otel,parquet,testing"  # [all] without ray, which is large
CONSTRAINTS = ROOT / "constraints.txt"
MINIO = ROOT / ".tools" / "bin" / "minio"
PYPROJECT = ROOT / "pyproject.toml"
# What the tests look at, beside themselves. The package is not among it: they have to find the installed one.
BESIDE = (
    "tests", "docs", "examples", "benchmarks", "tools", "README.md", "CHANGELOG.md", "LICENSE", "Makefile",
    "constraints.txt", "constraints-next.txt", "docker-compose.yml", "pyproject.toml",
)  # fmt: skip


CONTRACT = (
    "api", "session", "settings", "uploads", "uploads_stream", "downloads", "download_file", "listing",
    "objects", "copy", "multipart", "presign", "batch",
)  # fmt: skip


def run(*command: object, **options: object) -> None:
    """Run a command; the script ends when it fails."""
    text = [str(part) for part in command]
    done = subprocess.run(text, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(done.returncode)


def digest(paths: Iterable[Path]) -> str:
    """One hash over names and contents."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def files(*names: str) -> list[Path]:
    """All files below these names, caches left out."""
    found: list[Path] = []
    for name in names:
        path = ROOT / name
        found += [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return [path for path in found if "__pycache__" not in path.parts]


def build() -> Path:
    """The built wheel, checked: pure, typed, nothing but the package in it."""
    target = BUILD / "dist"
    shutil.rmtree(target, ignore_errors=True)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", target, ROOT)
    [wheel] = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    package = "greenlang_async_storage"
    strangers = [name for name in names if not name.startswith((f"{package}/", f"{package}-"))]
    assert not strangers, f"not of the package: {strangers}"
    assert wheel.name.endswith("-py3-none-any.whl"), wheel.name
    assert f"{package}/py.typed" in names, "the wheel has lost py.typed"
    sources = {str(path.relative_to(ROOT)) for path in files(package)}
    assert sources <= set(names), f"not in the wheel: {sorted(sources - set(names))}"
    return wheel


def environment(version: tuple[int, int], program: str) -> Path:
    """The Python of an environment with all that the wheel and its tests need; kept while the pins stay."""
    folder = ROOT / f".venv-wheel-{version[0]}.{version[1]}"
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    wanted = digest([CONSTRAINTS, PYPROJECT])
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        run(program, "-m", "venv", folder)
        run(python, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, "pip")
        run(python, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, "--group", f"{PYPROJECT}:test")
        run(
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "-c",
            CONSTRAINTS,
            f"{next(BUILD.glob('dist/*.whl'))}[{EXTRAS}]",
        )
        run(python, "-m", "pip", "install", "-q", "--no-deps", "-c", CONSTRAINTS, "codecarbon")
        stamp.write_text(wanted)
    return python


def copy_tests() -> Path:
    """A folder with the tests and what they read, without the package."""
    target = BUILD / "tree"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in BESIDE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, target / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
            )
        elif source.exists():
            shutil.copy(source, target / name)
    return target


def selection(*, newest: bool) -> list[str]:
    """
    On the oldest Python, which the source run covers, each verb once; on the newest all that may differ.

    On MinIO alone, and without what needs more than the package: services, and drills of faults.
    """
    chosen = ["-m", "not slow", "-k", "not moto"]
    if newest:
        return [*chosen, *(f"--ignore=tests/{name}" for name in ("services", "faults", "uvloop"))]
    return [*chosen, *(f"tests/test_{name}.py" for name in CONTRACT)]


def test(
    version: tuple[int, int], program: str, wheel: Path, wanted: str, jobs: str, *, newest: bool
) -> None:
    """Install *wheel* and run its tests in *jobs* processes, unless the same content has passed before."""
    passed = BUILD / f"passed-{version[0]}.{version[1]}"
    if passed.exists() and passed.read_text() == wanted:
        print(f"wheel on Python {version[0]}.{version[1]}: passed before, nothing has changed", flush=True)
        return
    print(f"wheel on Python {version[0]}.{version[1]}", flush=True)
    python = environment(version, program)
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall", wheel)
    tree = copy_tests()
    where = "import greenlang_async_storage as g; assert 'site-packages' in g.__file__; print(g.__version__)"
    run(python, "-c", where, cwd=tree, stdout=subprocess.DEVNULL)
    variables = {**os.environ, **({"GREENLANG_STORAGE_MINIO": str(MINIO)} if MINIO.exists() else {})}
    chosen = selection(newest=newest)
    side_by_side = ("-n", jobs, "--dist", "loadfile")
    run(
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *side_by_side,
        *chosen,
        cwd=tree,
        env=variables,
    )
    passed.write_text(wanted)


def main() -> None:
    """Build, and test on the oldest and the newest Python, in as many processes as the command line says."""
    jobs = sys.argv[1] if len(sys.argv) > 1 else "2"
    found = pythons()
    chosen = {version: found[version] for version in (min(found), max(found))}
    wheel = build()
    kept = ("greenlang_async_storage", *BESIDE)
    # A run on other terms proves something else.
    terms = (os.environ.get("CI"), os.environ.get("PYTEST_ADDOPTS"), MINIO.exists())
    wanted = f"{digest(files(*kept))} {terms}"
    for version, program in chosen.items():
        test(version, program, wheel, wanted, jobs, newest=version == max(chosen))


if __name__ == "__main__":
    main()
