"""`presign get`, `presign put` and `presign post`: signed requests for people without credentials."""

from __future__ import annotations

import mimetypes
import shlex
from typing import Annotated

import typer

from ._arguments import PlaceArgument, VersionId
from ._command import Command, command
from ._errors import ExitCode
from ._format import parse_seconds, parse_size, time_text
from ._targets import remote

_Expires = Annotated[
    str, typer.Option("--expires-in", metavar="TIME", help="How long it works: 90s, 15m, 1h, 7d at most.")
]
_Type = Annotated[
    str | None, typer.Option("--content-type", metavar="TYPE", help="Else by the extension of the key.")
]


def register(app: typer.Typer) -> None:
    """Add the signing commands."""
    presign = typer.Typer(help="Sign a link for someone without credentials.", no_args_is_help=True)
    command(presign, "get")(presign_get)
    command(presign, "put")(presign_put)
    command(presign, "post")(presign_post)
    app.add_typer(presign, name="presign")


async def presign_get(
    run: Command,
    *,
    target: PlaceArgument,
    expires_in: _Expires = "1h",
    filename: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name a browser saves it under.")
    ] = None,
    version_id: VersionId = None,
) -> ExitCode | None:
    """
    A link that downloads an object.

    The object need not exist yet. --json: one document with url and expires_at.
    """
    wanted = remote(target)
    seconds = parse_seconds(expires_in, "--expires-in")
    async with run.session() as session:
        url = await wanted.bucket(session).presign_download(
            wanted.require_key("presign"), expires_in=seconds, filename=filename, version_id=version_id
        )
    await run.text(str(url))
    await run.document({"url": str(url), "expires_at": url.expires_at})
    await run.out.flush()
    run.note(f"works until {time_text(url.expires_at)} UTC")
    return None


async def presign_put(
    run: Command,
    *,
    target: PlaceArgument,
    expires_in: _Expires = "1h",
    content_type: _Type = None,
    content_length: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Exactly so many bytes; else any size.")
    ] = None,
) -> ExitCode | None:
    """
    A link that uploads an object with one PUT.

    The headers it names must be sent as they are; stderr shows the curl command. --json: one document with
    url, headers and expires_at.
    """
    wanted = remote(target)
    seconds = parse_seconds(expires_in, "--expires-in")
    length = None if content_length is None else parse_size(content_length, "--content-length")
    async with run.session() as session:
        signed = await wanted.bucket(session).presign_upload(
            wanted.require_key("presign"),
            content_type=content_type or _guess(wanted.key),
            content_length=length,
            expires_in=seconds,
        )
    await run.text(str(signed.url))
    await run.document(
        {"url": str(signed.url), "headers": dict(signed.headers), "expires_at": signed.expires_at}
    )
    headers = " ".join(
        f"-H {shlex.quote(f'{name}: {value}')}"
        for name, value in signed.headers.items()
        if name.lower() != "content-length"
    )
    await run.out.flush()
    run.note(f"works until {time_text(signed.expires_at)} UTC: curl -f -T FILE {headers} URL")
    return None


async def presign_post(
    run: Command,
    *,
    target: PlaceArgument,
    max_size: Annotated[str, typer.Option("--max-size", metavar="SIZE", help="The most it takes: 10MiB.")],
    min_size: Annotated[str, typer.Option("--min-size", metavar="SIZE")] = "1",
    expires_in: _Expires = "1h",
    content_type: _Type = None,
) -> ExitCode | None:
    """
    A form that uploads an object from a browser, limited in type and size.

    Prints a curl command that sends FILE; --json: one document with url, fields (in order; the file last) and
    expires_at.
    """
    wanted = remote(target)
    async with run.session() as session:
        form = await wanted.bucket(session).presign_post(
            wanted.require_key("presign"),
            content_type=content_type or _guess(wanted.key),
            max_size=parse_size(max_size, "--max-size"),
            min_size=parse_size(min_size, "--min-size"),
            expires_in=parse_seconds(expires_in, "--expires-in"),
        )
    fields = " ".join(f"-F {shlex.quote(f'{name}={value}')}" for name, value in form.fields.items())
    await run.text(f"curl -f {fields} -F file=@FILE {shlex.quote(form.url)}")
    await run.document({"url": form.url, "fields": dict(form.fields), "expires_at": form.expires_at})
    await run.out.flush()
    run.note(f"works until {time_text(form.expires_at)} UTC")
    return None


def _guess(key: str) -> str:
    return mimetypes.guess_type(key, strict=False)[0] or "application/octet-stream"
