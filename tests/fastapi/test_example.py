"""The example application's own routes, on both servers; its page is tested in a browser."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from examples.fastapi_app.app import create_app
from greenlang_async_storage import StorageSettings
from greenlang_async_storage.testing import StorageServer
from tests.support import servers

from .serving import serving

CSV = {"Content-Type": "text/csv"}


@pytest.fixture
def client(server: StorageServer, observer: Any) -> Iterator[httpx.Client]:
    """A client of the example, in buckets of its own."""
    mark = uuid.uuid4().hex[:12]
    buckets: dict[str, Any] = {
        f"{purpose}_bucket": f"{purpose.replace('_', '-')}-{mark}"
        for purpose in ("data_lake", "reports", "models", "temp", "cache")
    }
    settings = StorageSettings(**server.settings_kwargs(), **buckets)
    try:
        with (
            serving(create_app(settings)) as service,
            httpx.Client(base_url=service.url, timeout=30) as opened,
        ):
            yield opened
    finally:
        for name in buckets.values():
            servers.empty_and_remove(observer, name)


def test_files_are_sent_listed_fetched_linked_and_deleted(client: httpx.Client) -> None:
    """Through the service and by link; another tenant sees none of it."""
    for name in ("a.csv", "Zürich €.csv"):
        assert client.put(f"/api/files/{name}", content=b"1,2\n", headers=CSV).status_code == 201
    first = client.get("/api/files?limit=1").json()
    second = client.get("/api/files", params={"after": first["after"]}).json()
    files = [*first["files"], *second["files"]]
    assert {item["name"] for item in files} == {"a.csv", "Zürich €.csv"}
    assert second["after"] is None
    for item in files:
        answer = client.get(f"/api/files/{item['key']}")
        assert (answer.content, answer.headers["cache-control"]) == (b"1,2\n", "private, no-cache")
        link = client.post(f"/api/links/{item['key']}").json()
        assert httpx.get(link["url"]).content == b"1,2\n"
        stranger = {"X-Tenant": "other"}
        assert client.get(f"/api/files/{item['key']}", headers=stranger).status_code == 404
        assert client.post(f"/api/links/{item['key']}", headers=stranger).status_code == 404
        assert client.delete(f"/api/files/{item['key']}").status_code == 204
        assert client.get(f"/api/files/{item['key']}").status_code == 404
    assert client.get("/api/files/..%2f..%2freports/x").status_code in {400, 404}
    assert client.put("/api/files/x.exe", content=b"x", headers={"Content-Type": "a/b"}).status_code == 415


def test_reports_are_made_and_linked_to(client: httpx.Client) -> None:
    """The link gives the report under its name; another tenant gets no link."""
    client.put("/api/files/a.csv", content=b"1,2\n", headers=CSV)
    made = client.post("/api/reports").json()
    fetched = httpx.get(made["url"])
    assert fetched.text.startswith("key,bytes,modified\r\n")
    assert "a.csv,4," in fetched.text
    assert 'filename="Uploads of demo.csv"' in fetched.headers["content-disposition"]
    again = client.get("/api/reports/link", params={"key": made["key"]})
    assert httpx.get(again.json()["url"]).text == fetched.text
    for key, tenant, status in ((made["key"], "other", 404), ("no/report", "demo", 400)):
        answer = client.get("/api/reports/link", params={"key": key}, headers={"X-Tenant": tenant})
        assert answer.status_code == status


def test_models_are_registered_once_and_promoted(client: httpx.Client) -> None:
    """A version is immutable; stages point at one; what is missing is 404."""
    for version in ("1.0", "1.10", "1.9"):
        saved = client.put(
            f"/api/models/grid/{version}", params={"metrics": '{"rmse": 0.5}'}, content=version.encode()
        )
        assert saved.status_code == 201, saved.text
    assert client.put("/api/models/grid/1.0", content=b"other").status_code == 412
    assert client.get("/api/models").json() == ["grid"]
    latest = client.get("/api/models/grid/latest").json()
    assert (latest["version"], latest["size"], latest["metrics"]) == ("1.10", 4, {"rmse": 0.5})
    assert client.post("/api/models/grid/1.9/promote").status_code == 204
    told = client.get("/api/models/grid").json()
    assert told == {"versions": ["1.0", "1.9", "1.10"], "stages": {"production": "1.9"}}
    assert client.get("/api/models/grid/7").status_code == 404
    assert client.put("/api/models/grid/2", params={"metrics": "no"}, content=b"x").status_code == 422


def test_emission_factors_come_from_the_cache(client: httpx.Client) -> None:
    """A table, one region, and 404 for what is not there."""
    table = client.get("/api/emission-factors/sample")
    assert table.json()["FR"]["kg_co2e_per_kwh"] == 0.06
    assert table.headers["cache-control"] == "public, max-age=300"
    assert client.get("/api/emission-factors/sample/DE").json()["year"] == 2023
    for path in ("sample/XX", "unknown", "unknown/DE"):
        assert client.get(f"/api/emission-factors/{path}").status_code == 404


def test_the_page_is_safe_and_the_probes_answer(client: httpx.Client) -> None:
    """Only its own scripts and the store are allowed; nothing inline is served; metrics are there."""
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert " style=" not in page.text
    for name in ("page.js", "transfer.js", "api.js", "page.css"):
        assert client.get(f"/static/{name}").status_code == 200
    assert client.get("/health/ready").status_code == 200
    assert "greenlang_storage_up 1.0" in client.get("/metrics/").text
    assert client.get("/api/limits").json()["max_size"] == 1024**3
