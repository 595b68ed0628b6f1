"""Metrics and spans: true, complete, without secrets, and absent unless asked for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer
from prometheus_client import CollectorRegistry, generate_latest

from greenlang_async_storage import Bucket, S3NotFoundError, Statistics, StorageSession, StorageSettings
from greenlang_async_storage.metrics import StorageCollector
from greenlang_async_storage.otel import traced

pytestmark = pytest.mark.asyncio


@pytest.fixture
def exported() -> InMemorySpanExporter:
    """Where finished spans go."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exported: InMemorySpanExporter) -> Tracer:
    """A tracer of the test's own: the global provider stays untouched."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider.get_tracer("tests")


def spans(exported: InMemorySpanExporter) -> list[ReadableSpan]:
    """Finished spans, oldest first."""
    return list(exported.get_finished_spans())


async def test_metrics_are_the_session_s_statistics(lake: Bucket, session: StorageSession) -> None:
    """Every field has its family and present value; labels are put on all."""
    registry = CollectorRegistry()
    registry.register(StorageCollector(session, labels={"store": "main"}))
    await lake.upload_bytes("key", b"12345")
    await lake.download_bytes("key")
    with pytest.raises(S3NotFoundError):
        await lake.head("missing")
    found = session.statistics()

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"greenlang_storage_{name}", {"store": "main"})

    gauges = {"in_flight", "pool_size", "pool_waiting", "cleanups_pending"}
    for field in fields(Statistics):
        name = field.name
        if name.startswith("bytes_"):
            name = f"{name.removeprefix('bytes_')}_bytes_total"
        elif name not in gauges:
            name = f"{name}_total"
        assert value(name) == getattr(found, field.name), field.name
    assert value("up") == 1
    assert (value("sent_bytes_total"), value("received_bytes_total"), value("errors_total")) == (5, 5, 1)


async def test_metrics_wait_for_the_session(settings: StorageSettings) -> None:
    """Before it opens only `up` is there, at 0; a function may give the session later."""
    session = StorageSession(settings)
    for source in (session, lambda: None):
        registry = CollectorRegistry()
        registry.register(StorageCollector(source))
        lines = [line for line in generate_latest(registry).decode().splitlines() if line[:1] != "#"]
        assert lines == ["greenlang_storage_up 0.0"]


async def test_each_call_is_one_span(lake: Bucket, tracer: Tracer, exported: InMemorySpanExporter) -> None:
    """Name, bucket, key and size; scoped views are traced, with the whole key."""
    watched = traced(lake, tracer=tracer)
    assert isinstance(watched, Bucket)
    await watched.upload_bytes("a", b"123")
    await watched.scoped("t1").upload_bytes("b", b"1234")
    assert await watched.download_bytes("t1/b") == b"1234"
    told = [(span.name, dict(span.attributes or {})) for span in spans(exported)]
    assert [name for name, _ in told] == [
        "greenlang_storage.upload_bytes",
        "greenlang_storage.upload_bytes",
        "greenlang_storage.download_bytes",
    ]
    for (_, attributes), key, size in zip(told, ("a", "t1/b", "t1/b"), (3, 4, 4), strict=True):
        assert attributes["aws.s3.bucket"] == lake.name
        assert (attributes["aws.s3.key"], attributes["greenlang_storage.bytes"]) == (key, size)


async def test_listings_and_open_downloads_span_their_block(
    lake: Bucket, tracer: Tracer, exported: InMemorySpanExporter
) -> None:
    """From the start to the end, also when it is left early; the span is not the caller's current one."""
    from opentelemetry import trace

    watched = traced(lake, tracer=tracer)
    for number in range(3):
        await lake.upload_bytes(f"p/{number}", b"12")
    assert [item.key async for item in watched.list_objects("p/")] == ["p/0", "p/1", "p/2"]
    async with watched.open_download("p/0") as body:
        assert spans(exported)[-1].name == "greenlang_storage.list_objects"
        assert not trace.get_current_span().get_span_context().is_valid
        assert await body.read() == b"12"
    listing, download = spans(exported)
    assert dict(listing.attributes or {})["greenlang_storage.items"] == 3
    assert download.name == "greenlang_storage.open_download"
    assert download.status.status_code is StatusCode.UNSET


async def test_failures_are_told_without_secrets(
    lake: Bucket, tracer: Tracer, exported: InMemorySpanExporter
) -> None:
    """Class, code, status and request id; a URL never."""
    watched = traced(lake, tracer=tracer)
    with pytest.raises(S3NotFoundError):
        await watched.download_bytes("missing")
    with pytest.raises(S3NotFoundError):
        async with watched.open_download("missing"):
            pytest.fail("opened what is not there")
    for span in spans(exported):
        attributes = dict(span.attributes or {})
        assert span.status.status_code is StatusCode.ERROR
        assert (attributes["error.type"], attributes["http.response.status_code"]) == ("S3NotFoundError", 404)
    await watched.presign_download("key")
    assert "X-Amz" not in spans(exported)[-1].to_json()


async def test_nothing_is_traced_or_loaded_unless_asked_for(
    lake: Bucket, tracer: Tracer, exported: InMemorySpanExporter
) -> None:
    """The wrapped bucket leaves the original alone, and the package imports neither library."""
    traced(lake, tracer=tracer)
    await lake.upload_bytes("a", b"1")
    assert spans(exported) == []
    assert type(lake) is Bucket
    check = "import sys, greenlang_async_storage; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"fastapi", "starlette", "prometheus_client", "opentelemetry"}


async def test_traced_twice_by_one_tracer_is_one_class(lake: Bucket, tracer: Tracer) -> None:
    """A handler may wrap per request: the class is made once."""
    assert type(traced(lake, tracer=tracer)) is type(traced(lake, tracer=tracer))
    assert type(traced(lake)) is type(traced(lake))
