"""Where a bucket lives: botocore's endpoint rules, asked once per bucket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.auth
import botocore.handlers

from greenlang_async_storage.fastpath._conditions import PassOn, Reason
from greenlang_async_storage.fastpath._wire import Origin

if TYPE_CHECKING:
    from greenlang_async_storage.fastpath._botocore import ClientParts

MAX_CACHED_BUCKETS = 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}
_AUTH_TYPES = frozenset({"v4", "s3v4"})
# Context parameters that may differ between two calls for one bucket; the rules must not look at them.
_PER_CALL = frozenset({"Key", "Prefix", "CopySource"})


@dataclass(frozen=True, slots=True)
class Target:
    """The resolved endpoint of one bucket."""

    origin: Origin
    secure: bool
    host: str
    """The Host header as it is signed: no default port."""
    url: str
    """Scheme and authority, for messages."""
    bucket_path: str
    """The path of the bucket itself; never empty."""
    key_prefix: str
    """What stands before the slash and the quoted key."""
    region: str
    service: str


class EndpointCache:
    """A client's endpoints by bucket, for one set of static parameters; the oldest goes when full."""

    __slots__ = ("_targets",)

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str | None], Target | Reason] = {}

    async def target(
        self,
        client: ClientParts,
        operation_model: Any,
        bucket: str,
        region: str | None,
        parameters: dict[str, Any],
    ) -> Target:
        """
        The endpoint for *bucket*; *region* is where a redirect has sent its calls, if one has.

        PassOn when the rules refuse the bucket or ask for more than plain SigV4.
        """
        found = self._targets.get((bucket, region))
        if found is None:
            found = await _resolve(client, operation_model, bucket, parameters)
            if len(self._targets) >= MAX_CACHED_BUCKETS:
                del self._targets[next(iter(self._targets))]
            self._targets[bucket, region] = found
        if isinstance(found, Reason):
            raise PassOn(found)
        return found


async def _resolve(
    client: ClientParts, operation_model: Any, bucket: str, parameters: dict[str, Any]
) -> Target | Reason:
    if botocore.handlers.VALID_BUCKET.search(bucket) is None:
        return Reason.BUCKET
    if not _rules_ignore_per_call(client):
        return Reason.ENDPOINT
    context: dict[str, Any] = {"client_region": client.meta.region_name, "client_config": client.meta.config}
    context["auth_type"] = operation_model.resolved_auth_type
    try:
        url, headers, properties = await client._resolve_endpoint_ruleset(
            operation_model, {**parameters}, context
        )
    except Exception:  # noqa: BLE001 - the passed-on call meets the same error and raises it
        return Reason.ENDPOINT
    signing = context.get("signing", {})
    parts = urlsplit(url)
    if (
        headers
        or properties.get("backend")
        or context["auth_type"] not in _AUTH_TYPES
        or not signing.get("region")
        or set(signing) - {"region", "signing_name", "disableDoubleEncoding"}
        or "," in signing["region"]
        or parts.scheme not in _DEFAULT_PORTS
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or not parts.hostname
    ):
        return Reason.ENDPOINT
    return Target(
        origin=Origin(parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]),
        secure=parts.scheme == "https",
        host=botocore.auth._host_from_url(url),
        url=f"{parts.scheme}://{parts.netloc}",
        bucket_path=parts.path or "/",
        key_prefix=parts.path.removesuffix("/"),
        region=signing["region"],
        service=signing.get("signing_name", client._request_signer._signing_name),
    )


def _rules_ignore_per_call(client: ClientParts) -> bool:
    provider: Any = client._ruleset_resolver._provider
    known: bool | None = getattr(provider, "_greenlang_per_call_ignored", None)
    if known is None:
        known = getattr(provider, "_excluded_params", frozenset()) >= _PER_CALL or not _mentions(
            provider.ruleset.rules
        )
        provider._greenlang_per_call_ignored = known
    return known


def _mentions(rules: object) -> bool:
    """Whether *rules* use a parameter that differs by call: `{"ref": "Key"}`, or `{Key}` in a text."""
    waiting = [rules]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            if "{" in node and any(f"{{{name}" in node for name in _PER_CALL):
                return True
        # The model is JSON; asking for Mapping takes several times as long, and there are thousands of nodes.
        elif isinstance(node, dict):
            if node.get("ref") in _PER_CALL:
                return True
            waiting.extend(node.values())
        elif isinstance(node, list | tuple):
            waiting.extend(node)
        elif isinstance(node, Mapping):
            waiting.append(dict(node))
        elif hasattr(node, "conditions"):  # a rule
            waiting.extend(vars(node).values())
    return False
