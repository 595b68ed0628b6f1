"""Where `Bucket` finds the completion of uploads others sent."""

from __future__ import annotations

from ._multipart import complete_for_others as complete_for_others
