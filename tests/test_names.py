"""Names that S3, a proxy or a log could misread are refused before anything goes on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage._names import validate_bucket_name, validate_key, validate_prefix

GOOD_BUCKETS = [
    "abc",
    "a" * 63,
    "greenlang-prod-eu-west-1-data-lake-confidential",
    "1.2.3.four",
    "my.bucket.name",
    "0-0",
    "1.2.3",
]
BAD_BUCKETS = {
    "ab": "3 to 63",
    "": "3 to 63",
    "a" * 64: "3 to 63",
    "Data-Lake": "lower-case",
    "data_lake": "lower-case",
    "data lake": "lower-case",
    "bücket": "lower-case",
    "bucket\n": "lower-case",
    "a/../b": "lower-case",
    "arn:aws:s3:eu-west-1:123456789012:accesspoint/ap": "lower-case",
    "-bucket": "begin and end",
    "bucket-": "begin and end",
    ".bucket": "begin and end",
    "a..b": "side by side",
    "a.-b": "side by side",
    "a-.b": "side by side",
    "192.168.5.4": "IP address",
    "999.999.999.999": "IP address",
    "xn--bucket": "reserves",
    "sthree-configurator": "reserves",
    "amzn-s3-demo-bucket": "reserves",
    "data-s3alias": "reserves",
    "data--ol-s3": "reserves",
    "data.mrap": "reserves",
    "data--use1-az4--x-s3": "reserves",
    "data--table-s3": "reserves",
}


@pytest.mark.parametrize("name", GOOD_BUCKETS)
def test_s10_valid_bucket_names_pass(name: str) -> None:
    """A name S3 accepts comes back unchanged."""
    assert validate_bucket_name(name) == name


@pytest.mark.parametrize(("name", "rule"), BAD_BUCKETS.items())
def test_s10_invalid_bucket_names_name_the_rule(name: str, rule: str) -> None:
    """A refused bucket name is shown in printable form with the rule it breaks."""
    with pytest.raises(ValueError, match=rule) as caught:
        validate_bucket_name(name)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "a" * 1024,
        "é" * 512,
        "a..b",
        "..a/b..",
        "...",
        "a//b",
        "folder/",
        "a b+c%2F?#&",
        "soap/x",
        "日本/😀",
    ],
)
def test_valid_keys_pass(key: str) -> None:
    """A key S3 stores comes back unchanged; dots inside a segment are legal."""
    assert validate_key(key) == key
    assert validate_prefix(key) == key


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("", "empty"),
        ("a" * 1025, "1,025 bytes"),
        ("é" * 513, "1,026 bytes"),
        ("../x", "segment '..'"),
        ("a/../b", "segment '..'"),
        ("a/..", "segment '..'"),
        ("./a", "segment '.'"),
        ("a/.", "segment '.'"),
        (".", "segment '.'"),
        ("/a", "begins with '/'"),
        ("a\nb", "U+000A"),
        ("a\x00", "U+0000"),
        ("a\x7f", "U+007F"),
        ("a\x85", "U+0085"),
        ("a\ufffe", "U+FFFE"),
        ("a\ud800", "lone surrogate"),
        ("soap", "reserved"),
    ],
)
def test_s09_invalid_keys_name_the_rule(key: str, rule: str) -> None:
    """A refused key is shown in printable form, cut short, with the rule it breaks."""
    with pytest.raises(ValueError, match="key ") as caught:
        validate_key(key)
    message = str(caught.value)
    assert rule in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("prefix", ["", "a/", "a/..", "a/.", "..", "soap"])
def test_a_prefix_may_end_inside_a_segment(prefix: str) -> None:
    """The empty prefix and the beginning of a legal segment are prefixes."""
    assert validate_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["../", "a/../", "./", "/", "a\n", "a" * 1025, "\udfff"])
def test_a_prefix_no_key_can_have_is_refused(prefix: str) -> None:
    """A prefix of no valid key is an error, not an empty listing."""
    with pytest.raises(ValueError, match="prefix "):
        validate_prefix(prefix)


@pytest.mark.parametrize("validate", [validate_bucket_name, validate_key, validate_prefix])
@pytest.mark.parametrize("value", [b"bytes", None, 7])
def test_only_text_is_a_name(validate: object, value: object) -> None:
    """Another type is a programming mistake."""
    with pytest.raises(TypeError, match="must be a str"):
        validate(value)  # type: ignore[operator]


@given(st.text(st.characters(codec=None), max_size=40) | st.text("./a\x00é\ud800", max_size=12))
def test_s09_an_accepted_key_is_safe_for_path_log_and_wire(key: str) -> None:
    """Whatever is accepted encodes, has no controls, and no path arithmetic can lead out of its bucket."""
    try:
        validate_key(key)
    except ValueError:
        return
    assert 1 <= len(key.encode()) <= 1024
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F for character in key)
    assert not {".", ".."} & set(key.split("/"))
    assert key[0] != "/"


@given(st.text("./ab", max_size=8), st.text("./ab", max_size=8))
def test_every_beginning_of_a_key_is_a_prefix(start: str, rest: str) -> None:
    """The two validators agree: no key is out of reach of a listing by its own beginning."""
    try:
        validate_key(start + rest)
    except ValueError:
        return
    assert validate_prefix(start) == start
