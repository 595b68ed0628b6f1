"""An environment without the machine's own AWS, proxy and project settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_PREFIXES = ("AWS_", "S3_", "GREENLANG_", "MINIO_", "MOTO_", "BOTO_")
_NAMES = frozenset({"KMS_KEY_ID", "USE_LOCALSTACK", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})


def is_ours(name: str) -> bool:
    """Whether a variable could change what a test sees."""
    upper = name.upper()
    return upper in _NAMES or upper.startswith(_PREFIXES)


def isolate(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Drop every such variable, and let AWS configuration be looked for in the empty folder *home* only."""
    for name in [name for name in os.environ if is_ours(name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
