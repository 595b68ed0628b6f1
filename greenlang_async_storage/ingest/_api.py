"""The three ways to make a plan."""

from __future__ import annotations

from collections.abc import Sequence

from greenlang_async_storage import Bucket, StrPath, WriteOptions

from ._plan import Plan
from ._types import Compare, IngestHook


async def plan_upload(
    directory: StrPath,
    bucket: Bucket,
    prefix: str = "",
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    delete: bool = False,
    compare: Compare = "checksum",
    journal: StrPath | None = None,
    on_progress: IngestHook | None = None,
    follow_symlinks: bool = False,
    options: WriteOptions | None = None,
) -> Plan:
    """What makes the objects under *prefix* equal to the files in *directory*; nothing is changed yet."""
    raise NotImplementedError


async def plan_download(
    bucket: Bucket,
    prefix: str,
    directory: StrPath,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    delete: bool = False,
    compare: Compare = "checksum",
    journal: StrPath | None = None,
    on_progress: IngestHook | None = None,
) -> Plan:
    """What makes the files in *directory* equal to the objects under *prefix*; nothing is changed yet."""
    raise NotImplementedError


async def plan_copy(
    source_bucket: Bucket,
    source_prefix: str,
    target_bucket: Bucket,
    target_prefix: str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    delete: bool = False,
    compare: Compare = "checksum",
    journal: StrPath | None = None,
    on_progress: IngestHook | None = None,
) -> Plan:
    """What makes one prefix equal to another, also in another bucket or store; nothing is changed yet."""
    raise NotImplementedError
