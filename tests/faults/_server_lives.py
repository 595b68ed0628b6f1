"""T2 and T3: lives through the fault proxy before a server, which is asked directly what it holds."""

from __future__ import annotations

import asyncio
import base64
import tempfile
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from greenlang_async_storage import StorageSession, StorageSettings
from greenlang_async_storage.testing import FaultProxy, StorageServer
from tests.faults._life import Plan, plan
from tests.faults._played import MOST_SHRUNK, Played, smallest, told
from tests.faults._simulated import PART, small_parts
from tests.faults._worlds import ALL_SCENES, Door, at_once
from tests.support.servers import observer_client

LARGE_PART: Final = 5 * 1024 * 1024
MOST_BYTES: Final = 64 * 1024
# moto takes a body that is not what its digest says.
UNPROVED_BY_MOTO: Final = frozenset({("request_body", "flip")})


@dataclass(frozen=True, slots=True)
class Place:
    """A server, a bucket of it, and by which path to go there; for another process."""

    name: str
    endpoint_url: str
    region: str
    access_key: str
    secret_key: str
    bucket: str
    fast_path: bool

    @classmethod
    def of(cls, server: StorageServer, bucket: str, *, fast_path: bool) -> Place:
        """A new *bucket* of *server*."""
        with closing(observer_client(server)) as client:
            client.create_bucket(Bucket=bucket)
        keys = server.access_key, server.secret_key
        return cls(server.name, server.endpoint_url, server.region, *keys, bucket, fast_path)

    @property
    def part(self) -> int:
        """Bytes of a part; moto is started with a lower least size, MinIO has S3's own."""
        return PART if self.name == "moto" else LARGE_PART

    def observer(self) -> Any:
        """A plain blocking client of the server itself."""
        return observer_client(cast("StorageServer", self))  # it has what is asked of one

    def settings(self, url: str) -> StorageSettings:
        """Those of a session at *url*."""
        made = StorageSettings(
            endpoint_url=url,
            region=self.region,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            data_lake_bucket=self.bucket,
            retry_mode="standard",
            fast_path=self.fast_path,
            encryption="none",
        )
        sizes = {"part_size": self.part, "multipart_threshold": self.part, "transfer_concurrency": 3}
        return made.model_copy(update=sizes)


@dataclass(frozen=True, slots=True)
class ServerStore:
    """A server asked with a plain blocking client, in a thread."""

    client: Any
    bucket: str

    async def put(self, key: str, data: bytes) -> str:
        """Store *data* with its CRC32."""
        crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        call = partial(self.client.put_object, Bucket=self.bucket, Key=key, Body=data, ChecksumCRC32=crc)
        reply = await asyncio.to_thread(call, ChecksumAlgorithm="CRC32")
        return str(reply["ETag"]).strip('"')

    async def content(self, key: str) -> bytes | None:
        """What is there."""
        return await asyncio.to_thread(self._content, key)

    def _content(self, key: str) -> bytes | None:
        try:
            reply = self.client.get_object(Bucket=self.bucket, Key=key)
        except self.client.exceptions.NoSuchKey:
            return None
        with closing(reply["Body"]) as body:
            return bytes(body.read())

    async def open_uploads(self, prefix: str, keys: Sequence[str]) -> int:
        """Those of *keys*, aborted; MinIO lists them by exact key only."""
        return await asyncio.to_thread(self._open_uploads, prefix, keys)

    def _open_uploads(self, prefix: str, keys: Sequence[str]) -> int:
        count = 0
        for key in keys:
            listed = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=key).get("Uploads", [])
            for upload in listed:
                if upload["Key"].startswith(prefix):
                    count += 1
                    place = {"Bucket": self.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                    self.client.abort_multipart_upload(**place)
        return count

    async def clear(self, prefix: str) -> None:
        """Delete everything under *prefix*."""
        await asyncio.to_thread(self._clear, prefix)

    def _clear(self, prefix: str) -> None:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        if found:
            doomed = [{"Key": entry["Key"]} for entry in found]
            self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": doomed, "Quiet": True})


def server_plan(place: Place, seed: int) -> Plan:
    """The life of *seed*: two scenes, nothing that waits."""
    left_out = UNPROVED_BY_MOTO if place.name == "moto" else frozenset()
    most_bytes = 3 * PART if place.name == "moto" else MOST_BYTES
    return plan(seed, scenes=ALL_SCENES, count=2, waits=False, most_bytes=most_bytes, left_out=left_out)


@asynccontextmanager
async def server_door(place: Place, folder: Path) -> AsyncIterator[Door]:
    """A session behind a proxy of its own."""
    at_once()
    if place.part == PART:
        small_parts()
    async with AsyncExitStack() as stack:
        client = stack.enter_context(closing(place.observer()))
        proxy = await stack.enter_async_context(FaultProxy(place.endpoint_url))
        session = await stack.enter_async_context(StorageSession(place.settings(proxy.url)))
        store = ServerStore(client, place.bucket)
        yield Door(session, store, proxy.faults, place.part, folder, virtual=False)


async def _play(place: Place, lives: Sequence[Plan], found: Played) -> None:
    """Play *lives*, after one that failed behind a door opened anew."""
    left = list(lives)
    while left:
        with tempfile.TemporaryDirectory(prefix="lives-") as made:
            async with server_door(place, Path(made)) as door:
                while left:
                    life = left.pop(0)
                    found.schedules += 1
                    try:
                        await door.play(life)
                    except Exception as error:  # noqa: BLE001  # whatever it is, it is what we look for
                        found.failures.append(told(life, error))
                        break
                    found.requests += len(door.faults.requests)
                    found.faults += sum(len(sent.faults) for sent in door.faults.requests)


def breaks(life: Plan, place: Place) -> bool:
    """Whether one life breaks a promise."""
    found = Played()
    asyncio.run(_play(place, [life], found))
    return bool(found.failures)


def play_server(place: Place, start: int, stop: int) -> Played:
    """The lives of the seeds from *start* to *stop* at *place*; failures that come again are shrunk."""
    found = Played()
    lives = {seed: server_plan(place, seed) for seed in range(start, stop)}
    asyncio.run(_play(place, list(lives.values()), found))
    for index, text in enumerate(found.failures[:MOST_SHRUNK]):
        life = lives[int(text.split(":")[0].removeprefix("seed "))]
        if breaks(life, place):
            least = smallest(life, lambda one: breaks(one, place))
            found.failures[index] = f"{text}; smallest: {least.to_json()}"
    return found
