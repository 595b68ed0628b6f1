"""Arguments and options that several commands share, and what their text means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias, get_args

import typer

from greenlang_async_storage import EncryptionMode, WriteOptions

from ._errors import UsageError
from ._format import parse_size
from ._targets import PURPOSES

_WRITE: Final = "Options of what is written"


def complete_place(incomplete: str) -> list[str]:
    """Shell completion of the first word of a place; asks no network."""
    words = [*(f"{name}:" for name in PURPOSES), "s3://"]
    return [word for word in words if word.startswith(incomplete)]


PlaceArgument: TypeAlias = Annotated[
    str, typer.Argument(help="s3://bucket/key or data-lake:key.", autocompletion=complete_place)
]
Recursive: TypeAlias = Annotated[
    bool, typer.Option("--recursive", "-r", help="Folders, with everything below them.")
]
Literal: TypeAlias = Annotated[bool, typer.Option("--literal", help="Take * ? [ in keys as they are.")]
Concurrency: TypeAlias = Annotated[
    int | None,
    typer.Option("--concurrency", "-j", min=1, metavar="N", help="How many at once.", show_default=False),
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
VersionId: TypeAlias = Annotated[str | None, typer.Option(metavar="ID", help="That version of the object.")]
PartSize: TypeAlias = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Bytes per part, such as 16MiB; 5 MiB to 5 GiB.")
]
Resume: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="A journal to go on from when the command is run again; what is unfinished is then kept.",
    ),
]
Metadata: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata", "-m", metavar="K=V", help="User metadata; again for more.", rich_help_panel=_WRITE
    ),
]
Tags: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--tag", "-t", metavar="K=V", help="A tag; again for more.", rich_help_panel=_WRITE),
]
ContentType: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TYPE", help="Else by the extension.", rich_help_panel=_WRITE)
]
CacheControl: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Such as max-age=3600.", rich_help_panel=_WRITE)
]
StorageClass: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="Such as STANDARD_IA.", rich_help_panel=_WRITE)
]
EncryptionChoice: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--encryption",
        metavar="MODE",
        help="aws:kms, AES256 or none, instead of GREENLANG_STORAGE_ENCRYPTION.",
        rich_help_panel=_WRITE,
    ),
]
NoOverwrite: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--no-overwrite", help="Create only: exit code 5 where the key exists.", rich_help_panel=_WRITE
    ),
]
IfMatch: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="ETAG", help="Replace only the object with this ETag.", rich_help_panel=_WRITE),
]


def pairs(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    """`k=v` texts as a dictionary."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text!r} is no KEY=VALUE.")
        if name in found:
            raise UsageError(f"{option} names {name!r} twice.")
        found[name] = value
    return found


def part_bytes(text: str | None) -> int | None:
    """`--part-size` in bytes."""
    return None if text is None else parse_size(text, "--part-size")


def write_options(
    *,
    metadata: list[str] | None,
    tag: list[str] | None,
    content_type: str | None,
    cache_control: str | None,
    storage_class: str | None,
    encryption: str | None,
    no_overwrite: bool,
    if_match: str | None,
) -> WriteOptions:
    """The write options the command line gave; what it did not is left out."""
    options = WriteOptions()
    if found := pairs(metadata, "--metadata"):
        options["metadata"] = found
    if found := pairs(tag, "--tag"):
        options["tags"] = found
    if content_type is not None:
        options["content_type"] = content_type
    if cache_control is not None:
        options["cache_control"] = cache_control
    if storage_class is not None:
        options["storage_class"] = storage_class
    if encryption is not None:
        options["encryption"] = _mode(encryption)
    if no_overwrite:
        options["if_none_match"] = True
    if if_match is not None:
        options["if_match"] = if_match.strip('"')
    return options


def _mode(text: str) -> EncryptionMode:
    modes: tuple[EncryptionMode, ...] = get_args(EncryptionMode)
    for mode in modes:
        if text.strip().lower() == mode.lower():
            return mode
    raise UsageError(f"--encryption is {text!r}: use one of {', '.join(modes)}.")
