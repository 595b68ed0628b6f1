"""Who asks, and what of the storage is theirs."""

from typing import Annotated

from fastapi import Depends, Header

from greenlang_async_storage import Bucket, StorageSession
from greenlang_async_storage.fastapi import get_storage


async def tenant(x_tenant: Annotated[str, Header(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "demo") -> str:
    """The tenant of a request. A real service takes it from a verified token, never from a header."""
    return x_tenant


async def data_lake(storage: Annotated[StorageSession, Depends(get_storage)]) -> Bucket:
    """The bucket uploads land in."""
    return storage.data_lake


async def landing(
    lake: Annotated[Bucket, Depends(data_lake)], owner: Annotated[str, Depends(tenant)]
) -> Bucket:
    """The tenant's own part of the landing zone: keys cannot leave it."""
    return lake.scoped(f"landing/{owner}/")


Tenant = Annotated[str, Depends(tenant)]
Landing = Annotated[Bucket, Depends(landing)]
