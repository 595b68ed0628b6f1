"""Names for botocore's and aiobotocore's objects, which come without published types."""

from __future__ import annotations

from typing import Any, TypeAlias

Shape: TypeAlias = Any
"""`botocore.model.Shape` and its kinds."""
OperationModel: TypeAlias = Any
"""`botocore.model.OperationModel`."""
Config: TypeAlias = Any
"""`botocore.config.Config` as the client keeps it."""
Value: TypeAlias = Any
"""What a caller passed for a parameter: anything, until it was looked at."""
Parameters: TypeAlias = dict[str, Any]
"""The keyword arguments of one call."""
Parsed: TypeAlias = dict[str, Any]
"""A response dictionary."""
Untyped: TypeAlias = Any
"""Any other object of theirs."""
