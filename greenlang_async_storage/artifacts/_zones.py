"""Keys of the data lake's zones: landing, bronze, silver and gold; pure functions with inverse parsers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from ._keys import day_of, day_path, matched
from ._segments import SEGMENT, check_filename, check_segment
from ._times import utc_day

_LANDING: Final = re.compile(rf"landing/(?P<tenant>{SEGMENT})/(?P<upload>{SEGMENT})/(?P<filename>[^/]+)")
_BRONZE: Final = re.compile(
    rf"bronze/(?P<application>{SEGMENT})/(?P<year>[0-9]{{4}})/(?P<month>[0-9]{{2}})/(?P<day>[0-9]{{2}})/"
    rf"(?P<tenant>{SEGMENT})/(?P<name>{SEGMENT})\.parquet"
)
_SILVER: Final = re.compile(
    rf"silver/(?P<application>{SEGMENT})/(?P<domain>{SEGMENT})/(?P<tenant>{SEGMENT})/(?P<name>{SEGMENT})"
    r"\.parquet"
)
_GOLD: Final = re.compile(rf"gold/(?P<domain>{SEGMENT})/(?P<metric>{SEGMENT})/(?P<level>{SEGMENT})\.parquet")


@dataclass(frozen=True, slots=True)
class LandingKey:
    """What the key of a file as a client sent it says."""

    tenant_id: str
    upload_id: str
    filename: str


@dataclass(frozen=True, slots=True)
class BronzeKey:
    """What the key of raw rows in parquet says."""

    application: str
    day: date
    """In UTC."""
    tenant_id: str
    name: str


@dataclass(frozen=True, slots=True)
class SilverKey:
    """What the key of cleaned rows says."""

    application: str
    domain: str
    tenant_id: str
    name: str


@dataclass(frozen=True, slots=True)
class GoldKey:
    """What the key of an aggregate over tenants says."""

    domain: str
    metric: str
    level: str


def landing_key(tenant_id: str, upload_id: str, filename: str) -> str:
    """`landing/{tenant_id}/{upload_id}/{filename}`; the name may be of any script."""
    return (
        f"landing/{check_segment('tenant_id', tenant_id)}/{check_segment('upload_id', upload_id)}/"
        f"{check_filename('filename', filename)}"
    )


def parse_landing_key(key: str) -> LandingKey:
    """The inverse of `landing_key`."""
    found = matched(_LANDING, key, "file in the landing zone")
    return LandingKey(found["tenant"], found["upload"], check_filename("filename", found["filename"]))


def bronze_key(application: str, tenant_id: str, name: str, day: date) -> str:
    """`bronze/{application}/{Y}/{mm}/{dd}/{tenant_id}/{name}.parquet`."""
    return (
        f"bronze/{check_segment('application', application)}/{day_path(utc_day('day', day))}/"
        f"{check_segment('tenant_id', tenant_id)}/{check_segment('name', name)}.parquet"
    )


def parse_bronze_key(key: str) -> BronzeKey:
    """The inverse of `bronze_key`."""
    found = matched(_BRONZE, key, "table in the bronze zone")
    return BronzeKey(found["application"], day_of(key, found), found["tenant"], found["name"])


def silver_key(application: str, domain: str, tenant_id: str, name: str) -> str:
    """`silver/{application}/{domain}/{tenant_id}/{name}.parquet`."""
    return (
        f"silver/{check_segment('application', application)}/{check_segment('domain', domain)}/"
        f"{check_segment('tenant_id', tenant_id)}/{check_segment('name', name)}.parquet"
    )


def parse_silver_key(key: str) -> SilverKey:
    """The inverse of `silver_key`."""
    found = matched(_SILVER, key, "table in the silver zone")
    return SilverKey(found["application"], found["domain"], found["tenant"], found["name"])


def gold_key(domain: str, metric: str, level: str) -> str:
    """`gold/{domain}/{metric}/{level}.parquet`."""
    return (
        f"gold/{check_segment('domain', domain)}/{check_segment('metric', metric)}/"
        f"{check_segment('level', level)}.parquet"
    )


def parse_gold_key(key: str) -> GoldKey:
    """The inverse of `gold_key`."""
    found = matched(_GOLD, key, "table in the gold zone")
    return GoldKey(found["domain"], found["metric"], found["level"])
