"""The table's world on a real server: MinIO behind the proxy, with real parts and a longer breath."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import boto3
from botocore.config import Config

from greenlang_async_storage import MultipartUpload, StorageSession, UploadedPart
from greenlang_async_storage.testing import FaultPlan, FaultProxy, MinioServer
from tests.faults._table_scene import State, Thing
from tests.faults._table_world import settings_of, users_metadata
from tests.support.faults import PART

PACE: Final = 6.0
"""How much longer everything may take than in memory: 5 MiB go through a proxy in Python."""


@dataclass
class MinioWorld:
    """One bucket of a MinIO; looked at with a plain client, past the proxy."""

    client: Any
    bucket: str
    session: StorageSession
    proxy: FaultProxy
    part: int = PART
    pace: float = PACE

    @property
    def faults(self) -> FaultPlan:
        return self.proxy.faults

    def reset(self, state: State, *, versioning: bool) -> Mapping[str, str]:  # one bucket
        for key in self._keys():
            self.client.delete_object(Bucket=self.bucket, Key=key)
        etags = {}
        for key, thing in state.items():
            if thing is not None:
                tags = "&".join(f"{name}={value}" for name, value in thing.tags.items())
                made = self.client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=thing.data,
                    Metadata=dict(thing.metadata),
                    Tagging=tags,
                )
                etags[key] = made["ETag"].strip('"')
        return etags

    def state(self) -> dict[str, Thing]:
        found = {}
        for key in self._keys():
            reply = self.client.get_object(Bucket=self.bucket, Key=key)
            data = reply["Body"].read()
            tags = self.client.get_object_tagging(Bucket=self.bucket, Key=key)["TagSet"]
            found[key] = Thing(
                data, {tag["Key"]: tag["Value"] for tag in tags}, users_metadata(reply["Metadata"], data)
            )
        return found

    def overwrite(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def open_upload(self, key: str, *parts: bytes) -> tuple[MultipartUpload, list[UploadedPart]]:
        upload_id = self.client.create_multipart_upload(Bucket=self.bucket, Key=key)["UploadId"]
        made = []
        for number, data in enumerate(parts, 1):
            reply = self.client.upload_part(
                Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data
            )
            made.append(UploadedPart(number, reply["ETag"].strip('"')))
        return MultipartUpload(self.bucket, key, upload_id), made

    def uploads(self) -> list[tuple[str, str]]:
        # MinIO lists them by exact key only; every scenario in parts writes this one.
        listed = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix="key").get("Uploads", [])
        return [(upload["Key"], upload["UploadId"]) for upload in listed]

    def drop_upload(self, key: str, upload_id: str) -> None:
        self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)

    def open_bodies(self) -> int:
        return 0

    def _keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [found["Key"] for found in listed]


@asynccontextmanager
async def minio_world(server: MinioServer, *, fast_path: bool) -> AsyncIterator[MinioWorld]:
    """A fresh bucket of *server*, and a session that reaches it through a proxy."""
    bucket = f"table-{uuid.uuid4().hex[:12]}"
    given = server.settings_kwargs()
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name=given["region"],
        aws_access_key_id=given["access_key_id"],
        aws_secret_access_key=given["secret_access_key"],
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=bucket)
    async with AsyncExitStack() as stack:
        stack.callback(client.close)
        proxy = await stack.enter_async_context(FaultProxy(server))
        settings = settings_of({**given, "endpoint_url": proxy.url}, PART, bucket=bucket, pace=PACE)
        chosen = settings.model_copy(update={"fast_path": fast_path})
        session = await stack.enter_async_context(StorageSession(chosen))
        yield MinioWorld(client, bucket, session, proxy)
