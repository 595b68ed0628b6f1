"""The order of versions."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import InvalidVersion, Version

from greenlang_async_storage.artifacts._versions import in_order

NUMBERS = st.integers(0, 30)
PARTS = st.sampled_from(
    ["a", "b", "rc", ".post", ".dev", "-", "_", "+", ".", "alpha", "1!", "v", "x", "r", "c"]
)
VERSIONS = st.lists(st.one_of(NUMBERS.map(str), PARTS), min_size=1, max_size=7).map("".join)


def _parsed(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


@given(VERSIONS, VERSIONS)
def test_pep_440_decides_between_two_that_follow_it(first: str, second: str) -> None:
    """The same order as `packaging` has, wherever it knows both and tells them apart."""
    one, two = _parsed(first), _parsed(second)
    if one is None or two is None or one == two:
        return
    assert in_order([first, second]) == ([first, second] if one < two else [second, first])


@given(st.lists(VERSIONS, max_size=6))
def test_the_order_does_not_depend_on_the_input(versions: list[str]) -> None:
    """Every arrangement gives the same list, with each version once."""
    expected = in_order(versions)
    assert sorted(expected) == sorted(set(versions))
    for arranged in itertools.islice(itertools.permutations(versions), 24):
        assert in_order(arranged) == expected


@pytest.mark.parametrize(
    "ascending",
    [
        ["2026.9", "2026.10"],
        ["2026.9-ecoinvent", "2026.10-ecoinvent"],
        ["1.0.dev1", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1.1"],
        ["1.0.0-rc.1", "1.0.0", "1.0.1"],
        ["9", "10", "20260203101112"],
        ["AR4", "AR5", "AR6", "AR10"],
        ["1", "1!0"],
        ["1.0+a", "1.0+2"],
    ],
)
def test_known_orders(ascending: list[str]) -> None:
    """Numbers count as numbers, pre-releases come before their release."""
    assert in_order(reversed(ascending)) == ascending
