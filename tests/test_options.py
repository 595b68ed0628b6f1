"""Write options: what is sent for them, and what is refused before anything is."""

from __future__ import annotations

import pickle
import re
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage import Encryption, S3InvalidRequestError, StorageSettings
from greenlang_async_storage._content_types import guess_content_type
from greenlang_async_storage._options import (
    MAX_METADATA_BYTES,
    UPLOAD_TOKEN,
    kept_encryption,
    new_upload_token,
    prepare_write,
)
from greenlang_async_storage._types import WriteOptions

SETTINGS = StorageSettings(kms_key_id="alias/the-key")
PLAIN = StorageSettings(encryption="none")


def prepared(settings: StorageSettings = PLAIN, key: str = "k", **options: Any) -> dict[str, Any]:
    """What PutObject is told for *options*."""
    return dict(prepare_write(settings, key, cast("WriteOptions", options)).put_args())


def refusal(**options: Any) -> S3InvalidRequestError:
    """The error these options give."""
    with pytest.raises(S3InvalidRequestError) as caught:
        prepared(**options)
    return caught.value


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("a.csv", "text/csv"),
        ("a.json", "application/json"),
        ("a.parquet", "application/x-parquet"),
        ("a.pdf", "application/pdf"),
        ("a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("deep/path.d/A.CSV", "text/csv"),
        ("a.csv.gz", "application/gzip"),
        ("folder.csv/plain", "application/octet-stream"),
        (".csv", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("a.nobody-knows", "application/octet-stream"),
        ("no-extension", "application/octet-stream"),
    ],
)
def test_content_type_follows_the_extension(key: str, content_type: str) -> None:
    """The extension of the last segment decides, in any case; anything else is octet-stream."""
    assert guess_content_type(key) == content_type
    assert prepared(key=key)["ContentType"] == content_type


def test_given_content_type_wins() -> None:
    """The caller's type goes before the default one, which goes before the guess."""
    assert prepared(key="a.csv", content_type="text/html; charset=utf-8")["ContentType"] == (
        "text/html; charset=utf-8"
    )
    request = prepare_write(PLAIN, "a.csv", {}, default_content_type="application/json")
    assert request.put_args().get("ContentType") == "application/json"


@pytest.mark.parametrize(
    "value", ["", "text", "text/", "a b/c", "text/csv\r\nX: y", "text/csvé", " text/csv"]
)
def test_bad_content_type_is_refused(value: str) -> None:
    """A content type that is no media type, or unsafe in a header, is refused."""
    assert "content_type" in str(refusal(content_type=value))


def test_kms_with_the_configured_key_is_the_default() -> None:
    """Without a word on encryption an object is encrypted with the configured KMS key."""
    args = prepared(SETTINGS)
    assert args["ServerSideEncryption"] == "aws:kms"
    assert args["SSEKMSKeyId"] == "alias/the-key"
    assert "BucketKeyEnabled" not in args


@pytest.mark.parametrize(
    ("chosen", "mode", "key_id"),
    [
        ("aws:kms", "aws:kms", "alias/the-key"),
        (Encryption("aws:kms"), "aws:kms", "alias/the-key"),
        (Encryption("aws:kms", "other"), "aws:kms", "other"),
        ("AES256", "AES256", None),
        ("none", None, None),
        (Encryption("none"), None, None),
    ],
)
def test_encryption_may_be_chosen(chosen: object, mode: str | None, key_id: str | None) -> None:
    """`encryption=` takes a mode or an `Encryption`; `none` sends nothing."""
    args = prepared(SETTINGS, encryption=chosen)
    assert (args.get("ServerSideEncryption"), args.get("SSEKMSKeyId")) == (mode, key_id)


def test_impossible_encryption_is_refused() -> None:
    """An unknown mode, a key without KMS and an unsafe key are refused, and the key is not repeated."""
    assert "GREENLANG_STORAGE_ENCRYPTION" in str(refusal(encryption="rot13"))
    assert "takes no key" in str(refusal(encryption=Encryption("AES256", "secret-key")))
    message = str(refusal(encryption=Encryption("aws:kms", "secret-key\n")))
    assert "secret-key" not in message
    with pytest.raises(TypeError, match="encryption must be"):
        prepared(encryption=17)


def test_key_ids_stay_out_of_reprs() -> None:
    """No repr shows a KMS key id or metadata values."""
    request = prepare_write(SETTINGS, "k", {"metadata": {"note": "private words"}})
    shown = repr(request) + repr(Encryption("aws:kms", "alias/the-key"))
    assert "the-key" not in shown
    assert "private" not in shown


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/the-key"}),
        ({"ServerSideEncryption": "AES256"}, {"ServerSideEncryption": "AES256"}),
        (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:k", "BucketKeyEnabled": True},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:k", "BucketKeyEnabled": True},
        ),
        (
            {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "arn:k"},
            {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "arn:k"},
        ),
    ],
)
def test_copies_keep_the_encryption(reply: dict[str, object], expected: dict[str, object]) -> None:
    """A copy is encrypted as its source; one the store keeps in the clear, as configured."""
    assert kept_encryption(SETTINGS, reply) == expected


def test_metadata_names_are_lower_case() -> None:
    """Metadata comes back with lower-case names, so it is sent so; values are kept as they are."""
    args = prepared(metadata={"Tenant-ID": "T 1", "a.b_c": "", "x": 'quotes " and ; = ok'})
    assert args["Metadata"] == {"tenant-id": "T 1", "a.b_c": "", "x": 'quotes " and ; = ok'}


@pytest.mark.parametrize("name", ["", "has space", "colon:", "umläut", "line\n", "x\x00"])
def test_bad_metadata_name_is_refused(name: str) -> None:
    """A metadata name must be an HTTP token."""
    assert "HTTP token" in str(refusal(metadata={name: "v"}))


@pytest.mark.parametrize("value", ["a\r\nb", "tab\t", "\x7f", "Zürich", "日本", "\ud800", " lead", "trail "])
def test_bad_metadata_value_is_refused(value: str) -> None:
    """A value a header would change, split or encode is refused, and the error says how to encode it."""
    assert "urllib.parse.quote" in str(refusal(metadata={"name": value}))


def test_reserved_and_clashing_metadata_is_refused() -> None:
    """The upload token's name is ours in any case, and names that differ in case only are one name."""
    assert "reserved" in str(refusal(metadata={UPLOAD_TOKEN.title(): "x"}))
    assert "differ only in case" in str(refusal(metadata={"A": "1", "a": "2"}))


def test_metadata_size_is_limited() -> None:
    """Names and values may take 2 KiB together: one byte more is refused, with the figures."""
    fits = {"n": "v" * (MAX_METADATA_BYTES - 1)}
    assert prepared(metadata=fits)["Metadata"] == fits
    message = str(refusal(metadata={"n": "v" * MAX_METADATA_BYTES}))
    assert "2049" in message
    assert "2048" in message
    with pytest.raises(S3InvalidRequestError, match="54 of them added"):
        prepare_write(PLAIN, "k", {"metadata": fits}).with_metadata({UPLOAD_TOKEN: new_upload_token()})


def test_added_metadata_never_replaces_the_callers() -> None:
    """What the SDK adds goes beside the caller's metadata and leaves the original request alone."""
    request = prepare_write(PLAIN, "k", {"metadata": {"content-hash": "mine"}})
    added = request.with_metadata({"content-hash": "ours", UPLOAD_TOKEN: "t"})
    assert added.metadata == {"content-hash": "mine", UPLOAD_TOKEN: "t"}
    assert request.metadata == {"content-hash": "mine"}


def test_conditions() -> None:
    """`if_none_match=True` creates only; `if_match` takes an ETag with or without quotes."""
    assert prepared(if_none_match=True)["IfNoneMatch"] == "*"
    assert "IfNoneMatch" not in prepared(if_none_match=False)
    assert prepared(if_match="abc-2")["IfMatch"] == prepared(if_match='"abc-2"')["IfMatch"] == '"abc-2"'
    request = prepare_write(PLAIN, "k", {"if_match": "abc"})
    assert request.complete_args() == {"IfMatch": '"abc"'}
    assert "IfMatch" not in request.create_args()


def test_impossible_conditions_are_refused() -> None:
    """Both conditions at once, a string for `if_none_match`, and what is no ETag are refused."""
    assert "exclude each other" in str(refusal(if_none_match=True, if_match="abc"))
    with pytest.raises(TypeError, match="if_none_match must be True"):
        prepared(if_none_match="*")
    with pytest.raises(TypeError, match="if_match must be an ETag"):
        prepared(if_match=True)
    for value in ("", '""', "*", 'a"b', "a b", "é", "a\n"):
        assert "is not an ETag" in str(refusal(if_match=value))


def test_headers_and_storage_class() -> None:
    """Content-Disposition, Cache-Control and storage class are sent as given, if a header can carry them."""
    args = prepared(content_disposition="inline", cache_control="max-age=60", storage_class="STANDARD_IA")
    assert (args["ContentDisposition"], args["CacheControl"]) == ("inline", "max-age=60")
    assert args["StorageClass"] == "STANDARD_IA"
    for name in ("content_disposition", "cache_control"):
        assert name in str(refusal(**{name: "a\r\nb"}))
    assert "storage_class" in str(refusal(storage_class="standard ia"))
    with pytest.raises(TypeError, match="storage_class"):
        prepared(storage_class=5)


def test_unknown_options_are_refused() -> None:
    """A misspelt option, or one of boto's, raises instead of being ignored."""
    with pytest.raises(TypeError, match="unknown write option 'ContentType'; the options are cache_control"):
        prepared(ContentType="text/csv")


def test_wrong_types_are_refused() -> None:
    """Values of another type are programming mistakes."""
    for options in (
        {"metadata": [("a", "b")]},
        {"metadata": {"a": 1}},
        {"metadata": {1: "a"}},
        {"tags": ["a"]},
    ):
        with pytest.raises(TypeError, match="must be"):
            prepared(**options)


def test_nothing_is_sent_for_what_is_absent() -> None:
    """`None` and empty options leave nothing but the content type in the request."""
    options: dict[str, Any] = dict.fromkeys(WriteOptions.__annotations__)
    options["if_none_match"] = False
    assert prepared(**options) == {"ContentType": "application/octet-stream"}
    assert prepared(metadata={}, tags={}) == {"ContentType": "application/octet-stream"}


def test_refusals_name_the_key_and_survive_pickling() -> None:
    """A refusal carries the key and can cross process boundaries."""
    error = pickle.loads(pickle.dumps(refusal(content_type="x")))  # noqa: S301  # our own bytes
    assert (error.key, error.attempts, error.outcome) == ("k", 0, "not_applied")


def test_upload_tokens_differ() -> None:
    """An upload token is 128 random bits in hex."""
    first, second = new_upload_token(), new_upload_token()
    assert first != second
    assert re.fullmatch(r"[0-9a-f]{32}", first)


@given(st.dictionaries(st.text(max_size=6), st.text(max_size=12), max_size=4))
def test_accepted_metadata_is_safe_on_the_wire(metadata: dict[str, str]) -> None:
    """Whatever metadata is accepted is printable ASCII without outer spaces; all else is refused."""
    try:
        sent = prepared(metadata=metadata).get("Metadata", {})
    except S3InvalidRequestError:
        return
    assert {name.lower(): value for name, value in metadata.items()} == sent
    for name, value in sent.items():
        assert re.fullmatch(r"[!-~]+", name)
        assert re.fullmatch(r"[ -~]*", value)
        assert value == value.strip()
