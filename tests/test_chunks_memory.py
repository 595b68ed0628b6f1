"""Memory for parts: zero, writable, and there when the system has no huge pages or none at all."""

from __future__ import annotations

import mmap
import sys
from typing import Any, NoReturn

import pytest

from greenlang_async_storage._chunks import part_memory

MIB = 1024 * 1024


@pytest.mark.parametrize("size", [1, 4095, 8 * MIB, 8 * MIB + 1])
def test_it_is_zero_and_writable(size: int) -> None:
    """Exactly as many bytes as were asked for, each of them zero until written to."""
    view = memoryview(part_memory(size))
    assert len(view) == size
    assert (view[0], view[-1], view.readonly) == (0, 0, False)
    view[-1] = 1
    assert view[-1] == 1


def test_a_kernel_without_huge_pages_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is as good in small pages."""
    refused: list[int] = []

    class Plain(mmap.mmap):
        def madvise(self, option: int, *_: int) -> NoReturn:
            refused.append(option)
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Plain)
    assert len(part_memory(4 * MIB)) == 4 * MIB
    assert refused == ([mmap.MADV_HUGEPAGE] if sys.platform == "linux" else [])


def test_no_memory_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every other object, and no failure of a file."""

    def full(*_: Any, **__: Any) -> NoReturn:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", full)
    with pytest.raises(MemoryError, match="no memory for a part of 4096 bytes"):
        part_memory(4096)
