"""One format of faults for the in-memory store and the proxy: written, read, drawn, shrunk, carried out."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, get_args

import pytest

from greenlang_async_storage import S3ConnectionError, S3Error, StorageSession, StorageSettings
from greenlang_async_storage.testing import Fault, FaultProxy, MemoryS3, Schedule, StorageServer, shrink
from greenlang_async_storage.testing._faults._schedule import ALLOWED, Action, Phase
from tests.support.faults import BUCKET, Lab, ServerChecker

pytestmark = pytest.mark.asyncio

ALL = [(phase, action) for phase in ALLOWED for action in sorted(ALLOWED[phase])]
DATA = b"0123456789" * 100


def fault(phase: Any, action: Any, operation: str = "GetObject", **more: Any) -> Fault:
    """A fault with what its action needs."""
    needs: dict[str, Any] = {"hook": {"hook": "note"}, "replace": {"status": 503, "code": "SlowDown"}}
    return Fault(operation, 1, phase, action, **{**needs.get(action, {}), **more})


async def test_schedules_survive_json() -> None:
    """What is printed with a failure can be run again."""
    written = Schedule(tuple(fault(phase, action, at=7, seconds=0.5) for phase, action in ALL), seed=12)
    assert Schedule.from_json(written.to_json()) == written
    assert Schedule.from_json('{"seed": 1, "entries": []}') == Schedule((), 1)


@pytest.mark.parametrize("text", ["{}", '{"seed": 1, "entries": [{"operation": "x"}]}', "[]"])
async def test_other_json_is_refused(text: str) -> None:
    """A ValueError says what was expected."""
    with pytest.raises(ValueError, match="no schedule"):
        Schedule.from_json(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"phase": "later"}, "is none of connect"),
        ({"action": "drip"}, "use close, delay"),
        ({"nth": -1}, "negative"),
        ({"hook": "note"}, "hook="),
        ({"action": "hook"}, "hook="),
    ],
)
async def test_impossible_faults_are_refused(arguments: dict[str, Any], message: str) -> None:
    """When they are written, not when they are due."""
    with pytest.raises(ValueError, match=message):
        Fault(**{"operation": "GetObject", "nth": 1, "phase": "connect", "action": "reset", **arguments})


async def test_a_seed_is_a_schedule() -> None:
    """The same seed draws the same faults; many seeds draw every phase and action asked for."""
    operations = ["PutObject", "GetObject"]
    drawn = [Schedule.random(seed, operations=operations) for seed in range(300)]
    assert drawn == [Schedule.random(seed, operations=operations) for seed in range(300)]
    entries = [entry for schedule in drawn for entry in schedule.entries]
    assert {entry.phase for entry in entries} == set(get_args(Phase))
    assert {entry.action for entry in entries} == {"reset", "close", "flip", "replace", "twice"}
    assert {entry.action for entry in entries} <= set(get_args(Action))


@pytest.mark.parametrize("guilty", [{3}, {0, 9}, {2, 3, 7}])
async def test_shrinking_keeps_what_matters(guilty: set[int]) -> None:
    """Of ten entries those remain without which the failure goes away."""
    entries = tuple(Fault("GetObject", nth, "connect", "reset") for nth in range(10))

    async def fails(schedule: Schedule) -> bool:
        return guilty <= {entry.nth for entry in schedule.entries}

    found = await shrink(Schedule(entries, seed=5), fails)
    assert ({entry.nth for entry in found.entries}, found.seed) == (guilty, 5)


@pytest.mark.parametrize(("phase", "action"), ALL)
async def test_every_fault_is_survived(lab: Lab, phase: Phase, action: Action) -> None:
    """Each phase and action happens to the first read, once, behind both doors; the read still succeeds."""
    lab.store.put(BUCKET, "key", DATA)
    noted: list[str] = []
    lab.faults.hooks["note"] = lambda: noted.append("called")
    planned = fault(phase, action, at=10, seconds=0.0001)
    lab.plan(planned)
    if action == "stall":
        with pytest.raises(S3Error):
            await lab.lake.download_bytes("key", timeout=0.2)
        assert lab.count("GetObject") >= 1
        return
    assert await lab.lake.download_bytes("key") == DATA
    assert noted == (["called"] if action == "hook" else [])
    assert planned in lab.faults.requests[0].faults
    disturbs = action in {"reset", "close", "replace"} and phase != "idle"
    disturbs = disturbs or (phase, action) == ("reply_body", "flip")
    assert lab.count("GetObject") == (2 if disturbs else 1)


@pytest.mark.parametrize("phase", ["unforwarded", "withheld"])
async def test_forwarded_or_not(lab: Lab, phase: Phase) -> None:
    """Before `withheld` the store knows nothing; from there on it did what was asked."""
    lab.plan(Fault("PutObject", 0, phase, "reset"))
    with pytest.raises(S3ConnectionError) as caught:
        await lab.lake.upload_bytes("key", DATA)
    assert caught.value.outcome == "unknown"
    assert lab.check.content("key") == (DATA if phase == "withheld" else None)


async def test_twice_is_twice(lab: Lab) -> None:
    """The store sees the request two times, the client one reply."""
    lab.store.create_bucket(BUCKET, versioning=True)
    lab.plan(Fault("PutObject", 1, "withheld", "twice"))
    await lab.lake.upload_bytes("key", DATA)
    assert (lab.check.versions("key"), lab.count("PutObject")) == (2, 1)


async def test_another_status_for_a_reply_without_a_body(lab: Lab) -> None:
    """A 204 made a 503 still says that it has no body; nobody waits for one."""
    lab.plan(Fault("DeleteObject", 1, "reply_head", "replace", status=503))
    async with asyncio.timeout(5):
        await lab.lake.delete("key")
    assert [request.status for request in lab.faults.requests] == [503, 204]


async def test_the_nth_of_its_operation(lab: Lab) -> None:
    """Operations are counted apart; 0 is every one, `*` is any."""
    lab.store.put(BUCKET, "key", DATA)
    lab.plan(Fault("HeadObject", 2, "unforwarded", "replace", status=503, code="SlowDown"))
    await lab.lake.exists("key")
    await lab.lake.download_bytes("key")
    await lab.lake.exists("key")
    assert [request.status for request in lab.faults.requests] == [200, 200, 503, 200]
    lab.plan(Fault("*", 0, "unforwarded", "replace", status=503, code="SlowDown"))
    with pytest.raises(S3Error):
        await lab.lake.exists("key")


async def test_reset_and_close_differ_on_the_wire() -> None:
    """RST is a ConnectionResetError for a plain socket, FIN an end of file."""
    async with FaultProxy(MemoryS3()) as proxy:
        port = int(proxy.url.rpartition(":")[2])
        for action, end in (("reset", "reset"), ("close", "end")):
            proxy.faults.plan(fault("request_head", action, "ListBuckets"))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            try:
                found = "end" if await reader.read() == b"" else "data"
            except ConnectionResetError:
                found = "reset"
            assert found == end
            writer.close()
            try:
                await writer.wait_closed()
            except ConnectionResetError:
                assert action == "reset"


async def test_a_proxy_before_a_server(server: StorageServer, bucket_name: str, observer: Any) -> None:
    """Signed requests pass unharmed; the reply of the second UploadPart is lost, and the upload is whole."""
    data = bytes(range(256)) * 45_000
    lost = Schedule.of(Fault("UploadPart", 2, "withheld", "reset"))
    async with FaultProxy(server, lost) as proxy:
        chosen: dict[str, Any] = {
            **server.settings_kwargs(),
            "endpoint_url": proxy.url,
            "data_lake_bucket": bucket_name,
        }
        async with StorageSession(StorageSettings(**chosen)) as session:

            async def chunks() -> Any:
                for start in range(0, len(data), 1 << 20):
                    yield data[start : start + (1 << 20)]

            await session.data_lake.upload_stream("key", chunks(), part_size=5 << 20)
            assert await session.data_lake.download_bytes("key") == data
        parts = [request for request in proxy.faults.requests if request.operation == "UploadPart"]
        assert [request.status for request in parts].count(None) == 1
        assert len(parts) == 4
    check = ServerChecker(observer, bucket_name, ("key",))
    assert (check.content("key"), check.open_uploads()) == (data, [])


async def test_wrong_targets_are_refused() -> None:
    """A proxy says what it can stand before."""
    for wrong in ("https://host:1", "http://host", "host"):
        with pytest.raises(ValueError, match="stands before"):
            FaultProxy(wrong)
    with pytest.raises(TypeError, match="stands before"):
        FaultProxy(socket)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="async with"):
        _ = FaultProxy(MemoryS3()).url
