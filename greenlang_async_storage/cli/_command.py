"""From a coroutine to a command: common options, a session, output, and errors as exit codes."""

from __future__ import annotations

import inspect
import json
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeAlias

import typer

from greenlang_async_storage import S3SessionClosedError, StorageSession, StorageSettings

from ._errors import ExitCode, exit_code, facts_of, text_of
from ._format import count_text, plain
from ._progress import Meter, NoMeter
from ._run import run
from ._streams import Output

P = ParamSpec("P")
Work: TypeAlias = Callable[Concatenate["Command", P], Awaitable[ExitCode | None]]

_PANEL: Final = "Common options"
_COMMON: Final[dict[str, object]] = {
    "as_json": Annotated[
        bool, typer.Option("--json", help="JSON for machines instead of text.", rich_help_panel=_PANEL)
    ],
    "quiet": Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no notes.", rich_help_panel=_PANEL)
    ],
    "debug": Annotated[
        bool, typer.Option("--debug", help="Log to stderr, and show tracebacks.", rich_help_panel=_PANEL)
    ],
    "endpoint_url": Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Instead of GREENLANG_STORAGE_ENDPOINT_URL.", rich_help_panel=_PANEL
        ),
    ],
    "region": Annotated[
        str | None, typer.Option(metavar="NAME", help="Instead of AWS_REGION.", rich_help_panel=_PANEL)
    ],
    "profile": Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A profile of the AWS files, instead of AWS_PROFILE and of keys in the environment.",
            rich_help_panel=_PANEL,
        ),
    ],
}


@dataclass(frozen=True, slots=True)
class Options:
    """The common options; they may stand before or behind the command."""

    as_json: bool = False
    quiet: bool = False
    debug: bool = False
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None

    def over(self, other: Options) -> Options:
        """These where given, else *other*'s."""
        return Options(
            **{item.name: getattr(self, item.name) or getattr(other, item.name) for item in fields(self)}
        )


class Command:
    """What a running command works with: its options, a session to open, and the three ways to speak."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.out = Output()
        self._meter: Meter | None = None
        self._session: StorageSession | None = None

    @property
    def as_json(self) -> bool:
        """Whether output is for a machine."""
        return self.options.as_json

    def settings(self, *, encryption: str | None = None) -> StorageSettings:
        """The environment's settings, with what the command line says instead."""
        given: dict[str, Any] = {
            "endpoint_url": self.options.endpoint_url,
            "region": self.options.region,
            "encryption": encryption,
        }
        return StorageSettings(**{name: value for name, value in given.items() if value is not None})

    def session(self, *, encryption: str | None = None) -> StorageSession:
        """A session to enter, as the command line and the environment say."""
        self._session = StorageSession(self.settings(encryption=encryption))
        return self._session

    def tell_orphans(self) -> None:
        """Say so when an upload may have been left open, and how to remove it."""
        orphans = 0
        if self._session is not None:
            with suppress(S3SessionClosedError):  # it was never open
                orphans = self._session.statistics().possible_orphans
        if orphans:
            self.note_always(
                f"{count_text(orphans, 'upload')} may have been left open, as the store confirmed no end. "
                "See `greenlang-storage stale-uploads list PLACE --older-than 0s`."
            )

    async def text(self, line: str) -> None:
        """A line of the result, for people only."""
        if not self.as_json:
            await self.out.line(line)

    async def record(self, value: object) -> None:
        """A line of the result, for machines only: one JSON value."""
        if self.as_json:
            await self.out.line(json.dumps(plain(value)))

    async def document(self, value: object) -> None:
        """The whole result, for machines only: one JSON document."""
        if self.as_json:
            await self.out.line(json.dumps(plain(value), indent=2))

    def note(self, text: str) -> None:
        """A remark on stderr, unless quiet."""
        if not self.options.quiet and not self.as_json:
            self._error_line(text)

    def note_always(self, text: str) -> None:
        """A remark on stderr, also when quiet."""
        self._error_line(text)

    def failed(self, error: BaseException) -> ExitCode:
        """Tell *error* on stderr; its exit code."""
        if self.options.debug:
            traceback.print_exception(error, file=sys.stderr)
        if self.as_json:
            self._error_line(json.dumps({"error": plain(facts_of(error))}))
        else:
            self._error_line(f"{_coloured('error:', '1;31')} {text_of(error)}")
        return exit_code(error)

    def meter(self, verb: str, *, total: int | None = None) -> Meter:
        """Progress on stderr: bytes, and items where counted; to be entered."""
        self._meter = NoMeter() if self.options.quiet or self.as_json else Meter(verb, total)
        return self._meter

    def _error_line(self, text: str) -> None:
        if self._meter is not None and self._meter.say(text):
            return
        try:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        except (OSError, AttributeError):  # stderr is closed, or was never there
            return


def _coloured(text: str, code: str) -> str:
    wanted = sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[{code}m{text}\x1b[0m" if wanted else text


def command(app: typer.Typer, name: str, **settings: Any) -> Callable[[Work[P]], Work[P]]:  # noqa: ANN401  # typer's own
    """Register a coroutine as *name*: its parameters become arguments and options, the common ones added."""

    def register(work: Work[P]) -> Work[P]:
        app.command(name, **settings)(_entry(work))
        return work

    return register


def common_parameters() -> list[inspect.Parameter]:
    """The common options as parameters of a typer callback."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(Options(), name),
            annotation=annotation,
        )
        for name, annotation in _COMMON.items()
    ]


def take_options(values: dict[str, Any]) -> Options:
    """The common options among a callback's values, which are taken out."""
    return Options(**{name: values.pop(name) for name in _COMMON})


def typed(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Let typer see *parameters* instead of the function's own."""
    keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    function.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]  # inspect reads it
    function.__annotations__ = {each.name: each.annotation for each in keywords}


def _entry(work: Work[P]) -> Callable[..., None]:
    own = list(inspect.signature(work, eval_str=True).parameters.values())[1:]

    def entry(context: typer.Context, **values: Any) -> None:  # noqa: ANN401  # typer's values
        root = context.find_root().obj
        options = take_options(values).over(root if isinstance(root, Options) else Options())
        _prepare(options)
        current = Command(options)

        async def main() -> int:
            return await _guarded(current, work(current, **values))  # type: ignore[call-arg]  # typer checked them

        raise typer.Exit(run(main, current.note))

    here = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    typed(entry, [here, *own, *common_parameters()])
    entry.__doc__ = work.__doc__
    entry.__name__ = getattr(work, "__name__", "command")
    return entry


async def _guarded(current: Command, work: Awaitable[ExitCode | None]) -> int:
    """The exit code of *work*; its failure is told, not raised."""
    try:
        code = await work
        await current.out.flush()
    except BrokenPipeError:
        return ExitCode.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  # the last handler: whatever it is becomes one line
        return current.failed(error)
    finally:
        current.tell_orphans()
        current.out.close()
    return ExitCode.OK if code is None else code


def _prepare(options: Options) -> None:
    if options.profile is not None:
        # botocore prefers keys in the environment to AWS_PROFILE; who names a profile here means it.
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)
        os.environ["AWS_PROFILE"] = options.profile
    if options.debug:
        logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
        logging.getLogger("greenlang_async_storage").setLevel(logging.DEBUG)
