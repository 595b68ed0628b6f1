"""Emission factors, cached in the store for a day and shared by every process."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from greenlang_async_storage.artifacts import EmissionFactorCache, JsonObject, JsonValue

router = APIRouter(prefix="/api/emission-factors", tags=["emission factors"])
MAX_AGE = 300
SAMPLE_SOURCE = "sample"
# Made up, rounded values for a first look; real tables are stored by an ingestion job.
SAMPLE: Mapping[str, object] = {
    "DE": {"kg_co2e_per_kwh": 0.38, "year": 2023},
    "FR": {"kg_co2e_per_kwh": 0.06, "year": 2023},
    "PL": {"kg_co2e_per_kwh": 0.66, "year": 2023},
}


async def cache(request: Request) -> EmissionFactorCache:
    """The process's cache: requests that miss together load once."""
    found: EmissionFactorCache = request.app.state.factors
    return found


Cache = Annotated[EmissionFactorCache, Depends(cache)]


async def seed(found: EmissionFactorCache) -> None:
    """Put the sample table where there is none."""
    if await found.get(SAMPLE_SOURCE) is None:
        await found.put(SAMPLE_SOURCE, SAMPLE, version="1")


@router.get("/{source}", response_model=None)
async def table(source: str, found: Cache, response: Response, version: str = "latest") -> JsonObject:
    """A whole table; 404 when it is missing or stale."""
    factors = await found.get(source, version)
    if factors is None:
        raise HTTPException(404, "There is no fresh table of this source and version")
    response.headers["Cache-Control"] = f"public, max-age={MAX_AGE}"
    return factors


@router.get("/{source}/{region}", response_model=None)
async def factor(
    source: str, region: str, found: Cache, response: Response, version: str = "latest"
) -> JsonValue:
    """One region's factor."""
    factors = await table(source, found, response, version)
    if region not in factors:
        raise HTTPException(404, "The table has no such region")
    return factors[region]
