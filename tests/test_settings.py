"""Settings are read once, checked together, and an error names the variable, the value and the remedy."""

from __future__ import annotations

import math
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from greenlang_async_storage._endpoints import endpoint_fault, is_loopback_endpoint, is_metadata_endpoint
from greenlang_async_storage._settings import StorageSettings, StorageSettingsError

MIB = 1024 * 1024


def refused(**values: Any) -> str:
    """The message for settings that must not be accepted."""
    with pytest.raises(StorageSettingsError) as caught:
        StorageSettings(**values)
    return str(caught.value)


def test_defaults_are_the_documented_ones() -> None:
    """An empty environment gives AWS, KMS, 100 connections, three attempts and bounded times."""
    settings = StorageSettings()
    assert settings.endpoint is None
    assert settings.region is None
    assert settings.buckets == {}
    assert (settings.encryption, settings.kms_key_id) == ("aws:kms", "alias/greenlang-s3-key")
    assert (settings.checksum, settings.retry_mode, settings.max_attempts) == ("CRC64NVME", "adaptive", 3)
    assert (settings.part_size, settings.multipart_threshold) == (8 * MIB, 16 * MIB)
    assert (settings.max_pool_connections, settings.transfer_concurrency) == (100, 8)
    assert (settings.connect_timeout, settings.read_timeout, settings.attempt_timeout) == (5, 60, 30)
    assert (settings.call_timeout, settings.stall_timeout) == (60, 20)
    assert (settings.pool_timeout, settings.cleanup_timeout) == (60, 5)
    assert settings.fast_path
    assert settings.verify_tls is True


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("GREENLANG_DATA_LAKE_BUCKET", "the-lake", "data_lake_bucket", "the-lake"),
        ("GREENLANG_REPORTS_BUCKET", "the-reports", "reports_bucket", "the-reports"),
        ("GREENLANG_MODELS_BUCKET", "the-models", "models_bucket", "the-models"),
        ("GREENLANG_TEMP_BUCKET", "the-temp", "temp_bucket", "the-temp"),
        ("GREENLANG_CACHE_BUCKET", " the-cache\n", "cache_bucket", "the-cache"),
        ("AWS_REGION", "eu-west-1", "region", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "eu-west-2", "region", "eu-west-2"),
        ("S3_USE_ACCELERATE", "true", "use_accelerate", True),
        ("KMS_KEY_ID", "alias/other", "kms_key_id", "alias/other"),
        ("USE_LOCALSTACK", "true", "use_localstack", True),
        ("GREENLANG_STORAGE_ENDPOINT_URL", "http://minio:9000/", "endpoint_url", "http://minio:9000"),
        ("GREENLANG_STORAGE_ALLOW_LINK_LOCAL_ENDPOINT", "1", "allow_link_local_endpoint", True),
        ("GREENLANG_STORAGE_MAX_POOL_CONNECTIONS", "7", "max_pool_connections", 7),
        ("GREENLANG_STORAGE_CONNECT_TIMEOUT", "1.5", "connect_timeout", 1.5),
        ("GREENLANG_STORAGE_READ_TIMEOUT", "2", "read_timeout", 2.0),
        ("GREENLANG_STORAGE_ATTEMPT_TIMEOUT", "3", "attempt_timeout", 3.0),
        ("GREENLANG_STORAGE_CALL_TIMEOUT", "4", "call_timeout", 4.0),
        ("GREENLANG_STORAGE_STALL_TIMEOUT", "4.5", "stall_timeout", 4.5),
        ("GREENLANG_STORAGE_POOL_TIMEOUT", "5", "pool_timeout", 5.0),
        ("GREENLANG_STORAGE_CLEANUP_TIMEOUT", "6", "cleanup_timeout", 6.0),
        ("GREENLANG_STORAGE_MAX_ATTEMPTS", "9", "max_attempts", 9),
        ("GREENLANG_STORAGE_RETRY_MODE", "STANDARD", "retry_mode", "standard"),
        ("GREENLANG_STORAGE_ENCRYPTION", "aes256", "encryption", "AES256"),
        ("GREENLANG_STORAGE_CHECKSUM", "sha256", "checksum", "SHA256"),
        ("GREENLANG_STORAGE_PART_SIZE", "16MiB", "part_size", 16 * MIB),
        ("GREENLANG_STORAGE_MULTIPART_THRESHOLD", "33554432", "multipart_threshold", 32 * MIB),
        ("GREENLANG_STORAGE_TRANSFER_CONCURRENCY", "4", "transfer_concurrency", 4),
        ("GREENLANG_STORAGE_EXPECTED_BUCKET_OWNER", "012345678901", "expected_bucket_owner", "012345678901"),
        ("GREENLANG_STORAGE_FAST_PATH", "false", "fast_path", False),
        ("GREENLANG_STORAGE_VERIFY_TLS", "False", "verify_tls", False),
        ("GREENLANG_STORAGE_VERIFY_TLS", "1", "verify_tls", True),
    ],
)
def test_every_variable_is_read(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, value: object
) -> None:
    """Each setting has the variable its documentation names, and text becomes its type."""
    monkeypatch.setenv(variable, text)
    assert getattr(StorageSettings(), field) == value
    assert variable in _documentation()[field]


def _documentation() -> dict[str, str]:
    """Each field with the docstring written below it in the source."""
    import ast
    import inspect

    [body] = [
        node.body
        for node in ast.walk(ast.parse(inspect.getsource(StorageSettings)))
        if isinstance(node, ast.ClassDef)
    ]
    found = {}
    for field, note in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(note, ast.Expr)
            and isinstance(field.target, ast.Name)
        ):
            found[field.target.id] = ast.literal_eval(note.value)
    return found


def test_aws_region_wins_over_the_older_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """With both set, AWS_REGION decides; an empty one counts as unset."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert StorageSettings().region == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "")
    assert StorageSettings().region == "eu-west-2"


def test_code_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyword argument replaces the variable, also a broken one."""
    monkeypatch.setenv("GREENLANG_STORAGE_PART_SIZE", "nonsense")
    assert StorageSettings(part_size=5 * MIB).part_size == 5 * MIB


def test_credentials_are_never_read_from_our_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in the environment are botocore's business alone."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        monkeypatch.setenv(f"GREENLANG_STORAGE_{name}", "stray")
        monkeypatch.setenv(f"AWS_{name}", "stray")
    settings = StorageSettings()
    assert (settings.access_key_id, settings.secret_access_key, settings.session_token) == (None, None, None)


def test_settings_are_frozen() -> None:
    """An open session can rely on its settings."""
    with pytest.raises(ValueError, match="frozen"):
        StorageSettings().max_attempts = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (
            {"max_pool_connections": 0},
            ["GREENLANG_STORAGE_MAX_POOL_CONNECTIONS", "is 0", "equal to 1", "100"],
        ),
        ({"part_size": "4MiB"}, ["GREENLANG_STORAGE_PART_SIZE", "'4MiB'", "5242880", "8388608"]),
        ({"part_size": 5 * 1024 * MIB + 1}, ["GREENLANG_STORAGE_PART_SIZE", "5368709121", "5368709120"]),
        ({"part_size": "8 bananas"}, ["GREENLANG_STORAGE_PART_SIZE", "'8 bananas'", "8MiB"]),
        ({"part_size": True}, ["GREENLANG_STORAGE_PART_SIZE", "True", "8MiB"]),
        ({"multipart_threshold": 1}, ["GREENLANG_STORAGE_MULTIPART_THRESHOLD", "is 1", "5242880"]),
        ({"transfer_concurrency": 0}, ["GREENLANG_STORAGE_TRANSFER_CONCURRENCY", "is 0", "equal to 1"]),
        ({"max_attempts": 0}, ["GREENLANG_STORAGE_MAX_ATTEMPTS", "is 0", "equal to 1", "default, 3"]),
        ({"max_attempts": 21}, ["GREENLANG_STORAGE_MAX_ATTEMPTS", "is 21", "equal to 20"]),
        ({"call_timeout": 0}, ["GREENLANG_STORAGE_CALL_TIMEOUT", "is 0", "greater than 0", "60.0"]),
        ({"read_timeout": -1}, ["GREENLANG_STORAGE_READ_TIMEOUT", "is -1", "greater than 0"]),
        ({"connect_timeout": math.nan}, ["GREENLANG_STORAGE_CONNECT_TIMEOUT", "nan", "finite"]),
        ({"pool_timeout": math.inf}, ["GREENLANG_STORAGE_POOL_TIMEOUT", "inf", "finite"]),
        ({"retry_mode": "eager"}, ["GREENLANG_STORAGE_RETRY_MODE", "'eager'", "adaptive, standard, none"]),
        ({"encryption": "kms"}, ["GREENLANG_STORAGE_ENCRYPTION", "'kms'", "aws:kms, AES256, none"]),
        ({"checksum": "MD5"}, ["GREENLANG_STORAGE_CHECKSUM", "'MD5'", "CRC64NVME, CRC32, SHA256, none"]),
        ({"region": "eu west"}, ["AWS_REGION / AWS_DEFAULT_REGION", "'eu west'", "eu-west-1"]),
        ({"region": "evil.example#"}, ["AWS_REGION", "letters, digits and hyphens"]),
        ({"kms_key_id": "a b"}, ["KMS_KEY_ID", "'a b'", "without blanks"]),
        ({"kms_key_id": "a\r\nb"}, ["KMS_KEY_ID", "without blanks"]),
        ({"expected_bucket_owner": "123"}, ["GREENLANG_STORAGE_EXPECTED_BUCKET_OWNER", "'123'", "12 digits"]),
        ({"expected_bucket_owner": "\u0661" * 12}, ["EXPECTED_BUCKET_OWNER", "12 digits"]),
        ({"verify_tls": "/no/such/file"}, ["GREENLANG_STORAGE_VERIFY_TLS", "/no/such/file", "PEM"]),
        ({"verify_tls": 3.5}, ["GREENLANG_STORAGE_VERIFY_TLS", "3.5", "CA bundle"]),
        ({"fast_path": "perhaps"}, ["GREENLANG_STORAGE_FAST_PATH", "'perhaps'", "boolean"]),
        ({"data_lake_bucket": "Data_Lake"}, ["GREENLANG_DATA_LAKE_BUCKET", "'Data_Lake'", "lower-case"]),
        ({"cache_bucket": "192.168.1.1"}, ["GREENLANG_CACHE_BUCKET", "IP address"]),
        (
            {"use_accelerate": True, "endpoint_url": "http://minio:9000"},
            ["S3_USE_ACCELERATE", "ENDPOINT_URL", "unset"],
        ),
        ({"use_accelerate": True, "use_localstack": True}, ["S3_USE_ACCELERATE", "USE_LOCALSTACK", "unset"]),
        (
            {"use_accelerate": True, "temp_bucket": "a.b.c"},
            ["S3_USE_ACCELERATE", "GREENLANG_TEMP_BUCKET", "'a.b.c'"],
        ),
        ({"access_key_id": "AKIA"}, ["secret_access_key", "both"]),
        ({"session_token": "t"}, ["session_token", "access_key_id"]),
        ({"regoin": "eu-west-1"}, ["'regoin'", "did you mean 'region'"]),
        ({"zzz": 1}, ["'zzz'", "use one of", "part_size"]),
    ],
)
def test_a_bad_value_gives_one_clear_line(values: dict[str, object], parts: list[str]) -> None:
    """The message is one line with the variable, the value, the limit and what to do."""
    message = refused(**values)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_bad_variable_gives_the_same_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes from the environment is judged like what comes from code."""
    monkeypatch.setenv("GREENLANG_STORAGE_MAX_POOL_CONNECTIONS", "many")
    assert "GREENLANG_STORAGE_MAX_POOL_CONNECTIONS (max_pool_connections) is 'many'" in refused()


def test_every_problem_is_told_at_once() -> None:
    """Two bad values are two lines, also as `problems`, and the error can cross a process boundary."""
    with pytest.raises(StorageSettingsError) as caught:
        StorageSettings(max_attempts=0, region="!")
    assert len(caught.value.problems) == 2
    assert isinstance(caught.value, ValueError)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # our own bytes
    assert copy.problems == caught.value.problems
    assert str(copy) == str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"access_key_id": "canary-id", "secret_access_key": "canary"},
        {"access_key_id": "canary-id", "secret_access_key": "canary", "session_token": "canary"},
    ],
)
def test_secrets_are_never_shown(values: dict[str, Any]) -> None:
    """No representation of the settings holds a key."""
    settings = StorageSettings(**values)
    shown = [
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        f"{settings.model_dump()['secret_access_key']}",
    ]
    assert not any("canary" in text for text in shown[:2])
    assert not any('"canary"' in text for text in shown[2:])
    assert settings.secret_access_key == SecretStr("canary")


@pytest.mark.parametrize(
    "values",
    [
        {"secret_access_key": ["canary"]},
        {"session_token": 7, "access_key_id": ["canary"]},
        {"secret_acess_key": "canary"},
        {"endpoint_url": "https://user:canary@store.example"},
        {"endpoint_url": "https://user:can@canary@store.example/?X=canary#canary"},
        {"endpoint_url": "https://store.example/?X-Amz-Signature=canary"},
        {"access_key_id": "canary", "endpoint_url": "nonsense"},
    ],
)
def test_errors_never_show_secrets(values: dict[str, Any]) -> None:
    """A refused secret, or one inside an address, is in no part of the error, its cause or its context."""
    with pytest.raises(StorageSettingsError) as caught:
        StorageSettings(**values)
    error = caught.value
    assert "canary" not in f"{error}{error!r}"
    assert error.__cause__ is None
    assert error.__context__ is None


def test_localstack_is_an_endpoint_unless_another_is_given() -> None:
    """USE_LOCALSTACK means port 4566 here; GREENLANG_STORAGE_ENDPOINT_URL wins over it."""
    assert StorageSettings(use_localstack=True).endpoint == "http://localhost:4566"
    other = StorageSettings(use_localstack=True, endpoint_url="http://localstack:4566")
    assert other.endpoint == "http://localstack:4566"


def test_an_unset_bucket_names_its_variable() -> None:
    """Asking for a bucket nobody configured says which variable to set."""
    settings = StorageSettings(reports_bucket="the-reports")
    assert settings.bucket("reports") == "the-reports"
    assert settings.buckets == {"reports": "the-reports"}
    with pytest.raises(StorageSettingsError, match="GREENLANG_DATA_LAKE_BUCKET is not set"):
        settings.bucket("data_lake")
    with pytest.raises(StorageSettingsError, match="one of data_lake, reports, models, temp, cache"):
        settings.bucket("attic")  # type: ignore[arg-type]


def test_a_ca_bundle_may_replace_the_usual_ones(tmp_path: Path) -> None:
    """VERIFY_TLS takes the path of a file; a folder is refused."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    assert StorageSettings(verify_tls=str(bundle)).verify_tls == bundle
    assert "existing CA bundle" in refused(verify_tls=tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9000",
        "https://s3.example.com",
        "https://s3.example.com/",
        "http://127.0.0.1:1",
        "http://[::1]:9000",
        "http://minio_1:9000",
        "https://store.example.:443",
        "http://1.2.3.4.example",
    ],
)
def test_plain_endpoints_pass(url: str) -> None:
    """A scheme, a host and perhaps a port make an endpoint."""
    assert endpoint_fault(url) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("minio:9000", "http:// or https://"),
        ("ftp://host", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("http://", "no host"),
        ("http://:9000", "no host"),
        ("http://user:pass@host", "user name or password"),
        ("http://user@host", "user name or password"),
        ("http://host/path", "path"),
        ("http://host?x=1", "query"),
        ("http://host/?", "query"),
        ("http://host#frag", "fragment"),
        ("http://host:0", "1 to 65535"),
        ("http://host:65536", "cannot be read"),
        ("http://host:port", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://[zz::1]", "cannot be read"),
        ("http://ho st", "blanks"),
        ("http://ho\tst", "blanks"),
        ("http://hôte", "non-ASCII"),
        ("http://-host", "no host name"),
        ("http://a..b", "no host name"),
        ("http://2852039166", "four decimal numbers"),
        ("http://0xa9fea9fe", "four decimal numbers"),
        ("http://0251.0376.0251.0376", "four decimal numbers"),
        ("http://169.254.43518", "four decimal numbers"),
        ("http://127.1:9000", "four decimal numbers"),
        ("http://169.254.169.254.", "four decimal numbers"),
    ],
)
def test_s12_malformed_endpoints_are_refused(url: str, reason: str) -> None:
    """Anything but scheme, host and port is refused, and so is every spelling that hides an address."""
    assert reason in (endpoint_fault(url) or "")
    assert "GREENLANG_STORAGE_ENDPOINT_URL" in refused(endpoint_url=url)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "http://169.254.170.2:80",
        "http://[fe80::1]",
        "http://[fd00:ec2::254]",
        "http://[::ffff:169.254.169.254]",
        "http://[::ffff:a9fe:a9fe]",
        "http://[64:ff9b::a9fe:a9fe]",
        "http://[2002:a9fe:a9fe::1]",
        "http://metadata.google.internal",
        "http://METADATA.google.internal.",
        "http://100.100.100.200",
        "http://168.63.129.16",
    ],
)
def test_s12_metadata_addresses_are_refused_unless_allowed(url: str) -> None:
    """An endpoint that would reach instance metadata needs a deliberate second setting."""
    assert is_metadata_endpoint(url)
    message = refused(endpoint_url=url)
    assert "GREENLANG_STORAGE_ENDPOINT_URL" in message
    assert "GREENLANG_STORAGE_ALLOW_LINK_LOCAL_ENDPOINT" in message
    assert StorageSettings(endpoint_url=url, allow_link_local_endpoint=True).endpoint_url == url


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:9000", True),
        ("http://a.localhost", True),
        ("http://127.0.0.5", True),
        ("http://[::1]:1", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://minio:9000", False),
        ("http://localhost.example", False),
        ("http://10.0.0.1", False),
    ],
)
def test_loopback_is_recognised(url: str, loopback: bool) -> None:
    """Only what cannot leave this machine counts as loopback."""
    assert is_loopback_endpoint(url) is loopback
    assert not is_metadata_endpoint(url)
