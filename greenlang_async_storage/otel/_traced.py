"""A bucket whose public calls each make one span; the requests below are not repeated as spans."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from greenlang_async_storage import Bucket, S3Error, __version__

_NAME: Final = "greenlang_async_storage"
_KEYED: Final = ("key", "source", "prefix")
_PLAIN: Final = frozenset({"scoped"})


def traced(bucket: Bucket, *, tracer: Tracer | None = None) -> Bucket:
    """
    The same bucket, whose calls make one client span each, named `greenlang_storage.upload_file` and so on.

    Attributes: `rpc.system`, `rpc.method`, `aws.s3.bucket`, `aws.s3.key` (or the prefix) and, where the
    result tells, `greenlang_storage.bytes`. A failure is recorded with its class, S3 code, status, request
    id and attempts, never with URLs or secrets. Listings and open downloads have a span from their start to
    their end. Views of it by `scoped()` are traced too. *tracer* is the global provider's unless given.

    What the requests inside a call do (retries, parts) is not told apart; `session.statistics()` counts it.
    """
    found = tracer or _default_tracer()
    # One class per tracer, so that the views a bucket makes of itself are of that class too.
    base: Any = type(bucket)  # mypy takes no class for hashable
    kind = _traced_class(base, found)
    clone = copy.copy(bucket)
    clone.__class__ = kind
    return clone


@functools.cache
def _default_tracer() -> Tracer:
    """Made once: it finds the provider that is set later, and classes are kept by tracer."""
    return trace.get_tracer(_NAME, __version__)


@functools.lru_cache(maxsize=16)
def _traced_class(base: type[Bucket], tracer: Tracer) -> type[Bucket]:
    members: dict[str, object] = {"__slots__": (), "__doc__": base.__doc__, "__module__": base.__module__}
    for name, call in inspect.getmembers(base, inspect.isfunction):
        if name.startswith("_") or name in _PLAIN:
            continue
        members[name] = _wrapped(name, call, tracer)
    return type(base.__name__, (base,), members)


def _wrapped(name: str, call: Callable[..., Any], tracer: Tracer) -> Callable[..., Any]:
    first = next(iter([*inspect.signature(call).parameters][1:]), "")
    if inspect.iscoroutinefunction(call):
        return _coroutine(name, call, tracer, first)
    if name.startswith(("open_", "stream_")):
        return _context(name, call, tracer, first)
    return _iterator(name, call, tracer, first)


def _coroutine(
    name: str, call: Callable[..., Awaitable[Any]], tracer: Tracer, first: str
) -> Callable[..., Any]:
    @functools.wraps(call)
    async def traced_call(self: Bucket, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as the wrapped call
        attributes = _attributes(self, name, first, args, kwargs)
        with (
            tracer.start_as_current_span(
                _span_name(name),
                kind=SpanKind.CLIENT,
                attributes=attributes,
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            _failures(span),
        ):
            result = await call(self, *args, **kwargs)
            _measure(span, result)
            return result

    return traced_call


def _context(
    name: str, call: Callable[..., AbstractAsyncContextManager[Any]], tracer: Tracer, first: str
) -> Callable[..., Any]:
    @functools.wraps(call)
    def traced_call(
        self: Bucket,
        *args: Any,  # noqa: ANN401  # as the wrapped call
        **kwargs: Any,  # noqa: ANN401  # as the wrapped call
    ) -> AbstractAsyncContextManager[Any]:
        inner = call(self, *args, **kwargs)  # mistakes in the arguments are raised here, as without a span

        @asynccontextmanager
        async def block() -> AsyncIterator[Any]:
            with _span(tracer, _attributes(self, name, first, args, kwargs)):
                async with inner as entered:
                    yield entered

        return block()

    return traced_call


def _iterator(
    name: str, call: Callable[..., AsyncIterator[Any]], tracer: Tracer, first: str
) -> Callable[..., Any]:
    @functools.wraps(call)
    def traced_call(
        self: Bucket,
        *args: Any,  # noqa: ANN401  # as the wrapped call
        **kwargs: Any,  # noqa: ANN401  # as the wrapped call
    ) -> AsyncIterator[Any]:
        items = call(self, *args, **kwargs)

        async def walk() -> AsyncIterator[Any]:
            with _span(tracer, _attributes(self, name, first, args, kwargs)) as span:
                count = 0
                try:
                    async for item in items:
                        count += 1
                        yield item
                finally:
                    if isinstance(items, AsyncGenerator):
                        await items.aclose()
                    span.set_attribute("greenlang_storage.items", count)

        return walk()

    return traced_call


@contextmanager
def _span(tracer: Tracer, attributes: dict[str, str]) -> Iterator[Span]:
    """A span that is never the current one: its block may be left in another task than it was entered in."""
    span = tracer.start_span(
        _span_name(attributes["rpc.method"]), kind=SpanKind.CLIENT, attributes=attributes
    )
    try:
        with _failures(span):
            yield span
    finally:
        span.end()


@contextmanager
def _failures(span: Span) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        told = {
            "error.type": type(error).__name__,
            "aws.request_id": error.request_id,
            "greenlang_storage.code": error.code,
            "http.response.status_code": error.status,
            "greenlang_storage.attempts": error.attempts,
        }
        span.set_attributes({name: value for name, value in told.items() if value is not None})
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise
    except GeneratorExit:
        raise
    except BaseException as error:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise


def _span_name(name: str) -> str:
    return f"greenlang_storage.{name}"


def _attributes(
    bucket: Bucket, name: str, first: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, str]:
    attributes = {
        "rpc.system": "aws-api",
        "rpc.service": "S3",
        "rpc.method": name,
        "aws.s3.bucket": bucket.name,
    }
    if first in _KEYED:
        value = args[0] if args else kwargs.get(first, "")
        if isinstance(value, str) and bucket.prefix + value:
            attributes["aws.s3.key"] = bucket.prefix + value
    return attributes


def _measure(span: Span, result: object) -> None:
    if not span.is_recording():
        return
    size = (
        len(result) if isinstance(result, bytes) else getattr(result, "size", getattr(result, "bytes", None))
    )
    if isinstance(size, int):
        span.set_attribute("greenlang_storage.bytes", size)
