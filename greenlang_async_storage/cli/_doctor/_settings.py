"""Each setting, its value, and where it came from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from greenlang_async_storage import StorageSettings

from ._report import Report

SECTION: Final = "Settings"
_NAMED: Final[dict[str, tuple[str, ...]]] = {
    "data_lake_bucket": ("GREENLANG_DATA_LAKE_BUCKET",),
    "reports_bucket": ("GREENLANG_REPORTS_BUCKET",),
    "models_bucket": ("GREENLANG_MODELS_BUCKET",),
    "temp_bucket": ("GREENLANG_TEMP_BUCKET",),
    "cache_bucket": ("GREENLANG_CACHE_BUCKET",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "use_accelerate": ("S3_USE_ACCELERATE",),
    "kms_key_id": ("KMS_KEY_ID",),
    "use_localstack": ("USE_LOCALSTACK",),
    "access_key_id": (),
    "secret_access_key": (),
    "session_token": (),
}
_ALWAYS: Final = frozenset({"endpoint_url", "region", "encryption", "kms_key_id"})
"""Shown also where nobody set them."""
_CODE_ONLY: Final = frozenset({"access_key_id", "secret_access_key", "session_token"})


def variables(field: str) -> tuple[str, ...]:
    """The environment variables of a setting; the first that is not empty counts."""
    return _NAMED.get(field, (f"GREENLANG_STORAGE_{field.upper()}",))


def origin(field: str, given: dict[str, str | None]) -> str:
    """Where a setting's value came from: the command line, a variable, or `default`."""
    if given.get(field):
        return f"--{field.replace('_', '-')}"
    return next((name for name in variables(field) if os.environ.get(name, "").strip()), "default")


def report_settings(
    report: Report, settings: StorageSettings, given: dict[str, str | None], *, everything: bool
) -> None:
    """A line for each setting that somebody made, and for those everybody asks about."""
    for field in type(settings).model_fields:
        source = origin(field, given)
        if field in _CODE_ONLY or (source == "default" and not everything and field not in _ALWAYS):
            continue
        value = _shown(getattr(settings, field))
        report.add(
            SECTION,
            field,
            "ok",
            f"{value}  ({source})",
            value=None if value == "not set" else value,
            origin=source,
            variables=list(variables(field)),
        )
    if not settings.buckets:
        report.add(
            SECTION,
            "buckets",
            "warning",
            "no bucket is configured, so session.data_lake and data-lake: do not work",
            "Set GREENLANG_DATA_LAKE_BUCKET, GREENLANG_REPORTS_BUCKET, GREENLANG_MODELS_BUCKET, "
            "GREENLANG_TEMP_BUCKET or GREENLANG_CACHE_BUCKET.",
        )
    _risks(report, settings)
    _dotenv(report)


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, SecretStr):
        return "***"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _risks(report: Report, settings: StorageSettings) -> None:
    if settings.verify_tls is False:
        report.add(
            SECTION,
            "verify_tls",
            "warning",
            "certificates are not checked: anybody on the way can read and change what is sent",
            "Point GREENLANG_STORAGE_VERIFY_TLS at the CA bundle that signed the server.",
        )


def _dotenv(report: Report) -> None:
    """A `.env` here looks as if it counted; only the environment does."""
    try:
        text = Path(".env").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    known = {name for field in StorageSettings.model_fields for name in variables(field)}
    named = re.findall(r"^\s*(?:export\s+)?([A-Z0-9_]+)\s*=", text, re.MULTILINE)
    missed = [name for name in dict.fromkeys(named) if name in known and not os.environ.get(name)]
    if missed:
        report.add(
            SECTION,
            ".env",
            "warning",
            f"the file .env names {', '.join(missed)}, which the environment does not have: "
            "the file is not read",
            "Export them, for example with: set -a; . ./.env; set +a",
        )
