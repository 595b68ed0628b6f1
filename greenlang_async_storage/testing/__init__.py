"""
For tests and demos: storage servers, a store in memory, and faults on purpose.

    with MinioServer.start() as server:                     # a process of its own; MotoServer alike
        os.environ.update(server.env())

    store = MemoryS3()                                      # no process, no socket
    store.create_bucket("lake")
    async with store.open_session() as session: ...

    lost = Schedule.of(Fault("CompleteMultipartUpload", 1, "withheld", "reset"))
    async with FaultProxy(server, lost) as proxy:           # or MemoryS3(faults=lost)
        settings = StorageSettings(endpoint_url=proxy.url)

Servers listen on loopback only, on a free port, with a fresh folder that goes away with them. Their calls
block (they start and stop processes): use `asyncio.to_thread` inside a coroutine.
"""

from greenlang_async_storage.testing._faults._plan import FaultPlan, WireRequest
from greenlang_async_storage.testing._faults._proxy import FaultProxy
from greenlang_async_storage.testing._faults._schedule import Fault, Schedule
from greenlang_async_storage.testing._faults._shrink import shrink
from greenlang_async_storage.testing._memory._s3 import MemoryS3
from greenlang_async_storage.testing._minio import MinioServer, find_minio
from greenlang_async_storage.testing._moto import MotoServer
from greenlang_async_storage.testing._server import ServerSettings, ServerStartError, StorageServer

__all__ = [
    "Fault",
    "FaultPlan",
    "FaultProxy",
    "MemoryS3",
    "MinioServer",
    "MotoServer",
    "Schedule",
    "ServerSettings",
    "ServerStartError",
    "StorageServer",
    "WireRequest",
    "find_minio",
    "shrink",
]
