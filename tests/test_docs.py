"""The code in README and docs runs, block by block, as it stands."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from greenlang_async_storage import StorageSession

if TYPE_CHECKING:
    from greenlang_async_storage.testing import MinioServer

ROOT = Path(__file__).parents[1]
PURPOSES = ("data_lake", "reports", "models", "temp", "cache")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[Any]:
    """Every Python block of README and docs, named by file and line."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            found.append(pytest.param("\n" * (line - 1) + match[1], id=f"{page.name}:{line}"))
    return found


@pytest.mark.asyncio
@pytest.mark.allow_blocking("examples print, and read files as scripts do")
@pytest.mark.parametrize("code", blocks())
async def test_code_blocks_run(
    code: str,
    minio_server: MinioServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A block needs nothing but its own imports, the five buckets, and the imports of the quick start."""
    monkeypatch.chdir(tmp_path)
    for variable, value in minio_server.env().items():
        monkeypatch.setenv(variable, value)
    for purpose in PURPOSES:
        monkeypatch.setenv(f"GREENLANG_{purpose.upper()}_BUCKET", f"docs-{purpose.replace('_', '-')}")
    async with StorageSession() as session:
        await session.ensure_buckets()
    namespace: dict[str, Any] = {"StorageSession": StorageSession}
    program = compile(code, "README", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(program, namespace)  # noqa: S307  # our own documentation
    if inspect.isawaitable(result):
        await result
    async with StorageSession() as session:
        for purpose in PURPOSES:
            bucket = getattr(session, purpose)
            await bucket.delete_many([found.key async for found in bucket.list_objects()])


def test_there_are_blocks_to_run() -> None:
    """The pattern finds the README's recipes."""
    assert len(blocks()) >= 8
