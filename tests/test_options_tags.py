"""Object tags: S3's rules, and the form of the header they travel in."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage import S3InvalidRequestError
from greenlang_async_storage._tags import prepare_tags, tagging_header

ALLOWED = st.characters(categories=("L", "N", "Zs"), include_characters="+-=._:/@")


def test_the_platforms_tags_pass() -> None:
    """The mandatory tags of the platform, with their colons and times, are fine."""
    tags = {"greenlang:tenant-id": "t-1", "greenlang:created-at": "2026-02-03T10:00:00+00:00"}
    assert prepare_tags(tags) == tags


def test_limits() -> None:
    """Ten tags, keys of 128 and values of 256 characters pass; one more of each is refused with the limit."""
    assert len(prepare_tags({f"k{n}": "v" for n in range(10)})) == 10
    assert prepare_tags({"k" * 128: "v" * 256})
    for tags, limit in (
        ({f"k{n}": "v" for n in range(11)}, "10"),
        ({"k" * 129: ""}, "128"),
        ({"k": "v" * 257}, "256"),
    ):
        with pytest.raises(S3InvalidRequestError, match=limit):
            prepare_tags(tags)


@pytest.mark.parametrize(
    "tags", [{"": "v"}, {"aws:x": "v"}, {"AWS:x": "v"}, {"a&b": "v"}, {"k": "a\nb"}, {"k": "a,b"}]
)
def test_forbidden_tags_are_refused(tags: dict[str, str]) -> None:
    """Empty keys, AWS's own prefix and characters S3 does not allow are refused."""
    with pytest.raises(S3InvalidRequestError):
        prepare_tags(tags)


@pytest.mark.parametrize("tags", [{"k": 1}, {1: "v"}, [("k", "v")], "k=v"])
def test_only_mappings_of_strings(tags: object) -> None:
    """Anything but a mapping of strings to strings is a programming mistake."""
    with pytest.raises(TypeError, match="must be"):
        prepare_tags(tags)  # type: ignore[arg-type]


@given(st.dictionaries(st.text(ALLOWED, min_size=1, max_size=20), st.text(ALLOWED, max_size=30), max_size=10))
def test_header_gives_the_same_tags_back(tags: dict[str, str]) -> None:
    """Read as a query string, the header holds exactly these tags, in printable ASCII."""
    if any(name[:4].lower() == "aws:" for name in tags):
        return
    header = tagging_header(prepare_tags(tags))
    assert header.isascii()
    assert header.isprintable()
    found = parse_qs(header, keep_blank_values=True, strict_parsing=bool(tags))
    assert {name: values[0] for name, values in found.items()} == tags
