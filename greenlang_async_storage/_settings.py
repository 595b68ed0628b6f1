"""The configuration of a session: one frozen value, read from the environment and checked before use."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ._endpoints import endpoint_fault, is_metadata_endpoint, redacted_endpoint
from ._names import validate_bucket_name
from ._types import ChecksumChoice, EncryptionMode, Purpose, RetryMode

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

MIN_PART_SIZE: Final = 5 * MIB
MAX_PART_SIZE: Final = 5 * GIB
"""S3 User Guide, "Amazon S3 multipart upload limits"; also the largest object a single PUT stores."""
MAX_POOL_CONNECTIONS: Final = 10_000
MAX_ATTEMPTS: Final = 20
STALL_MIN_BYTES_PER_SECOND: Final = KIB
"""A transfer that stays below this for `stall_timeout` seconds has stalled."""
LOCALSTACK_ENDPOINT: Final = "http://localhost:4566"
LOCALSTACK_CREDENTIAL: Final = "test"

_PREFIX: Final = "GREENLANG_STORAGE_"
_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "data_lake_bucket": ("GREENLANG_DATA_LAKE_BUCKET",),
    "reports_bucket": ("GREENLANG_REPORTS_BUCKET",),
    "models_bucket": ("GREENLANG_MODELS_BUCKET",),
    "temp_bucket": ("GREENLANG_TEMP_BUCKET",),
    "cache_bucket": ("GREENLANG_CACHE_BUCKET",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "use_accelerate": ("S3_USE_ACCELERATE",),
    "kms_key_id": ("KMS_KEY_ID",),
    "use_localstack": ("USE_LOCALSTACK",),
    # In the environment, credentials belong to botocore's own chain.
    "access_key_id": (),
    "secret_access_key": (),
    "session_token": (),
}
_SECRETS: Final = frozenset({"access_key_id", "secret_access_key", "session_token"})
_UNITS: Final = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": KIB, "mib": MIB, "gib": GIB}
_ON: Final = frozenset({"true", "1", "yes", "on"})
_OFF: Final = frozenset({"false", "0", "no", "off"})


class StorageSettingsError(ValueError):
    """Settings that cannot work; `problems` has a line for each: variable, value, limit and remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def _size(value: object) -> object:
    """A number of bytes, also from text such as `8MiB` or `16 mb`."""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+)\s*([A-Za-z]*)\s*", value)):
        unit = _UNITS.get(match[2].lower())
        if unit is not None:
            return int(match[1]) * unit
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a number of bytes, such as 8388608 or 8MiB")  # noqa: TRY004  # pydantic collects these
    return value


def _choice(*choices: str) -> BeforeValidator:
    """One of *choices* in any case, as the rest of the SDK spells it."""

    def check(value: object) -> object:
        for choice in choices:
            if isinstance(value, str) and value.strip().lower() == choice.lower():
                return choice
        raise ValueError(f"must be one of {', '.join(choices)}")

    return BeforeValidator(check)


def _verification(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _ON | _OFF:
        return value.strip().lower() in _ON
    if not isinstance(value, str | os.PathLike):
        raise ValueError("must be true, false or the path of a CA bundle")  # noqa: TRY004  # as above
    path = Path(value).expanduser()
    if not path.is_file():
        raise ValueError("must be true, false or the path of an existing CA bundle (a PEM file)")
    return path


_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_PartBytes = Annotated[int, BeforeValidator(_size), Field(ge=MIN_PART_SIZE, le=MAX_PART_SIZE)]


class StorageSettings(BaseSettings):
    """
    What a session needs to know, frozen: `StorageSettings()` reads the environment, keyword arguments win.

    Every field names its variable; an empty one counts as unset. Sizes are bytes, and text such as `8MiB` is
    understood; times are seconds. Credentials, `AWS_PROFILE`, `AWS_ENDPOINT_URL_S3`, `AWS_CA_BUNDLE` and
    proxies are left to botocore's own chain; what is set here wins over it.

    Raises:
        StorageSettingsError: (a `ValueError`) one line per problem; never shows a secret.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=False,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    data_lake_bucket: str | None = None
    """`GREENLANG_DATA_LAKE_BUCKET`"""
    reports_bucket: str | None = None
    """`GREENLANG_REPORTS_BUCKET`"""
    models_bucket: str | None = None
    """`GREENLANG_MODELS_BUCKET`"""
    temp_bucket: str | None = None
    """`GREENLANG_TEMP_BUCKET`"""
    cache_bucket: str | None = None
    """`GREENLANG_CACHE_BUCKET`"""

    region: str | None = None
    """`AWS_REGION`, else `AWS_DEFAULT_REGION`, else the profile's."""
    endpoint_url: str | None = None
    """`GREENLANG_STORAGE_ENDPOINT_URL`: another store, as `http(s)://host[:port]`; unset means AWS."""
    allow_link_local_endpoint: bool = False
    """`GREENLANG_STORAGE_ALLOW_LINK_LOCAL_ENDPOINT`: the endpoint may be a link-local address."""
    use_localstack: bool = False
    """`USE_LOCALSTACK`: port 4566 here unless `endpoint_url` says otherwise; credentials test/test."""
    use_accelerate: bool = False
    """`S3_USE_ACCELERATE`: S3 Transfer Acceleration; AWS only, bucket names without periods only."""
    access_key_id: str | None = Field(default=None, repr=False)
    """From code only, with `secret_access_key`; in the environment use botocore's own `AWS_ACCESS_KEY_ID`."""
    secret_access_key: SecretStr | None = Field(default=None, repr=False)
    session_token: SecretStr | None = Field(default=None, repr=False)
    expected_bucket_owner: str | None = None
    """`GREENLANG_STORAGE_EXPECTED_BUCKET_OWNER`: 12 digits; other accounts' buckets are refused."""
    verify_tls: bool | Path = True
    """`GREENLANG_STORAGE_VERIFY_TLS`: `true`, a CA bundle (PEM file), or `false` (for tests)."""

    encryption: Annotated[EncryptionMode, _choice(*get_args(EncryptionMode))] = "aws:kms"
    """`GREENLANG_STORAGE_ENCRYPTION`: how objects are encrypted at rest: `aws:kms`, `AES256` or `none`."""
    kms_key_id: str = "alias/greenlang-s3-key"
    """`KMS_KEY_ID`: key id, ARN or alias for `aws:kms`."""
    checksum: Annotated[ChecksumChoice, _choice(*get_args(ChecksumChoice))] = "CRC64NVME"
    """`GREENLANG_STORAGE_CHECKSUM`: sent with every upload: `CRC64NVME`, `CRC32`, `SHA256` or `none`."""

    max_pool_connections: int = Field(default=100, ge=1, le=MAX_POOL_CONNECTIONS)
    """`GREENLANG_STORAGE_MAX_POOL_CONNECTIONS`: connections, and so requests in flight, of one session."""
    fast_path: bool = True
    """`GREENLANG_STORAGE_FAST_PATH`: compiled calls instead of botocore's generic pipeline."""
    part_size: _PartBytes = 8 * MIB
    """`GREENLANG_STORAGE_PART_SIZE`: 5 MiB to 5 GiB; grows by itself where 10,000 parts would not do."""
    multipart_threshold: _PartBytes = 16 * MIB
    """`GREENLANG_STORAGE_MULTIPART_THRESHOLD`: 5 MiB to 5 GiB; sources of at least this size go in parts."""
    transfer_concurrency: int = Field(default=8, ge=1, le=MAX_POOL_CONNECTIONS)
    """`GREENLANG_STORAGE_TRANSFER_CONCURRENCY`: parts in flight of one transfer; memory: this many parts."""

    connect_timeout: _Seconds = 5.0
    """`GREENLANG_STORAGE_CONNECT_TIMEOUT`: TCP connect."""
    read_timeout: _Seconds = 60.0
    """`GREENLANG_STORAGE_READ_TIMEOUT`: silence on a socket."""
    attempt_timeout: _Seconds = 30.0
    """`GREENLANG_STORAGE_ATTEMPT_TIMEOUT`: one try of a single request; leaves time for another."""
    call_timeout: _Seconds = 60.0
    """`GREENLANG_STORAGE_CALL_TIMEOUT`: a single request and its retries; transfers have `stall_timeout`."""
    stall_timeout: _Seconds = 20.0
    """`GREENLANG_STORAGE_STALL_TIMEOUT`: how long a transfer may stay below 1 KiB/s."""
    pool_timeout: _Seconds = 60.0
    """`GREENLANG_STORAGE_POOL_TIMEOUT`: waiting for a free connection."""
    cleanup_timeout: _Seconds = 5.0
    """`GREENLANG_STORAGE_CLEANUP_TIMEOUT`: aborting an upload after a failure or cancel."""
    max_attempts: int = Field(default=3, ge=1, le=MAX_ATTEMPTS)
    """`GREENLANG_STORAGE_MAX_ATTEMPTS`: tries of one request, the first included."""
    retry_mode: Annotated[RetryMode, _choice(*get_args(RetryMode))] = "adaptive"
    """`GREENLANG_STORAGE_RETRY_MODE`: `adaptive` (rate limiter), `standard`, or `none` (one attempt)."""

    if not TYPE_CHECKING:  # type checkers see the fields, which pydantic makes keyword arguments

        def __init__(self, **values: object) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                problems = [_problem(detail) for detail in error.errors(include_url=False)]
            else:
                return
            raise StorageSettingsError(*problems)  # outside the handler: the original holds every input

    @property
    def endpoint(self) -> str | None:
        """The endpoint to use: the one given, LocalStack's, or `None` for botocore's own choice (AWS)."""
        return self.endpoint_url or (LOCALSTACK_ENDPOINT if self.use_localstack else None)

    @property
    def buckets(self) -> dict[Purpose, str]:
        """The configured buckets by purpose; unset ones are left out."""
        named = {purpose: getattr(self, f"{purpose}_bucket") for purpose in _PURPOSES}
        return {purpose: name for purpose, name in named.items() if name is not None}

    def bucket(self, purpose: Purpose) -> str:
        """
        The name of the bucket for *purpose*.

        Raises:
            StorageSettingsError: when it is not configured; names the variable to set.
        """
        if purpose not in _PURPOSES:
            raise StorageSettingsError(f"{purpose!r} is no bucket purpose; use one of {', '.join(_PURPOSES)}")
        name = self.buckets.get(purpose)
        if name is None:
            field = f"{purpose}_bucket"
            raise StorageSettingsError(
                f"{_VARIABLES[field][0]} is not set: set it, or pass StorageSettings({field}=...), "
                f"to use session.{purpose}"
            )
        return name

    def check_foreign_endpoint(self, url: str) -> None:
        """
        Pass when *url*, an endpoint from botocore's own chain, goes with these settings.

        Raises:
            StorageSettingsError: it is a metadata address, or there is none beside Transfer Acceleration.
        """
        found = _endpoint_conflicts(
            self, url, "AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3, or the profile's endpoint_url)"
        )
        if found:
            raise StorageSettingsError(*found)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic-settings passes all by name
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Environment(settings_cls)

    @field_validator("data_lake_bucket", "reports_bucket", "models_bucket", "temp_bucket", "cache_bucket")
    @classmethod
    def _check_bucket(cls, name: str | None) -> str | None:
        return None if name is None else validate_bucket_name(name)

    @field_validator("region")
    @classmethod
    def _check_region(cls, region: str | None) -> str | None:
        if region is not None and not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", region):
            raise ValueError("must be a region such as eu-west-1: letters, digits and hyphens, at most 63")
        return region

    @field_validator("kms_key_id")
    @classmethod
    def _check_kms_key(cls, key_id: str) -> str:
        if not re.fullmatch(r"[\x21-\x7e]{1,2048}", key_id):
            raise ValueError("must be a KMS key id, ARN or alias (alias/...), without blanks")
        return key_id

    @field_validator("expected_bucket_owner")
    @classmethod
    def _check_owner(cls, account: str | None) -> str | None:
        if account is not None and not re.fullmatch(r"[0-9]{12}", account):
            raise ValueError("must be the 12 digits of an AWS account id")
        return account

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint(cls, url: str | None) -> str | None:
        if url is not None and (fault := endpoint_fault(url)):
            raise ValueError(fault)
        return url.rstrip("/") if url else None

    _verify_path = field_validator("verify_tls", mode="before")(_verification)

    @model_validator(mode="after")
    def _check_together(self) -> StorageSettings:
        problems = [problem for problem in _conflicts(self) if problem]
        if problems:
            raise ValueError("\n".join(problems))
        return self


_PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)


class _Environment(PydanticBaseSettingsSource):
    """The environment as our variables: exact names, first one wins, an empty one counts as unset."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        for variable in _variables(field_name):
            if value := os.environ.get(variable, "").strip():
                return value, field_name, False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def _variables(field: str) -> tuple[str, ...]:
    return _VARIABLES.get(field, (_PREFIX + field.upper(),))


def _label(field: str) -> str:
    """How a message names a setting: by its variable and by its keyword."""
    variables = _variables(field)
    return f"{' / '.join(variables)} ({field})" if variables else f"StorageSettings({field}=...)"


def _problem(detail: ErrorDetails) -> str:
    """One line about one refused value: variable, value, limit, remedy."""
    if not detail["loc"]:
        return str(detail["ctx"]["error"])
    field = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(field, StorageSettings.model_fields, n=1)
        known = ", ".join(StorageSettings.model_fields)
        return f"StorageSettings takes no {field!r}: " + (
            f"did you mean {close[0]!r}?" if close else f"use one of {known}"
        )
    reason = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
    reason = reason.replace("Input should be", "must be").replace("String should", "must")
    default = StorageSettings.model_fields[field].default
    remedy = "correct or unset it"
    if default is not None:
        remedy = f"correct it, or unset it for the default, {_shown(default)}"
    value = "<hidden>" if field in _SECRETS else _shown(detail["input"])
    return f"{_label(field)} is {value}: {reason}; {remedy}"


def _shown(value: object) -> str:
    text = ascii(redacted_endpoint(value) if isinstance(value, str) and "//" in value else value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _conflicts(settings: StorageSettings) -> list[str]:
    """What is wrong with values that are fine one by one."""
    found = []
    if settings.endpoint:
        source = "endpoint_url" if settings.endpoint_url else "use_localstack"
        found += _endpoint_conflicts(settings, settings.endpoint, _label(source))
    if settings.use_accelerate:
        found += [
            f"{_label(f'{purpose}_bucket')} is {name!r} but {_label('use_accelerate')} is True: "
            "Transfer Acceleration takes no bucket name with periods; unset one of the two"
            for purpose, name in settings.buckets.items()
            if "." in name
        ]
    if (settings.access_key_id is None) != (settings.secret_access_key is None):
        found.append(
            "only one of access_key_id and secret_access_key is given to StorageSettings; give both or none"
        )
    if settings.session_token is not None and settings.access_key_id is None:
        found.append(
            "session_token is given to StorageSettings without access_key_id; give both keys with it"
        )
    return found


def _endpoint_conflicts(settings: StorageSettings, url: str, source: str) -> list[str]:
    found = []
    url = redacted_endpoint(url)
    if settings.use_accelerate:
        found.append(
            f"{_label('use_accelerate')} is True but {source} selects {url!r}: "
            "Transfer Acceleration exists on AWS only; unset one of the two"
        )
    if is_metadata_endpoint(url) and not settings.allow_link_local_endpoint:
        found.append(
            f"{source} is {url!r}: a link-local or instance metadata address; give the store's address, "
            f"or set {_label('allow_link_local_endpoint')} to true if it is there"
        )
    return found
