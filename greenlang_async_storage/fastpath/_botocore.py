"""Names for botocore's and aiobotocore's objects, which come without published types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

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


class ClientParts:
    """What the fast path uses of botocore's S3 client; declares, and holds nothing."""

    if TYPE_CHECKING:
        meta: Any
        exceptions: Any
        _endpoint: Any
        _request_signer: Any
        _ruleset_resolver: Any
        _serializer: Any
        _user_agent_creator: Any
        _resolve_endpoint_ruleset: Callable[..., Any]
