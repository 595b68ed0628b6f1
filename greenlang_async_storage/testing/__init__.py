"""
Storage servers for tests and demos: moto (embedded) and MinIO (a real S3 server), each a process of its own.

    with MinioServer.start() as server:
        os.environ.update(server.env())

Both listen on loopback only, on a free port, with a fresh folder that goes away with them.
The calls block (they start and stop processes): use `asyncio.to_thread` inside a coroutine.
"""

from greenlang_async_storage.testing._minio import MinioServer, find_minio
from greenlang_async_storage.testing._moto import MotoServer
from greenlang_async_storage.testing._server import ServerSettings, ServerStartError, StorageServer

__all__ = ["MinioServer", "MotoServer", "ServerSettings", "ServerStartError", "StorageServer", "find_minio"]
