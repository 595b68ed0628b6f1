"""The program: every command under one name, with its help, version and completion."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from greenlang_async_storage import __version__

from . import _artifacts, _doctor, _listing, _presign, _reading, _remove, _sync, _transfer
from ._command import common_parameters, take_options, typed

NAME = "greenlang-storage"
_EPILOG = (
    "Places: s3://bucket/key, or data-lake:key, reports:key, models:key, temp:key, cache:key. "
    "Exit codes: 0 ok, 1 failure, 2 usage or settings, 3 not found, 4 access or credentials, "
    "5 precondition or conflict, 6 integrity, 7 timeout, connection or throttling, 130 Ctrl-C, "
    "141 closed pipe, 143 SIGTERM."
)

app = typer.Typer(
    name=NAME,
    help="Objects in S3 and compatible stores: copy, list, sync, sign and diagnose.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(value: bool) -> None:  # noqa: FBT001  # typer calls it so
    if value:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


def _root(context: typer.Context, **values: Any) -> None:  # noqa: ANN401  # typer's values
    values.pop("version")
    context.obj = take_options(values)


_keyword = inspect.Parameter.KEYWORD_ONLY
typed(
    _root,
    [
        inspect.Parameter("context", _keyword, annotation=typer.Context),
        inspect.Parameter(
            "version",
            _keyword,
            default=False,
            annotation=Annotated[
                bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
            ],
        ),
        *common_parameters(),
    ],
)
app.callback()(_root)
for _module in (_listing, _reading, _transfer, _remove, _presign, _sync, _artifacts, _doctor):
    _module.register(app)


def start() -> None:
    """Run the command the process was started with."""
    app(prog_name=NAME)
