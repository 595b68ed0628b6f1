"""Directories and buckets made equal: planned first, applied with bounded memory, resumed after a kill."""

from __future__ import annotations

from ._api import plan_copy, plan_download, plan_upload
from ._plan import Plan
from ._types import (
    Action,
    ActionKind,
    Compare,
    IngestFailure,
    IngestHook,
    IngestProgress,
    IngestSummary,
    Phase,
    PlanCounts,
)

__all__ = [
    "Action",
    "ActionKind",
    "Compare",
    "IngestFailure",
    "IngestHook",
    "IngestProgress",
    "IngestSummary",
    "Phase",
    "Plan",
    "PlanCounts",
    "plan_copy",
    "plan_download",
    "plan_upload",
]
