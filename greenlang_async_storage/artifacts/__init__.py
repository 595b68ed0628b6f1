"""
The platform's artifacts under its key conventions: calculations, reports, models and emission factors.

| artifact | key |
|---|---|
| calculation result | `silver/{application}/calculations/{Y}/{mm}/{dd}/{tenant}/{calculation}.json` |
| report | `reports/{type}/{Y}/{mm}/{tenant}/{time}_{sha256[:8]}.{format}` |
| model | `models/{application}/{name}/{version}/model.{format}`, `…/metrics.json`, `…/manifest.json` |
| emission factors | `cache/emission-factors/{source}/{version}/factors.json` |
| data lake | `landing/…`, `bronze/…`, `silver/…`, `gold/…`: see the builders |

Stores use the public methods of a `Bucket` and hold nothing open; bound a call with `asyncio.timeout()`. All
raise subclasses of `S3Error`; mistakes in arguments are `ValueError` or `TypeError`.
"""

from __future__ import annotations

from ._calculations import CalculationStore
from ._factors import EmissionFactorCache, StoredFactors
from ._json import JsonObject, JsonValue
from ._keys import (
    CalculationKey,
    FactorsKey,
    ModelKey,
    ReportKey,
    calculation_key,
    factors_key,
    manifest_key,
    metrics_key,
    model_key,
    parse_calculation_key,
    parse_factors_key,
    parse_model_key,
    parse_report_key,
    report_key,
)
from ._manifest import ModelManifest
from ._models import ModelStore
from ._objects import ListedArtifact, StoredArtifact
from ._policy import ArtifactPolicy
from ._reports import Report, ReportStore, StoredReport
from ._stages import ModelStage
from ._times import Clock
from ._zones import (
    BronzeKey,
    GoldKey,
    LandingKey,
    SilverKey,
    bronze_key,
    gold_key,
    landing_key,
    parse_bronze_key,
    parse_gold_key,
    parse_landing_key,
    parse_silver_key,
    silver_key,
)

__all__ = [
    "ArtifactPolicy",
    "BronzeKey",
    "CalculationKey",
    "CalculationStore",
    "Clock",
    "EmissionFactorCache",
    "FactorsKey",
    "GoldKey",
    "JsonObject",
    "JsonValue",
    "LandingKey",
    "ListedArtifact",
    "ModelKey",
    "ModelManifest",
    "ModelStage",
    "ModelStore",
    "Report",
    "ReportKey",
    "ReportStore",
    "SilverKey",
    "StoredArtifact",
    "StoredFactors",
    "StoredReport",
    "bronze_key",
    "calculation_key",
    "factors_key",
    "gold_key",
    "landing_key",
    "manifest_key",
    "metrics_key",
    "model_key",
    "parse_bronze_key",
    "parse_calculation_key",
    "parse_factors_key",
    "parse_gold_key",
    "parse_landing_key",
    "parse_model_key",
    "parse_report_key",
    "parse_silver_key",
    "report_key",
    "silver_key",
]
