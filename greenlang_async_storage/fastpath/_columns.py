"""A page of ListObjectsV2 for the SDK's own listing: columns instead of a dictionary per object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import unquote_plus

from greenlang_async_storage.fastpath._layouts import Layout, Row, Unescape, converted
from greenlang_async_storage.fastpath._times import utc_timestamps

MEMBER: Final = "Contents"
_REQUIRED: Final = frozenset({"Key", "Size", "ETag", "LastModified"})
_wanted: ContextVar[bool] = ContextVar("fastpath_columns_wanted", default=False)
_SEPARATOR: Final = "\0"


@dataclass(slots=True)
class Columns:
    """What `Contents` holds: as many items in each sequence as there are objects."""

    keys: Sequence[str]
    sizes: Sequence[int]
    etags: Sequence[str]
    """As sent, quotes included."""
    moments: Sequence[datetime]
    """In UTC."""
    classes: Sequence[str | None]

    def decode_keys(self) -> None:
        """Undo `encoding-type=url`."""
        self.keys = decoded(self.keys)


def columns_of(layout: Layout, rows: Sequence[Row], unescape: Unescape) -> Columns | None:
    """The columns of entries of one layout; None when it lacks what S3 sends of every object."""
    places = {name: index for index, name, _ in layout.steps}
    if not places.keys() >= _REQUIRED:
        return None
    texts = list(zip(*rows, strict=False))
    for _, steps in layout.nested:
        for index, _, convert in steps:
            if convert is not str:
                converted(texts[index], convert, unescape)  # fails as it does where it is wanted
    absent: Sequence[str | None] = [None] * len(rows)
    return Columns(
        converted(texts[places["Key"]], str, unescape),
        converted(texts[places["Size"]], int, unescape),
        converted(texts[places["ETag"]], str, unescape),
        utc_timestamps(converted(texts[places["LastModified"]], str, unescape)),
        converted(texts[places["StorageClass"]], str, unescape) if "StorageClass" in places else absent,
    )


def decoded(texts: Sequence[str]) -> Sequence[str]:
    """`unquote_plus` of each of *texts*."""
    joined = _SEPARATOR.join(texts)
    if "%" not in joined and "+" not in joined:
        return texts
    # All at once: UTF-8 is decoded anew behind every ASCII character, a separator as well.
    keys = unquote_plus(joined).split(_SEPARATOR)
    return keys if len(keys) == len(texts) else [unquote_plus(text) for text in texts]


@contextmanager
def columns_wanted() -> Iterator[None]:
    """Within the block, in this task: a listing's reply may come with `Columns` in place of its entries."""
    token = _wanted.set(True)
    try:
        yield
    finally:
        _wanted.reset(token)


def are_wanted() -> bool:
    """Whether the caller of this call understands `Columns`."""
    return _wanted.get()
