"""
Refusals that no retry rule and no redirect looks at, raised without botocore's detour.

Missing keys and failed conditions are ordinary answers to programs that probe. Their reply is parsed by
botocore's own parser; only the events around it, none of which acts on these answers, are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.awsrequest import HeadersDict
from botocore.parsers import ResponseParserError

from greenlang_async_storage.fastpath._model import Operation

if TYPE_CHECKING:
    from greenlang_async_storage.fastpath._botocore import ClientParts

_PLAIN_REFUSALS = {
    304: frozenset({"304"}),
    403: frozenset({"403", "AccessDenied"}),
    404: frozenset({"404", "NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NoSuchVersion"}),
    412: frozenset({"412", "PreconditionFailed"}),
}


# The redirector looks at none of them; whether to try again is all that is left to decide.
_FAILURES = frozenset({429, 500, 502, 503, 504})


async def plain_refusal(
    client: ClientParts,
    operation: Operation,
    status: int,
    headers: dict[str, str],
    body: bytes,
    *,
    is_last: bool,
) -> dict[str, Any] | None:
    """
    The response dictionary of botocore for one of these refusals; None for every other answer.

    *is_last*: no other attempt would follow, so a failure of the server is a refusal as well.
    """
    codes = _PLAIN_REFUSALS.get(status)
    failed = is_last and status in _FAILURES
    if (codes is None and not failed) or "expires" in headers:
        return None
    endpoint: Any = client._endpoint
    model = operation.model
    parser = endpoint._response_parser_factory.create_parser(model.service_model.resolved_protocol)
    reply = {
        "headers": HeadersDict(headers),
        "status_code": status,
        "context": {"operation_name": operation.name},
        "body": body,
    }
    try:
        parsed: dict[str, Any] = await parser.parse(reply, model.output_shape)
    except ResponseParserError:
        return None
    code = parsed.get("Error", {}).get("Code")
    if code is None or (codes is not None and code not in codes):
        return None
    await endpoint._add_modeled_error_fields(reply, parsed, model, parser)
    return parsed
