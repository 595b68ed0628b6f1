"""From any source of bytes to parts S3 takes: the plan, the assembly, and the opened source."""

from __future__ import annotations

from ._assemble import Part, PartAssembler, assemble, slice_parts
from ._memory import part_memory
from ._plan import (
    GROWTH_AFTER_PARTS,
    MAX_OBJECT_BYTES,
    MAX_PART_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    PartPlan,
    check_part_size,
    part_length,
    plan_part_size,
    plan_parts,
    split_range,
)
from ._source import READ_BYTES, known_size, measure, open_source

__all__ = [
    "GROWTH_AFTER_PARTS",
    "MAX_OBJECT_BYTES",
    "MAX_PARTS",
    "MAX_PART_BYTES",
    "MIN_PART_BYTES",
    "READ_BYTES",
    "Part",
    "PartAssembler",
    "PartPlan",
    "assemble",
    "check_part_size",
    "known_size",
    "measure",
    "open_source",
    "part_length",
    "part_memory",
    "plan_part_size",
    "plan_parts",
    "slice_parts",
    "split_range",
]
