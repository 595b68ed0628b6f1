"""Opening does no work that only other services, other libraries or later events need."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NoReturn

import pytest
from botocore.exceptions import UnknownServiceError
from botocore.loaders import JSONFileLoader, Loader

from greenlang_async_storage._aws import open_client
from greenlang_async_storage._aws_session import make_session
from greenlang_async_storage._settings import StorageSettings

pytestmark = pytest.mark.asyncio


def keys_in_code() -> StorageSettings:
    """Settings that need no credential chain."""
    return StorageSettings(access_key_id="AKIDEXAMPLE", secret_access_key="not-a-secret", region="eu-west-1")


async def test_opening_looks_for_one_service_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of botocore's four hundred services are not walked to find that there is S3."""

    def walk(_loader: Loader, type_name: str) -> NoReturn:
        raise AssertionError(f"walked all folders for {type_name}")

    monkeypatch.setattr(Loader, "list_available_services", walk)
    async with await open_client(keys_in_code()) as opened:
        assert opened.region == "eu-west-1"


def look_up() -> None:
    """S3 and a service that does not exist, in a loader of ours."""
    session = make_session(keys_in_code())
    loader = getattr(session, "_session", session).get_component("data_loader")
    with pytest.raises(UnknownServiceError, match=r"no-such-service.*sts"):
        loader.load_service_model("no-such-service", "service-2")
    assert "s3" in loader.list_available_services("service-2")
    assert "s3" in list(loader.list_available_services("service-2"))


async def test_an_unknown_service_is_still_botocores_error() -> None:
    """A service without a model is refused as before, with the names of those there are."""
    await asyncio.to_thread(look_up)


async def test_models_are_read_once_for_all_sessions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next session reads no file of botocore's; one with other folders of models reads its own."""
    async with await open_client(keys_in_code()):
        pass
    read: list[str] = []
    load_file = JSONFileLoader.load_file

    def watched(loader: JSONFileLoader, path: str) -> Any:
        read.append(path)
        return load_file(loader, path)

    monkeypatch.setattr(JSONFileLoader, "load_file", watched)
    async with await open_client(keys_in_code()) as opened:
        assert opened.region == "eu-west-1"
        assert not read
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    async with await open_client(keys_in_code()):
        assert any(str(tmp_path) in path for path in read)
