"""What a session does with whole buckets: ask whether they answer, and create them for development."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from ._concurrency import task_group
from ._errors import S3Error, S3InvalidRequestError, S3NotFoundError
from ._settings import StorageSettingsError
from ._types import BucketReadiness, Purpose, Readiness

if TYPE_CHECKING:
    from types_aiobotocore_s3.literals import BucketLocationConstraintType
    from types_aiobotocore_s3.type_defs import CreateBucketRequestTypeDef

    from ._connection import Connection
    from ._settings import StorageSettings

AWS_DOMAINS = (
    *(".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws"),
    *(".c2s.ic.gov", ".sc2s.sgov.gov", ".cloud.adc-e.uk", ".csp.hci.ic.gov"),
    *(".api.amazonwebservices.com.cn", ".api.amazonwebservices.eu"),
    *(".api.aws.ic.gov", ".api.aws.scloud", ".api.cloud-aws.adc-e.uk", ".api.aws.hci.ic.gov"),
)
"""Of every partition (botocore's `partitions.json`), IPv4 and dual-stack."""
_ALREADY_OURS = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
_PROBE_ORDER: tuple[Purpose, ...] = ("temp", "cache", "data_lake", "reports", "models")


def is_aws(endpoint_url: str) -> bool:
    """Whether an endpoint is AWS's own."""
    host = urlsplit(endpoint_url).hostname or ""
    return host.rstrip(".").endswith(AWS_DOMAINS)


def seconds_until(moment: datetime | None) -> float | None:
    """Seconds from now to *moment*, never negative."""
    return None if moment is None else max(0.0, (moment - datetime.now(UTC)).total_seconds())


def probe_bucket(settings: StorageSettings) -> str:
    """The configured bucket a probe may write to."""
    for purpose in _PROBE_ORDER:
        if name := settings.buckets.get(purpose):
            return name
    raise StorageSettingsError(
        "no bucket is configured: set GREENLANG_TEMP_BUCKET, or pass probe(bucket=...) the one to try"
    )


async def check(
    connection: Connection,
    buckets: Mapping[Purpose, str],
    credentials_expire_in: Callable[[], float | None],
    *,
    timeout: float,
) -> Readiness:
    """One HeadBucket per bucket, at the same time; failures are answers."""
    async with task_group() as group:
        tasks = {
            purpose: group.create_task(_answers(connection, name, timeout))
            for purpose, name in buckets.items()
        }
    answers = {str(purpose): task.result() for purpose, task in tasks.items()}
    remaining = credentials_expire_in()
    ok = all(answer.ok for answer in answers.values()) and remaining != 0.0
    return Readiness(ok, answers, remaining)


async def _answers(connection: Connection, name: str, timeout: float) -> BucketReadiness:
    try:
        with connection.within(timeout, "HeadBucket", name):
            await connection.call(
                "HeadBucket", lambda s3: s3.head_bucket(Bucket=name, **connection.owner), bucket=name
            )
    except S3Error as error:
        return BucketReadiness(name, ok=False, error=error)
    return BucketReadiness(name, ok=True)


async def ensure_buckets(
    connection: Connection, buckets: Mapping[Purpose, str], *, allow_aws: bool
) -> list[str]:
    """Create what is missing; the names created."""
    endpoint = connection.client.meta.endpoint_url
    if is_aws(endpoint) and not allow_aws:
        raise S3InvalidRequestError(
            f"ensure_buckets() would create buckets on AWS ({endpoint})",
            operation="CreateBucket",
            remedy="Create production buckets by infrastructure code, or pass allow_aws=True.",
        )
    return [name for name in dict.fromkeys(buckets.values()) if await _created(connection, name)]


async def _created(connection: Connection, name: str) -> bool:
    try:
        await connection.call(
            "HeadBucket", lambda s3: s3.head_bucket(Bucket=name, **connection.owner), bucket=name
        )
    except S3NotFoundError:
        pass
    else:
        return False
    region = connection.client.meta.region_name
    arguments: CreateBucketRequestTypeDef = {"Bucket": name}
    # us-east-1 is the one region S3 refuses to be told (CreateBucket, LocationConstraint).
    if region != "us-east-1":
        # The stubs list the regions of their day.
        constraint = cast("BucketLocationConstraintType", region)
        arguments["CreateBucketConfiguration"] = {"LocationConstraint": constraint}
    try:
        await connection.call("CreateBucket", lambda s3: s3.create_bucket(**arguments), bucket=name)
    except S3Error as error:
        if error.code not in _ALREADY_OURS:
            raise
        return False
    return True
