"""Reading listed objects inside `ray.data`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import TypedDict

from greenlang_async_storage import S3InvalidRequestError, StorageSession, StorageSettings


class ObjectRow(TypedDict):
    """One object as a row of a dataset."""

    key: str
    size: int
    etag: str
    data: bytes


class ObjectReader:
    """
    A callable class for `Dataset.map`: rows with a `key` become rows with the object's verified bytes.

    ```python
    dataset = ray.data.from_items([{"key": info.key} async for info in lake.list_objects("bronze/")])
    rows = dataset.map(ObjectReader, fn_constructor_args=(settings, "my-lake"), concurrency=2)
    ```

    Each actor of Ray has one session, on an event loop in a thread of its own, opened with the first row.
    Objects are held in memory, at most *max_size* bytes each.
    """

    def __init__(self, settings: StorageSettings, bucket: str, *, max_size: int = 64 * 1024 * 1024) -> None:
        self._settings = settings
        self._bucket = bucket
        self._max_size = max_size
        self._loop = asyncio.new_event_loop()
        self._session: StorageSession | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="storage-reader", daemon=True)
        self._thread.start()

    def __call__(self, row: Mapping[str, object]) -> ObjectRow:
        """
        The object that *row* names.

        Raises:
            S3NotFoundError: it is gone.
            S3IntegrityError: its bytes are not what was stored.
            S3InvalidRequestError: larger than *max_size*.
        """
        return asyncio.run_coroutine_threadsafe(self._read(str(row["key"])), self._loop).result()

    def close(self) -> None:
        """Close the session and end the thread."""
        if self._session is not None:
            asyncio.run_coroutine_threadsafe(self._session.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _read(self, key: str) -> ObjectRow:
        if self._session is None:
            self._session = await StorageSession(self._settings).__aenter__()
        async with self._session.bucket(self._bucket).open_download(key) as body:
            if body.info.size > self._max_size:
                raise S3InvalidRequestError(
                    f"{key!r} has {body.info.size} bytes, more than max_size={self._max_size}",
                    operation="GetObject",
                    bucket=self._bucket,
                    key=key,
                    remedy="Raise max_size=, or leave the object out of the dataset.",
                )
            return ObjectRow(key=key, size=body.info.size, etag=body.info.etag, data=await body.read())
