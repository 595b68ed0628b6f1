"""Endpoints are kept by bucket only while the rules use nothing that differs from call to call."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from botocore.endpoint_provider import RuleSet
from botocore.session import Session

from greenlang_async_storage.fastpath._endpoint import _PER_CALL, _mentions


def test_botocores_own_rules_are_the_same_for_all_calls() -> None:
    """The rules that come with botocore use no key or prefix: else no endpoint could be kept."""
    rules = Session().get_component("data_loader").load_service_model("s3", "endpoint-rule-set-1")
    partitions = Session().get_component("data_loader").load_data("partitions")
    assert not _mentions(RuleSet(**rules, partitions=partitions).rules)
    assert not _mentions(rules)


@pytest.mark.parametrize("name", sorted(_PER_CALL))
@pytest.mark.parametrize(
    "use",
    [
        lambda name: {"conditions": [{"fn": "isSet", "argv": [{"ref": name}]}]},
        lambda name: ({"endpoint": {"url": f"https://example/{{{name}}}"}},),
        lambda name: [MappingProxyType({"argv": [{"ref": name}]}), 1, None, True],
        lambda name: f"{{{name}#part}}",
    ],
)
def test_a_use_is_found_wherever_it_stands(name: str, use: Any) -> None:
    """As a reference or within a text, in dictionaries of any kind, lists and tuples."""
    assert _mentions([{"rules": [use(name)]}])
    assert not _mentions([{"rules": [use("Bucket")]}])
