"""The upload page in a real browser, straight to MinIO."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from examples.fastapi_app.__main__ import BUCKETS
from greenlang_async_storage.testing import StorageServer
from tests.fastapi.serving import Service, until
from tests.support import servers

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.allow_open_sockets("the browser's own connection to this process stays for the run"),
]
MIB = 1024 * 1024
LAKE = BUCKETS["data_lake_bucket"]
WRITE_IMAGE = "GREENLANG_SCREENSHOT" in os.environ  # the tests run without it
IMAGE = Path(__file__).parents[2] / "docs" / "images" / "upload-page.png"


@pytest.fixture
def lake(store: StorageServer, application: Service) -> Iterator[Any]:
    """A plain client that sees what really lies in the store."""
    client = servers.observer_client(store)
    yield client
    client.close()


def make(folder: Path, name: str, size: int) -> Path:
    """A file of *size* random bytes."""
    path = folder / name
    with path.open("wb") as file:
        for offset in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - offset)))
    return path


def choose(page: Page, *paths: Path) -> None:
    """What a click on the drop zone does."""
    page.set_input_files("#chooser", [str(path) for path in paths])


def eventually(page: Page, true: Callable[[], bool]) -> None:
    """Return when *true* holds, while the browser works on."""

    def look() -> bool:
        page.wait_for_timeout(20)
        return true()

    until(look, patience=150)


def row(page: Page, name: str, state: str) -> Any:
    """The row of a file, once it is in *state*."""
    found = page.locator(f"#transfers .row[data-state={state}]", has_text=name).first
    found.wait_for()
    return found


def stored(lake: Any) -> dict[str, int]:
    """Sizes of the objects by file name."""
    found = lake.list_objects_v2(Bucket=LAKE).get("Contents", [])
    return {item["Key"].rpartition("/")[2]: item["Size"] for item in found}


def open_uploads(application: Service, page: Page) -> list[str]:
    """Handles the page keeps to resume."""
    return [str(json.loads(value)["upload"]) for value in page.evaluate("Object.values(localStorage)")]


def held(application: Service, handle: str) -> int:
    """Status of the look at an upload's parts: 200 while it is open, 410 when it is gone."""
    request = urllib.request.Request(
        f"{application.url}/api/uploads/held",
        json.dumps({"upload": handle}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_small_file_is_stored_listed_and_downloaded(page: Page, lake: Any, tmp_path: Path) -> None:
    """One form, checked by its hash; the list shows it, and its link gives the same bytes."""
    page.locator("#empty").wait_for()
    path = make(tmp_path, "Emissionen Zürich 2026.csv", 300_000)
    choose(page, path)
    assert "Stored" in row(page, path.name, "done").inner_text()
    assert stored(lake) == {path.name: 300_000}
    link = page.locator("#stored-rows a", has_text=path.name)
    link.wait_for()
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == path.name
    assert Path(download.value.path()).read_bytes() == path.read_bytes()


@pytest.mark.slow("200 MiB through a browser")
def test_a_large_file_goes_in_parallel_parts(page: Page, lake: Any, tmp_path: Path) -> None:
    """200 MiB, in parts, with progress that only grows; the stored bytes are the file's."""
    path = make(tmp_path, "big.csv", 200 * MIB)
    choose(page, path)
    progress = page.locator("#transfers progress")
    seen: list[float] = []

    def done() -> bool:
        state = page.locator("#transfers .row").get_attribute("data-state")
        if state == "sending":
            seen.append(float(progress.evaluate("node => node.value")))
        assert state != "failed", page.locator("#transfers .row").inner_text()
        page.wait_for_timeout(50)
        return state == "done"

    until(done, patience=200)
    assert seen == sorted(seen)
    assert len({round(value, 2) for value in seen}) > 3
    [item] = lake.list_objects_v2(Bucket=LAKE)["Contents"]
    body, digest = lake.get_object(Bucket=LAKE, Key=item["Key"])["Body"], hashlib.sha256()
    for piece in body.iter_chunks(MIB):
        digest.update(piece)
    with path.open("rb") as file:
        assert digest.digest() == hashlib.file_digest(file, "sha256").digest()


def slow_down(page: Page, store: StorageServer, after: int) -> list[Route]:
    """Let *after* parts reach the store and hold the others until they are continued."""
    kept: list[Route] = []
    counted = 0

    def decide(route: Route) -> None:
        nonlocal counted
        if route.request.method != "PUT":
            route.continue_()
            return
        counted += 1
        if counted <= after:
            route.continue_()
        else:
            kept.append(route)

    page.route(f"{store.endpoint_url}/**", decide)
    return kept


def test_cancel_leaves_nothing(
    page: Page, application: Service, store: StorageServer, tmp_path: Path
) -> None:
    """The button ends the upload in the store, too."""
    kept = slow_down(page, store, after=2)
    choose(page, make(tmp_path, "half.csv", 48 * MIB))
    eventually(page, lambda: len(kept) >= 2)
    [handle] = open_uploads(application, page)
    assert held(application, handle) == 200
    page.get_by_role("button", name="Cancel half.csv").click()
    assert "Cancelled" in row(page, "half.csv", "cancelled").inner_text()
    eventually(page, lambda: held(application, handle) == 410)
    assert open_uploads(application, page) == []
    page.unroute_all(behavior="ignoreErrors")


def test_too_big_wrong_type_and_empty_are_told(page: Page, lake: Any, tmp_path: Path) -> None:
    """Each file that is not taken says why, and nothing is sent."""
    page.locator("#limits", has_text="At most 1 GiB each").wait_for()
    big = tmp_path / "huge.csv"
    with big.open("wb") as file:
        file.truncate(1024 * MIB + 1)
    choose(page, big, make(tmp_path, "page.html", 10), make(tmp_path, "nothing.csv", 0))
    assert (
        "Too big: it has 1,073,741,825 bytes, at most 1,073,741,824 bytes"
        in row(page, "huge.csv", "failed").inner_text()
    )
    assert "Wrong type: files of the type text/html" in row(page, "page.html", "failed").inner_text()
    assert "The file is empty" in row(page, "nothing.csv", "failed").inner_text()
    assert stored(lake) == {}


def test_the_service_s_refusals_are_told_too(page: Page, tmp_path: Path) -> None:
    """Without the page's own look the service says the same, and the file can be tried again."""
    page.route("**/api/limits", lambda route: route.fulfill(status=500))
    page.reload()
    choose(page, make(tmp_path, "page.html", 10))
    assert "text/html are not taken" in row(page, "page.html", "failed").inner_text()
    assert page.get_by_role("button", name="Try again page.html").is_visible()


def test_an_upload_resumes_after_a_reload(
    page: Page, application: Service, lake: Any, store: StorageServer, tmp_path: Path
) -> None:
    """The page remembers it; the same file goes on, and parts the store has are not sent again."""
    path = make(tmp_path, "long.csv", 48 * MIB)
    kept = slow_down(page, store, after=3)
    choose(page, path)
    eventually(page, lambda: len(kept) >= 3)
    [handle] = open_uploads(application, page)
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()  # first: requests that are let go before it would still be sent
    page.locator("#unfinished-rows", has_text="long.csv").wait_for()
    page.unroute_all(behavior="ignoreErrors")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "PUT" else None)
    choose(page, path)
    row(page, "long.csv", "done")
    assert 1 <= len(sent) <= 3, "of six parts three were there"
    assert page.locator("#unfinished").is_hidden()
    assert stored(lake) == {"long.csv": 48 * MIB}
    assert held(application, handle) == 410


def test_an_unfinished_upload_can_be_discarded(
    page: Page, application: Service, store: StorageServer, tmp_path: Path
) -> None:
    """Its row goes, and so do the parts in the store."""
    kept = slow_down(page, store, after=1)
    choose(page, make(tmp_path, "gone.csv", 24 * MIB))
    eventually(page, lambda: len(kept) >= 2)
    [handle] = open_uploads(application, page)
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.get_by_role("button", name="Discard gone.csv").click()
    page.locator("#unfinished").wait_for(state="hidden")
    eventually(page, lambda: held(application, handle) == 410)
    page.unroute_all(behavior="ignoreErrors")


def test_failures_on_the_way_are_tried_again(
    page: Page, store: StorageServer, lake: Any, tmp_path: Path
) -> None:
    """A lost connection, a busy store and an expired permission each cost one more try, not the upload."""
    faults = ["abort", "503", "expired"]

    def fail(route: Route) -> None:
        fault = faults.pop() if faults and route.request.method == "PUT" else None
        allow = {"Access-Control-Allow-Origin": "*"}
        if fault == "abort":
            route.abort("connectionreset")
        elif fault == "503":
            route.fulfill(status=503, headers=allow, body="<Error><Code>SlowDown</Code></Error>")
        elif fault == "expired":
            route.fulfill(status=403, headers=allow, body="<Error><Code>AccessDenied</Code></Error>")
        else:
            route.continue_()

    page.route(f"{store.endpoint_url}/**", fail)
    choose(page, make(tmp_path, "rough.csv", 20 * MIB))
    row(page, "rough.csv", "done")
    assert not faults
    assert stored(lake) == {"rough.csv": 20 * MIB}
    page.unroute_all(behavior="ignoreErrors")


def test_an_upload_that_expired_says_so(page: Page, tmp_path: Path) -> None:
    """410 of the service is told in its words, and a new try begins a new upload."""
    detail = "This upload has expired. Start it again."
    problem = json.dumps({"status": 410, "code": "upload-expired", "detail": detail})
    page.route("**/uploads/confirm", lambda route: route.fulfill(status=410, body=problem))
    choose(page, make(tmp_path, "late.csv", 1000))
    assert detail in row(page, "late.csv", "failed").inner_text()
    page.unroute_all(behavior="ignoreErrors")
    page.get_by_role("button", name="Try again late.csv").click()
    row(page, "late.csv", "done")


def test_the_page_works_by_keyboard_and_on_a_phone(page: Page) -> None:
    """The chooser takes the focus and shows it; nothing is wider than a small screen."""
    page.set_viewport_size({"width": 320, "height": 640})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "chooser"
    assert page.locator("#drop").evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("store", ["moto_server"], indirect=True)
def test_the_embedded_server_takes_uploads_too(page: Page, lake: Any, tmp_path: Path) -> None:
    """The page works without MinIO, by a form and in parts."""
    choose(page, make(tmp_path, "small.csv", 1000), make(tmp_path, "large.csv", 20 * MIB))
    row(page, "small.csv", "done")
    row(page, "large.csv", "done")
    assert stored(lake) == {"small.csv": 1000, "large.csv": 20 * MIB}


def test_the_screenshot_shows_the_page(
    page: Page, store: StorageServer, application: Service, tmp_path: Path
) -> None:
    """Stored, on its way, refused: as the README shows it. GREENLANG_SCREENSHOT=1 writes it."""
    choose(
        page, make(tmp_path, "Emission factors 2026.csv", 1_240_000), make(tmp_path, "Report Q2.pdf", 480_000)
    )
    row(page, "Emission factors 2026.csv", "done")
    row(page, "Report Q2.pdf", "done")
    choose(page, make(tmp_path, "setup.exe", 2000))
    kept = slow_down(page, store, after=4)
    choose(page, make(tmp_path, "Supplier data 2025.csv", 72 * MIB))
    eventually(page, lambda: len(kept) >= 4)
    page.locator(".row[data-state=sending] .state", has_text="44 %").wait_for()
    shot = page.screenshot(full_page=True)
    assert shot.startswith(b"\x89PNG")
    if WRITE_IMAGE:
        IMAGE.parent.mkdir(exist_ok=True)
        IMAGE.write_bytes(shot)
    page.unroute_all(behavior="ignoreErrors")
