"""A real headless Chromium, and the example application on MinIO."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from examples.fastapi_app.__main__ import BUCKETS
from examples.fastapi_app.app import create_app
from greenlang_async_storage import StorageSettings
from greenlang_async_storage.testing import StorageServer
from tests.fastapi.serving import Service, serving
from tests.support import servers

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = (
    os.environ.get("GREENLANG_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
)


@pytest.fixture(scope="module")  # its event loop would be in the way of other modules' own
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Debian's Chromium, driven by Playwright's client; no browser is downloaded."""
    if CHROMIUM is None:
        servers.unavailable("Chromium was not found: run `make services`, or set GREENLANG_TEST_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        servers.unavailable("Playwright was not found: run `make venv`")
    profile = tmp_path_factory.mktemp("chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM,
            # Root has no sandbox, and containers have a small /dev/shm.
            args=["--no-sandbox", "--disable-dev-shm-usage"],
            env={**os.environ, "HOME": str(profile), "TMPDIR": str(profile)},
        )
        yield opened
        opened.close()


@pytest.fixture
def store(request: pytest.FixtureRequest) -> StorageServer:
    """MinIO; a test may ask for the other one."""
    found: StorageServer = request.getfixturevalue(getattr(request, "param", "minio_server"))
    return found


@pytest.fixture
def application(store: StorageServer) -> Iterator[Service]:
    """The example application, served, in buckets that are empty at the start."""
    settings = StorageSettings(**store.settings_kwargs(), **BUCKETS)
    observer = servers.observer_client(store)
    try:
        with serving(create_app(settings)) as service:
            yield service
    finally:
        for name in BUCKETS.values():
            servers.empty_and_remove(observer, name)
        observer.close()


@pytest.fixture
def page(browser: Browser, application: Service, tmp_path: Path) -> Iterator[Page]:
    """The upload page, opened; a script error, a refused policy or a failed look-up fails the test."""
    context = browser.new_context(viewport={"width": 900, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if "Content Security" in line.text else None)
    opened.goto(application.url)
    yield opened
    context.close()
    assert not faults, faults
