"""The shape of the package: imports go down, modules stay small, public names are sorted and documented."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import greenlang_async_storage

PACKAGE = "greenlang_async_storage"
ROOT = Path(str(greenlang_async_storage.__file__)).parent
SOURCES = Path(__file__).parents[1]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

LAYERS: dict[int, set[str]] = {
    0: {
        "_closing",
        "_collector",
        "_deadline",
        "_endpoints",
        "_error_map",
        "_errors",
        "_lifecycle",
        "_log",
        "_names",
        "_settings",
        "_types",
        "_version",
        "fastpath",
    },
    1: {
        "_arguments",
        "_aws",
        "_aws_session",
        "_checksums",
        "_chunks",
        "_concurrency",
        "_conditions",
        "_content_types",
        "_credentials",
        "_headers",
        "_http_sessions",
        "_info",
        "_local_files",
        "_options",
        "_partial_file",
        "_payload",
        "_retry",
        "_tags",
    },
    2: {"_body", "_connection", "_requests"},
    3: {
        "_admin",
        "_download_parts",
        "_downloads",
        "_listing",
        "_multipart",
        "_objects",
        "_presign",
        "_ranges",
        "_verify",
    },
    4: {"_copy", "_download_file", "_probe", "_uploads"},
    5: {"_batch"},
    6: {"_bucket"},
    7: {"_session"},
    8: {"__init__"},
    9: {"artifacts"},
}
RING = {"cli", "fastapi", "ingest", "metrics", "otel", "parquet", "ray", "testing"}
PUBLIC = {"__init__", "artifacts", "fastpath", *RING}

# The only imports inside one layer: importer -> imported.
SAME_LAYER: dict[str, set[str]] = {
    "_aws": {"_aws_session"},
    "_aws_session": {"_credentials", "_http_sessions"},
    "_closing": {"_log"},
    "_connection": {"_body", "_requests"},
    "_download_parts": {"_ranges"},
    "_downloads": {"_ranges", "_verify"},
    "_error_map": {"_errors"},
    "_info": {"_checksums", "_options"},
    "_lifecycle": {"_deadline", "_errors", "_log"},
    "_local_files": {"_concurrency"},
    "_objects": {"_multipart"},
    "_options": {"_conditions", "_content_types", "_headers", "_tags"},
    "_partial_file": {"_checksums", "_local_files"},
    "_settings": {"_endpoints", "_names", "_types"},
    "_types": {"_errors"},
    "_verify": {"_ranges"},
}


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path

    @property
    def parts(self) -> tuple[str, ...]:
        """Its place below the package; `()` is the package itself."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return parts[:-1] if parts[-1] == "__init__" else parts

    @property
    def top(self) -> str:
        """The row of the layer table it belongs to."""
        return self.parts[0] if self.parts else "__init__"

    @property
    def name(self) -> str:
        """Its dotted name below the package."""
        return ".".join(self.parts) or "__init__"

    def imports(self) -> Iterator[tuple[str, ...]]:
        """The modules of this package it imports, type-only and local imports included."""
        package = self.parts if self.path.name == "__init__.py" else self.parts[:-1]
        for node in ast.walk(tree(self.path)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first, *rest = alias.name.split(".")
                    if first == PACKAGE:
                        yield module_of(tuple(rest))
            elif isinstance(node, ast.ImportFrom):
                named = tuple(node.module.split(".")) if node.module else ()
                if node.level:
                    base = package[: len(package) - node.level + 1] + named
                elif named and named[0] == PACKAGE:
                    base = named[1:]
                else:
                    continue
                for alias in node.names:
                    yield module_of((*base, alias.name))


@cache
def tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def modules() -> dict[str, Module]:
    """Every module of the package by its dotted name below it."""
    found = [Module(path) for path in sorted(ROOT.rglob("*.py"))]
    return {module.name: module for module in found}


def module_of(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The longest beginning of *parts* that is a module."""
    while parts and ".".join(parts) not in modules():
        parts = parts[:-1]
    return parts


def layer_of(top: str) -> int:
    """The layer of a row; the ring is above all."""
    return next((layer for layer, names in LAYERS.items() if top in names), max(LAYERS) + 1)


def module_cases() -> list[object]:
    """All modules as test cases."""
    return [pytest.param(module, id=name) for name, module in modules().items()]


def test_every_module_has_a_layer() -> None:
    """A new module of the package is entered in the table before it is used."""
    known = set().union(*LAYERS.values()) | RING
    unknown = {module.top for module in modules().values()} - known
    assert not unknown, f"enter in LAYERS: {sorted(unknown)}"


@pytest.mark.parametrize("module", module_cases())
def test_imports_go_down(module: Module) -> None:
    """A module imports from lower layers only, and inside a layer only what is listed."""
    for target in module.imports():
        top = target[0] if target else "__init__"
        if top == module.top:
            continue
        if module.top in RING:
            assert top in PUBLIC, f"{module.name} is in the ring and imports the private {top}"
        elif layer_of(top) == layer_of(module.top):
            listed = SAME_LAYER.get(module.top, set())
            assert top in listed, f"{module.name} imports {top} of its own layer {layer_of(top)}"
        else:
            assert layer_of(top) < layer_of(module.top), (
                f"{module.name} (layer {layer_of(module.top)}) imports {top} (layer {layer_of(top)})"
            )


@pytest.mark.parametrize("module", module_cases())
def test_packages_are_entered_by_their_door(module: Module) -> None:
    """What is private inside a package is imported inside that package only."""
    for target in module.imports():
        if target and target[0] != module.top:
            inner = [part for part in target[1:] if part.startswith("_")]
            assert not inner, f"{module.name} reaches into {'.'.join(target)}"


def test_the_fast_path_knows_nothing_above() -> None:
    """`fastpath` imports nothing of the package but itself."""
    outside = {
        (module.name, target)
        for module in modules().values()
        if module.top == "fastpath"
        for target in module.imports()
        if target[:1] != ("fastpath",)
    }
    assert not outside


def test_no_cycle() -> None:
    """No module imports itself through others."""
    edges = {
        name: {".".join(target) or "__init__" for target in module.imports()} - {name}
        for name, module in modules().items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"import cycle: {' -> '.join((*path[path.index(name) :], name))}"
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def source_files() -> list[object]:
    """The project's Python files as test cases; in a test of the wheel only what is there."""
    folders = ("tests", "tools", "examples", "benchmarks", "docs")
    found = [path for folder in folders for path in sorted((SOURCES / folder).rglob("*.py"))]
    return [pytest.param(path, id=path.name) for path in [*sorted(ROOT.rglob("*.py")), *found]]


@pytest.mark.parametrize("path", source_files())
def test_files_stay_small(path: Path) -> None:
    """No file has more than 400 lines."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE_LINES, f"{path.name} has {lines} lines: split it"


@pytest.mark.parametrize("module", module_cases())
def test_functions_stay_small(module: Module) -> None:
    """No function of the package has more than 60 lines, its docstring not counted."""
    for node in ast.walk(tree(module.path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                text = node.body[0]
                lines -= (text.end_lineno or text.lineno) - text.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{module.name}.{node.name} has {lines} lines"


@pytest.mark.parametrize("module", module_cases())
def test_everything_is_typed(module: Module) -> None:
    """Every function says what it takes and gives."""
    for node in ast.walk(tree(module.path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            spec = node.args
            named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
            arguments = [argument for argument in named if argument is not None]
            bare = [argument.arg for argument in arguments if argument.annotation is None]
            assert not set(bare) - {"self", "cls"}, f"{module.name}.{node.name}: {bare}"
            assert node.returns is not None, f"{module.name}.{node.name} says no result"
    assert (ROOT / "py.typed").is_file()


def public_modules() -> list[object]:
    """Modules whose dotted name has no private part, as test cases."""
    names = [name for name in modules() if not any(part.startswith("_") for part in name.split("."))]
    return [pytest.param(name, id=name or PACKAGE) for name in ["", *names]]


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions and modules, each by name."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", public_modules())
def test_public_names(name: str) -> None:
    """`__all__` is sorted, complete and true, and each class and function in it is documented by itself."""
    if name == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("the extra [ray] is not installed here; `make services` does it")
    module = importlib.import_module(f"{PACKAGE}.{name}" if name else PACKAGE)
    assert module.__doc__, "say in its docstring what the module gives"
    exported: list[str] = module.__all__
    assert exported == sorted(set(exported), key=order)
    names = {
        found
        for found, value in vars(module).items()
        if not found.startswith("_") and not inspect.ismodule(value) and found != "annotations"
    }
    assert names <= set(exported), f"not in __all__: {sorted(names - set(exported))}"
    for found in exported:
        value = getattr(module, found)
        if inspect.isclass(value) or inspect.isroutine(value):
            written = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
            assert written, f"{found} has no docstring"
            assert not written.startswith(f"{found}("), f"{found} has a generated docstring only"


def test_import_is_light() -> None:
    """Importing its names imports no AWS client library: that happens when a session opens, in a thread."""
    check = f"import sys, {PACKAGE}; {PACKAGE}.Bucket; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"aioboto3", "boto3", "aiobotocore", "moto", "aiohttp"}
