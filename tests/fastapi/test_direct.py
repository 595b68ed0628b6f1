"""Direct uploads: what a client sends straight to the store is signed, completed, validated and its own."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from greenlang_async_storage.fastapi import UploadRules, upload_router
from greenlang_async_storage.fastapi._handles import Signer, Ticket
from tests.support import servers

from .conftest import MAX_SIZE, SECRET, tenant

MIB = 1024 * 1024
DATA = random.Random(9).randbytes(12 * MIB + 5)
HEX = "0" * 64


def begin(client: httpx.Client, size: int, name: str = "a.csv", **extra: Any) -> dict[str, Any]:
    """A begun upload."""
    asked = {"filename": name, "size": size, "content_type": "text/csv", **extra}
    answer = client.post("/uploads", json=asked)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def post_form(begun: dict[str, Any], data: bytes) -> httpx.Response:
    """The signed form, sent as a browser does."""
    return httpx.post(begun["url"], data=begun["fields"], files={"file": data}, timeout=30)


def send_parts(client: httpx.Client, begun: dict[str, Any], data: bytes, *numbers: int) -> None:
    """The parts, each with the URL signed for it."""
    asked = {"upload": begun["upload"], "numbers": numbers or list(range(1, begun["parts"] + 1))}
    size = begun["part_size"]
    for number, url in client.post("/uploads/parts", json=asked).json()["urls"].items():
        offset = (int(number) - 1) * size
        assert httpx.put(url, content=data[offset : offset + size], timeout=30).status_code == 200


def call(client: httpx.Client, step: str, upload: str, **extra: Any) -> httpx.Response:
    """One step of an upload."""
    return client.post(f"/uploads/{step}", json={"upload": upload, **extra})


def test_a_small_file_goes_by_a_form(client: httpx.Client, observer: Any, bucket_name: str) -> None:
    """Begun, sent, confirmed with its checksum: it lies in the tenant's landing zone under its own name."""
    body = b"a,b\n1,2\n"
    begun = begin(client, len(body), "C:\\Daten\\Bericht ${filename} 東京.csv")
    assert (begun["method"], begun["fields"]["Content-Type"]) == ("post", "text/csv")
    early = call(client, "confirm", begun["upload"])
    assert (early.status_code, early.json()["code"]) == (409, "not-uploaded")
    assert post_form(begun, body).status_code in {200, 204}
    done = call(client, "confirm", begun["upload"], sha256=hashlib.sha256(body).hexdigest())
    assert done.status_code == 200, done.text
    told = done.json()
    assert (told["size"], told["content_type"], told["verified"]) == (len(body), "text/csv", True)
    assert told["filename"] == "Bericht ${filename} 東京.csv"
    found = observer.get_object(Bucket=bucket_name, Key=f"landing/acme/{told['key']}")
    assert (found["Body"].read(), found["ETag"]) == (body, f'"{told["etag"]}"')
    assert told["key"].endswith("/Bericht _{filename} 東京.csv")


def test_a_large_file_goes_in_parts_and_resumes(
    client: httpx.Client, observer: Any, bucket_name: str
) -> None:
    """Parts in any order, some sent later: the store tells which are there; the whole is verified."""
    begun = begin(client, len(DATA))
    assert (begun["method"], begun["part_size"], begun["parts"]) == ("multipart", 5 * MIB, 3)
    send_parts(client, begun, DATA, 3, 1)
    held = call(client, "held", begun["upload"]).json()["parts"]
    assert [part["number"] for part in held] == [1, 3]
    missing = call(client, "complete", begun["upload"])
    assert (missing.status_code, missing.json()["code"]) == (409, "parts-missing")
    send_parts(client, begun, DATA, 2)
    for _ in range(2):  # a lost reply is asked for again
        assert call(client, "complete", begun["upload"]).json() == {"size": len(DATA)}
    digests = [hashlib.sha256(DATA[at : at + 5 * MIB]).hexdigest() for at in range(0, len(DATA), 5 * MIB)]
    told = call(client, "confirm", begun["upload"], part_sha256=digests).json()
    assert (told["size"], told["verified"]) == (len(DATA), True)
    assert call(client, "confirm", begun["upload"]).json()["verified"] is False
    found = observer.get_object(Bucket=bucket_name, Key=f"landing/acme/{told['key']}")
    assert (found["Body"].read(), found["ContentType"]) == (DATA, "text/csv")


@pytest.mark.parametrize("size", [10, 6 * MIB])
def test_a_wrong_checksum_deletes_the_file(
    client: httpx.Client, observer: Any, bucket_name: str, size: int
) -> None:
    """422, and nothing stays for somebody to read."""
    begun = begin(client, size)
    if begun["method"] == "post":
        post_form(begun, DATA[:size])
    else:
        send_parts(client, begun, DATA[:size])
        call(client, "complete", begun["upload"])
    refused = call(client, "confirm", begun["upload"], sha256=HEX)
    assert (refused.status_code, refused.json()["code"]) == (422, "checksum")
    assert "Contents" not in observer.list_objects_v2(Bucket=bucket_name)


def test_the_store_refuses_what_was_not_announced(client: httpx.Client, server: Any, service: Any) -> None:
    """The form holds for one size and type only."""
    servers.require(server, "post-policy")
    begun = begin(client, 10)
    assert post_form(begun, b"x" * 11).status_code == 400
    assert post_form(begun, b"x" * 9).status_code == 400
    begun["fields"]["Content-Type"] = "text/html"
    assert post_form(begun, b"x" * 10).status_code == 403


def test_another_size_or_type_is_deleted_on_confirmation(
    client: httpx.Client, observer: Any, bucket_name: str
) -> None:
    """Also where the store let it pass."""
    for body, kind, code in ((b"123", "text/csv", "size"), (b"1234567890", "text/html", "type")):
        begun = begin(client, 10)
        observer.put_object(Bucket=bucket_name, Key=begun["fields"]["key"], Body=body, ContentType=kind)
        refused = call(client, "confirm", begun["upload"])
        assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert "Contents" not in observer.list_objects_v2(Bucket=bucket_name)


def test_parts_of_another_size_abort_the_upload(
    client: httpx.Client, observer: Any, bucket_name: str
) -> None:
    """A part that is larger than was announced ends it."""
    begun = begin(client, 6 * MIB)
    urls = call(client, "parts", begun["upload"], numbers=[1, 2]).json()["urls"]
    for url in urls.values():
        httpx.put(url, content=bytes(6 * MIB), timeout=30)
    refused = call(client, "complete", begun["upload"])
    assert (refused.status_code, refused.json()["code"]) == (422, "size")
    gone = call(client, "held", begun["upload"])
    assert (gone.status_code, gone.json()["code"]) == (410, "upload-gone")
    assert call(client, "complete", begun["upload"]).status_code == 410


def test_abort_leaves_nothing(client: httpx.Client, observer: Any, bucket_name: str) -> None:
    """Parts and objects are gone; aborting again is no error."""
    small, large = begin(client, 3), begin(client, 6 * MIB)
    post_form(small, b"abc")
    send_parts(client, large, DATA[: 6 * MIB], 1)
    for begun in (small, large, small, large):
        assert call(client, "abort", begun["upload"]).status_code == 204
    assert "Contents" not in observer.list_objects_v2(Bucket=bucket_name)
    assert call(client, "held", large["upload"]).status_code == 410


def test_s06_a_tenant_reaches_its_own_uploads_only(client: httpx.Client) -> None:
    """Another tenant's handle, a changed one and a made-up one are the same 403 at every step."""
    begun = begin(client, 6 * MIB)
    handle = begun["upload"]
    payload, _, mac = handle.partition(".")
    ticket = json.loads(base64.urlsafe_b64decode(payload + "=="))
    ticket["tenant"] = "other"
    ticket["key"] = ticket["key"].replace("landing/acme", "landing/other")
    changed = base64.urlsafe_b64encode(json.dumps(ticket).encode()).rstrip(b"=").decode()
    forged = Signer("x" * 32).seal(Ticket(**ticket))
    attempts = [
        ("other", handle), ("acm", handle), ("acme-2", handle), ("other", f"{changed}.{mac}"),
        ("acme", f"{payload}.{mac[:-2]}AA"), ("acme", payload), ("acme", "."), ("acme", "é.ü"),
        ("other", forged),
    ]  # fmt: skip
    for name, tried in attempts:
        for step in ("parts", "held", "complete", "confirm", "abort"):
            extra = {"numbers": [1]} if step == "parts" else {}
            answer = client.post(
                f"/uploads/{step}", json={"upload": tried, **extra}, headers={"X-Tenant": name}
            )
            assert (answer.status_code, answer.json()["code"]) == (403, "unknown-upload"), (name, step)
    assert call(client, "held", handle).json() == {"parts": []}, "and it still goes on"


def test_s06_a_tenant_s_name_cannot_leave_its_folder(client: httpx.Client) -> None:
    """Names that are no single safe segment are refused before anything is signed."""
    for name in ("", "..", "a/b", "a/../b", ".a", "a.", "a b", "a" * 65, "a%2fb"):
        answer = client.post("/uploads", json={"filename": "a", "size": 1}, headers={"X-Tenant": name})
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant"), name


def test_what_is_not_allowed_is_not_begun(client: httpx.Client, service: Any) -> None:
    """Too large, another type, no size, no name, an unknown member: refused, nothing is sent."""
    cases: list[tuple[dict[str, Any], int]] = [
        ({"size": MAX_SIZE + 1}, 413),
        ({"content_type": "text/html"}, 415),
        ({"size": 0}, 422),
        ({"size": -1}, 422),
        ({"filename": ""}, 422),
        ({"content_type": "no type"}, 422),
        ({"bucket": "other"}, 422),
    ]
    before = service.session.statistics().requests
    for change, status in cases:
        asked = {"filename": "a.csv", "size": 1, "content_type": "text/csv", **change}
        assert client.post("/uploads", json=asked).status_code == status, change
    assert service.session.statistics().requests == before


def test_parts_that_do_not_exist_are_not_signed(client: httpx.Client) -> None:
    """Beyond the last, below the first, and too many at once; a form has none."""
    begun = begin(client, 6 * MIB)
    for numbers in ([3], [0], [], list(range(1, 60))):
        assert call(client, "parts", begun["upload"], numbers=numbers).status_code == 422, numbers
    small = begin(client, 1)
    for step in ("held", "complete"):
        assert call(client, step, small["upload"]).json()["code"] == "no-parts"


def test_expired_uploads_end(client: httpx.Client, bucket_name: str) -> None:
    """410 once the handle's time is over."""
    old = Ticket("acme", bucket_name, "landing/acme/u/a.csv", "a.csv", 1, "text/csv", expires_at=1)
    answer = call(client, "confirm", Signer(SECRET).seal(old))
    assert (answer.status_code, answer.json()["code"]) == (410, "upload-expired")


def test_rules_and_secrets_are_checked_when_the_application_is_made() -> None:
    """A short secret and rules no store can keep are mistakes found at once."""
    with pytest.raises(ValueError, match=r"5 bytes.*token_hex"):
        upload_router(tenant=tenant, secret="short")
    mistakes: list[dict[str, Any]] = [{"part_size": MIB}, {"max_size": 0}, {"post_up_to": 6 * 1024 * MIB}]
    for wrong in mistakes:
        with pytest.raises(ValueError, match="not within"):
            UploadRules(**wrong)
    rules = UploadRules(max_size=5 * 1024 * 1024 * MIB)
    for size in (1, 16 * MIB * 10_000 + 1, rules.max_size):
        assert rules.part_size_for(size) * 10_000 >= size
    FastAPI().include_router(upload_router(tenant=tenant, secret=SECRET))
