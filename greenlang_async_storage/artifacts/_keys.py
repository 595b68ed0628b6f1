"""
The keys of the platform's artifacts: a pure function for each kind, and the parser that is its inverse.

Every value is a checked segment, so no key leaves its prefix, and no two values give one key. Parsers raise
`S3InvalidRequestError` (also a `ValueError`) for anything the builders would not make.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from greenlang_async_storage import S3InvalidRequestError

from ._segments import EXTENSION, SEGMENT, check_extension, check_segment
from ._times import in_utc, read_time, utc_day

HASH_LENGTH: Final = 8
"""Hex digits of the SHA-256 that stand in the key of a report."""

_DAY: Final = r"(?P<year>[0-9]{4})/(?P<month>[0-9]{2})/(?P<day>[0-9]{2})"
_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}\.[0-9]{6}Z"
_LEGACY_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?"
_CALCULATION: Final = re.compile(
    rf"silver/(?P<application>{SEGMENT})/calculations/{_DAY}/(?P<tenant>{SEGMENT})/(?P<name>{SEGMENT})\.json"
)
_REPORT: Final = re.compile(
    rf"reports/(?P<type>{SEGMENT})/(?P<year>[0-9]{{4}})/(?P<month>[0-9]{{2}})/(?P<tenant>{SEGMENT})/"
    rf"(?:(?P<time>{_TIME})|(?P<legacy>{_LEGACY_TIME}))_(?P<hash>[0-9a-f]{{{HASH_LENGTH}}})"
    rf"\.(?P<format>{EXTENSION})"
)
_MODEL: Final = re.compile(
    rf"models/(?P<application>{SEGMENT})/(?P<name>{SEGMENT})/(?P<version>{SEGMENT})/"
    rf"model\.(?P<format>{EXTENSION})"
)
_FACTORS: Final = re.compile(
    rf"cache/emission-factors/(?P<source>{SEGMENT})/(?P<version>{SEGMENT})/factors\.json"
)


@dataclass(frozen=True, slots=True)
class CalculationKey:
    """What the key of a calculation result says."""

    application: str
    day: date
    """In UTC."""
    tenant_id: str
    calculation_id: str


@dataclass(frozen=True, slots=True)
class ReportKey:
    """What the key of a report says."""

    report_type: str
    tenant_id: str
    generated_at: datetime
    """In UTC."""
    content_hash: str
    """The first 8 hex digits of the SHA-256 of the report."""
    format: str
    legacy: bool = False
    """Whether the key has the older form of the time, with colons."""


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What the key of a model's data says."""

    application: str
    name: str
    version: str
    format: str


@dataclass(frozen=True, slots=True)
class FactorsKey:
    """What the key of a table of emission factors says."""

    source: str
    version: str


def calculation_key(application: str, tenant_id: str, calculation_id: str, day: date) -> str:
    """`silver/{application}/calculations/{Y}/{mm}/{dd}/{tenant_id}/{calculation_id}.json`."""
    prefix = calculation_prefix(application, tenant_id, day)
    return f"{prefix}{check_segment('calculation_id', calculation_id)}.json"


def calculation_prefix(application: str, tenant_id: str, day: date) -> str:
    """What the keys of one tenant's calculations of a day begin with; ends in `/`."""
    return (
        f"silver/{check_segment('application', application)}/calculations/"
        f"{day_path(utc_day('day', day))}/{check_segment('tenant_id', tenant_id)}/"
    )


def parse_calculation_key(key: str) -> CalculationKey:
    """The inverse of `calculation_key`."""
    found = matched(_CALCULATION, key, "calculation result")
    day = day_of(key, found)
    return CalculationKey(found["application"], day, found["tenant"], found["name"])


def report_key(
    report_type: str, tenant_id: str, generated_at: datetime, content_hash: str, format: str = "pdf"
) -> str:
    """
    `reports/{report_type}/{Y}/{mm}/{tenant_id}/{generated_at}_{content_hash[:8]}.{format}`.

    *generated_at* has a time zone; *content_hash* is the SHA-256 in hex, or its first 8 digits.
    """
    moment = in_utc("generated_at", generated_at)
    if not re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{64}", content_hash):
        raise S3InvalidRequestError(
            f"content_hash {str(content_hash)[:80]!a} is no SHA-256 in lower-case hex",
            remedy="Pass hashlib.sha256(data).hexdigest().",
        )
    time = f"{moment.year:04}-{moment:%m-%dT%H%M%S.%f}Z"
    name = f"{time}_{content_hash[:HASH_LENGTH]}.{check_extension('format', format)}"
    return report_prefix(report_type, tenant_id, moment) + name


def report_prefix(report_type: str, tenant_id: str, month: date) -> str:
    """What the keys of one tenant's reports of a type and month begin with; ends in `/`."""
    day = utc_day("month", month)
    return (
        f"reports/{check_segment('report_type', report_type)}/{day.year:04}/{day.month:02}/"
        f"{check_segment('tenant_id', tenant_id)}/"
    )


def parse_report_key(key: str) -> ReportKey:
    """The inverse of `report_key`; also reads the older form `…T10:30:00.000001_…`, which was UTC too."""
    found = matched(_REPORT, key, "report")
    try:
        if found["time"] is not None:
            moment = datetime.strptime(found["time"], "%Y-%m-%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        else:
            moment = read_time(found["legacy"])
    except ValueError:
        raise _no_key(key, "report") from None
    if (int(found["year"]), int(found["month"])) != (moment.year, moment.month):
        raise _no_key(key, "report")
    return ReportKey(
        found["type"], found["tenant"], moment, found["hash"], found["format"], found["time"] is None
    )


def model_key(application: str, name: str, version: str, format: str) -> str:
    """`models/{application}/{name}/{version}/model.{format}`."""
    return f"{version_prefix(application, name, version)}model.{check_extension('format', format)}"


def metrics_key(application: str, name: str, version: str) -> str:
    """`models/{application}/{name}/{version}/metrics.json`."""
    return f"{version_prefix(application, name, version)}metrics.json"


def manifest_key(application: str, name: str, version: str) -> str:
    """`models/{application}/{name}/{version}/manifest.json`."""
    return f"{version_prefix(application, name, version)}manifest.json"


def stage_key(application: str, name: str, stage: str) -> str:
    """`models/{application}/{name}/stage-{stage}.json`: beside the versions, so never taken for one."""
    return f"{model_prefix(application, name)}stage-{check_segment('stage', stage)}.json"


def model_prefix(application: str, name: str) -> str:
    """What every key of a model begins with; ends in `/`."""
    return f"models/{check_segment('application', application)}/{check_segment('name', name)}/"


def version_prefix(application: str, name: str, version: str) -> str:
    """What every key of one version of a model begins with; ends in `/`."""
    return f"{model_prefix(application, name)}{check_segment('version', version)}/"


def parse_model_key(key: str) -> ModelKey:
    """The inverse of `model_key`."""
    found = matched(_MODEL, key, "model")
    return ModelKey(found["application"], found["name"], found["version"], found["format"])


def factors_key(source: str, version: str) -> str:
    """`cache/emission-factors/{source}/{version}/factors.json`."""
    return f"{factors_prefix(source)}{check_segment('version', version)}/factors.json"


def factors_prefix(source: str) -> str:
    """What the keys of one source begin with; ends in `/`."""
    return f"cache/emission-factors/{check_segment('source', source)}/"


def parse_factors_key(key: str) -> FactorsKey:
    """The inverse of `factors_key`."""
    found = matched(_FACTORS, key, "table of emission factors")
    return FactorsKey(found["source"], found["version"])


def day_path(day: date) -> str:
    """`{Y}/{mm}/{dd}`."""
    return f"{day.year:04}/{day.month:02}/{day.day:02}"


def day_of(key: str, found: re.Match[str]) -> date:
    """The day a key names."""
    try:
        return date(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:
        raise _no_key(key, "day of an artifact") from None


def matched(pattern: re.Pattern[str], key: str, what: str) -> re.Match[str]:
    """The match of all of *key*."""
    if not isinstance(key, str):
        raise TypeError(f"key must be a str, not {type(key).__name__}")
    found = pattern.fullmatch(key)
    if found is None:
        raise _no_key(key, what)
    return found


def _no_key(key: str, what: str) -> S3InvalidRequestError:
    return S3InvalidRequestError(
        f"{key[:200]!a} is not the key of a {what}",
        remedy="See the key conventions in the documentation of greenlang_async_storage.artifacts.",
    )
