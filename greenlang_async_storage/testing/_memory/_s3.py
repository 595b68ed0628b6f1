"""`MemoryS3`: the store itself, and the doors to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from greenlang_async_storage import StorageSession, StorageSettings
from greenlang_async_storage.testing._faults._plan import FaultPlan
from greenlang_async_storage.testing._faults._schedule import Schedule
from greenlang_async_storage.testing._memory._buckets import HANDLERS
from greenlang_async_storage.testing._memory._checksums import verify_signed
from greenlang_async_storage.testing._memory._state import Behaviour, BucketState, Version
from greenlang_async_storage.testing._memory._store import Store
from greenlang_async_storage.testing._memory._wire import Call, Refusal, Reply, http_date
from greenlang_async_storage.testing._operations import target_of
from greenlang_async_storage.testing._server import ServerSettings

if TYPE_CHECKING:
    from greenlang_async_storage.testing._memory._session import MemoryHttpSession

ENDPOINT: Final = "http://127.0.0.1:1"
"""Nothing listens there: a request that misses the in-memory store fails at once."""
MIN_PART_SIZE: Final = 5 * 1024 * 1024
OWNER: Final = "111122223333"


class MemoryS3:
    """
    An S3 in memory, for tests: no process, no socket, the same ids in every run.

        store = MemoryS3()
        store.create_bucket("lake")
        async with store.open_session() as session:
            await session.bucket("lake").upload_bytes("key", b"data")
        assert store.get("lake", "key") == b"data"

    Real are: conditional reads and writes, multipart uploads, versions, listings, checksums (verified),
    tags, metadata, copies, ranges and S3's errors. Not there: signatures, policies, KMS (its headers are
    repeated), SSE-C, POST forms. *behaviour* decides where stores differ: a second
    CompleteMultipartUpload succeeds on `aws`, says NoSuchUpload on `minio`, and on `moto` succeeds while
    the object is current; `aws` computes a CRC64NVME for writes without a checksum; `minio` lists open
    uploads by exact key only.

    *clock* gives the time of everything stored; *min_part_size* is S3's 5 MiB unless a test wants small
    parts; *owner* is the account that `expected_bucket_owner` is compared with. `faults` break things on
    the way (see `Schedule`); `requests` has every request that came.
    """

    def __init__(
        self,
        *,
        behaviour: Behaviour = "aws",
        region: str = "us-east-1",
        owner: str = OWNER,
        min_part_size: int = MIN_PART_SIZE,
        clock: Callable[[], datetime] | None = None,
        faults: Schedule | None = None,
    ) -> None:
        if behaviour not in ("aws", "minio", "moto"):
            raise ValueError(f"behaviour={behaviour!r} is none of aws, minio and moto")
        self._store = Store(behaviour, region, owner, clock or _now, min_part_size)
        self.faults = FaultPlan(faults)
        """What happens to requests on their way, and the log of all of them."""
        self.open_bodies = 0
        """Replies whose body was neither read to its end nor closed: 0 when nobody leaks."""

    # For tests: what is stored, without a request.

    def create_bucket(self, name: str, *, versioning: bool = False) -> None:
        """An empty bucket; nothing happens when it is there."""
        bucket = self._store.buckets.setdefault(
            name, BucketState(name, self._store.clock(), self._store.region)
        )
        if versioning:
            bucket.versioning = "Enabled"

    def keys(self, bucket: str) -> list[str]:
        """The keys of the current objects, in S3's order."""
        return [found.key for found in self._store.bucket(bucket).objects()]

    def get(self, bucket: str, key: str) -> bytes | None:
        """The bytes of the current object; `None` when there is none."""
        found = self._store.bucket(bucket).current(key)
        return None if found is None else found.data

    def metadata(self, bucket: str, key: str) -> dict[str, str] | None:
        """The user metadata of the current object, the SDK's own entries included."""
        found = self._store.bucket(bucket).current(key)
        return None if found is None else dict(found.metadata)

    def put(self, bucket: str, key: str, data: bytes, **headers: str) -> str:
        """Store *data*, as another client would; gives the ETag. `_` in header names stands for `-`."""
        named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        reply = self.handle("PUT", f"/{bucket}/{key}", named, data)
        if reply.status != 200:
            raise ValueError(f"the in-memory store refused: {reply.body.decode()}")
        return reply.headers["etag"].strip('"')

    def delete(self, bucket: str, key: str) -> None:
        """Delete the object, as another client would."""
        self.handle("DELETE", f"/{bucket}/{key}", {}, b"")

    def open_uploads(self, bucket: str) -> list[tuple[str, str]]:
        """Key and id of every open multipart upload."""
        return [(found.key, found.upload_id) for found in self._store.bucket(bucket).uploads.values()]

    def versions(self, bucket: str, key: str) -> list[bytes | None]:
        """The bytes of each version of *key*, oldest first; `None` for a delete marker."""
        kept: list[Version] = self._store.bucket(bucket).versions.get(key, [])
        return [None if version.marker else version.data for version in kept]

    # The store as a server.

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The reply to one HTTP request: *target* is path and query, header names are lower case."""
        store = self._store
        found = target_of(method, target, headers)
        request_id = store.new_id("R")
        now = store.clock()
        try:
            _require_fresh(found.query, now)
            store.require_owner(headers)
            verify_signed(headers, body)
            handler = HANDLERS.get(found.operation)
            if handler is None:
                text = f"The in-memory store does not know {found.operation}: use MotoServer or MinioServer."
                raise Refusal(501, "NotImplemented", text)
            call = Call(found.operation, found.bucket or "", found.key or "", found.query, headers, body)
            reply = handler(store, call)
        except Refusal as refusal:
            reply = refusal.reply(target.partition("?")[0], request_id)
        reply.headers |= {"x-amz-request-id": request_id, "date": http_date(now), "server": "MemoryS3"}
        reply.headers.setdefault("content-length", str(len(reply.body)))
        if method == "HEAD":
            reply.body = b""
        elif reply.status in (204, 304):
            del reply.headers["content-length"]
        return reply

    # Doors.

    def settings_kwargs(self) -> ServerSettings:
        """Arguments of `StorageSettings` for a session on this store."""
        return ServerSettings(
            endpoint_url=ENDPOINT,
            region=self._store.region,
            access_key_id="memory",
            secret_access_key="memory",  # noqa: S106 - nothing is signed for anybody
            kms_key_id="memory",
        )

    def http_session_class(self) -> type[MemoryHttpSession]:
        """
        A class for `AioConfig(http_session_cls=…)` of a plain aiobotocore client: it sends to this store.

        Give it to the client itself: `AioConfig.merge()` of aiobotocore 2.x loses it, so no default config.
        """
        from greenlang_async_storage.testing._memory._session import MemoryHttpSession

        return type("BoundMemoryHttpSession", (MemoryHttpSession,), {"store": self})

    async def attach(self, session: StorageSession) -> None:
        """Make an open *session* send to this store from now on; its connections are closed."""
        await self.attach_client(session.client)

    async def attach_client(self, client: Any) -> None:  # noqa: ANN401 - aiobotocore publishes no types
        """Make an entered aioboto3 or aiobotocore S3 *client* send to this store from now on."""
        endpoint = client._endpoint  # noqa: SLF001 - there is no public door to a client's HTTP session
        config = client.meta.config
        before = endpoint.http_session
        endpoint.http_session = await self.http_session_class()(
            timeout=(config.connect_timeout, config.read_timeout)
        ).__aenter__()
        await before.__aexit__(None, None, None)

    @asynccontextmanager
    async def open_session(self, settings: StorageSettings | None = None) -> AsyncIterator[StorageSession]:
        """
        An open `StorageSession` on this store.

        *settings* may be any; where requests go is decided here. Without them: `settings_kwargs()`, and
        whatever `GREENLANG_*` variables say of buckets. The compiled fast path steps aside for this HTTP
        session; to test through it, put a `FaultProxy` in front of the store, which gives it an address.
        """
        chosen = settings if settings is not None else StorageSettings(**self.settings_kwargs())
        async with StorageSession(chosen) as session:
            await self.attach(session)
            yield session


def _now() -> datetime:
    return datetime.now(UTC)


def _require_fresh(query: Mapping[str, str], now: datetime) -> None:
    """`AccessDenied` for a presigned URL whose time is over."""
    if "X-Amz-Date" in query and "X-Amz-Expires" in query:
        signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if now > signed + timedelta(seconds=int(query["X-Amz-Expires"])):
            raise Refusal(403, "AccessDenied", "Request has expired")
