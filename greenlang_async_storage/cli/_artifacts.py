"""`models` and `factors`: the platform's artifacts from the shell."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greenlang_async_storage import Bucket, StorageSession

from ._command import Command, command
from ._errors import CommandError, ExitCode, UsageError
from ._format import parse_age, size_text, time_text
from ._streams import closing, stdin_pieces
from ._targets import remote

if TYPE_CHECKING:
    from greenlang_async_storage.artifacts import EmissionFactorCache, ModelManifest, ModelStore

_Bucket = Annotated[
    str | None,
    typer.Option("--bucket", metavar="PLACE", help="Instead of the configured bucket: s3://bucket or temp:."),
]
_Application = Annotated[
    str, typer.Option("--application", "-a", metavar="NAME", help="Whose models; the key's second part.")
]
_Name = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
_Version = Annotated[str, typer.Argument(help="A version, or latest.")]
_Stage = Annotated[
    str | None, typer.Option("--stage", metavar="NAME", help="The version this stage stands for.")
]
_Legacy = Annotated[
    bool, typer.Option("--legacy", help="Versions that older code wrote without a manifest, too.")
]
_Source = Annotated[str, typer.Argument(help="Source of the factors, such as defra.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add both groups."""
    models = typer.Typer(help="List, inspect, fetch and promote models.", no_args_is_help=True)
    command(models, "list")(models_list)
    command(models, "versions")(models_versions)
    command(models, "show")(models_show)
    command(models, "get")(models_get)
    command(models, "promote")(models_promote)
    app.add_typer(models, name="models")
    factors = typer.Typer(help="List, read and store emission factors.", no_args_is_help=True)
    command(factors, "list")(factors_list)
    command(factors, "get")(factors_get)
    command(factors, "put")(factors_put)
    app.add_typer(factors, name="factors")


def _bucket(session: StorageSession, given: str | None, configured: str) -> Bucket:
    if given is None:
        found: Bucket = getattr(session, configured)
        return found
    target = remote(given)
    if target.key:
        raise UsageError(f"--bucket is {given!r}: a bucket alone, keys follow from the names.")
    return target.bucket(session)


def _models(session: StorageSession, bucket: str | None, application: str) -> ModelStore:
    # Imported where it is used: every start of the program would pay for it.
    from greenlang_async_storage.artifacts import ModelStore

    return ModelStore(_bucket(session, bucket, "models"), application)


def _factors(
    session: StorageSession, bucket: str | None, ttl: timedelta = timedelta(hours=24)
) -> EmissionFactorCache:
    from greenlang_async_storage.artifacts import EmissionFactorCache

    return EmissionFactorCache(_bucket(session, bucket, "cache"), ttl)


async def models_list(
    run: Command, *, application: _Application = "common", bucket: _Bucket = None
) -> ExitCode | None:
    """
    List the models of an application, with their newest version and stages.

    --json: JSON lines, one per model (name, latest, versions, stages).
    """
    async with run.session() as session:
        store = _models(session, bucket, application)
        for name in await store.names():
            versions = await store.versions(name)
            stages = {each.stage: each.version for each in await store.stages(name)}
            latest = versions[-1] if versions else None
            shown = "  ".join(f"{stage}={version}" for stage, version in sorted(stages.items()))
            await run.text(f"{name:<30} {latest or '(none finished)':<16} {shown}".rstrip())
            await run.record({"name": name, "latest": latest, "versions": len(versions), "stages": stages})
    return None


async def models_versions(
    run: Command,
    *,
    name: _Name,
    application: _Application = "common",
    legacy: _Legacy = False,
    bucket: _Bucket = None,
) -> ExitCode | None:
    """
    List the finished versions of a model, the highest last.

    --json: JSON lines, one per version (version, stages). Exit code 3 when there is none.
    """
    async with run.session() as session:
        store = _models(session, bucket, application)
        versions = await store.versions(name, allow_legacy=legacy)
        stages = await store.stages(name)
    for version in versions:
        here = [each.stage for each in stages if each.version == version]
        await run.text(f"{version:<20} {' '.join(here)}".rstrip())
        await run.record({"version": version, "stages": here})
    if not versions:
        raise CommandError(
            f"model {name!r} of application {application!r} has no finished version: "
            "`models list` shows the models, --application another application.",
            ExitCode.NOT_FOUND,
        )
    return None


async def models_show(
    run: Command,
    *,
    name: _Name,
    version: _Version = "latest",
    stage: _Stage = None,
    application: _Application = "common",
    legacy: _Legacy = False,
    bucket: _Bucket = None,
) -> ExitCode | None:
    """
    Show what a version consists of, its metrics and its stages.

    --json: one document (manifest, key, metrics, stages).
    """
    async with run.session() as session:
        store = _models(session, bucket, application)
        found = await store.manifest(name, version, stage=stage, allow_legacy=legacy)
        metrics = await store.metrics(name, found.version, allow_legacy=legacy)
        stages = [each.stage for each in await store.stages(name) if each.version == found.version]
    await run.document({"manifest": found, "key": found.key, "metrics": metrics, "stages": stages})
    for title, value in _rows(found, stages):
        await run.text(f"{title:<14} {value}")
    for metric, number in sorted(metrics.items()):
        await run.text(f"{'metric':<14} {metric} = {json.dumps(number)}")
    return None


def _rows(found: ModelManifest, stages: list[str]) -> list[tuple[str, str]]:
    rows = [
        ("model", f"{found.application}/{found.name}"),
        ("version", found.version),
        ("stages", ", ".join(stages)),
        ("format", found.format),
        ("framework", found.framework),
        ("trained at", f"{time_text(found.trained_at)} UTC" if found.trained_at else ""),
        ("saved at", f"{time_text(found.saved_at)} UTC" if found.saved_at else ""),
        ("size", size_text(found.size)),
        ("sha256", found.sha256 or "none: written by older code, nothing proves it"),
        ("key", f"s3://{found.bucket}/{found.key}"),
    ]
    return [(title, value) for title, value in rows if value]


async def models_get(
    run: Command,
    *,
    name: _Name,
    path: Annotated[str, typer.Argument(help="The file to write, or a folder.", show_default=False)],
    version: Annotated[str, typer.Option("--version", metavar="V", help="A version.")] = "latest",
    stage: _Stage = None,
    application: _Application = "common",
    legacy: _Legacy = False,
    bucket: _Bucket = None,
) -> ExitCode | None:
    """
    Fetch a model's data as a file, checked against its manifest; nothing is loaded or run.

    --json: one document (path, manifest).
    """
    async with run.session() as session:
        store = _models(session, bucket, application)
        target = Path(path)
        if path.endswith("/") or await asyncio.to_thread(target.is_dir):
            found = await store.manifest(name, version, stage=stage, allow_legacy=legacy)
            target, version, stage = target / f"{name}-{found.version}.{found.format}", found.version, None
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        found = await store.download(name, target, version, stage=stage, allow_legacy=legacy)
    await run.document({"path": str(target), "manifest": found})
    await run.text(f"{found.name} {found.version} ({size_text(found.size)}) to {target}")
    return None


async def models_promote(
    run: Command,
    *,
    name: _Name,
    version: Annotated[str, typer.Argument(help="The version to promote.", show_default=False)],
    stage: Annotated[str, typer.Argument(help="Which stage stands for it from now on.")] = "production",
    expected: Annotated[
        str | None,
        typer.Option("--expected", metavar="V", help="Only where the stage stands for this version now."),
    ] = None,
    application: _Application = "common",
    bucket: _Bucket = None,
) -> ExitCode | None:
    """
    Let a stage stand for a version; exit code 5 when somebody else promoted meanwhile.

    To go back, promote the previous version. --json: one document (stage, version, previous, promoted_at).
    """
    async with run.session() as session:
        store = _models(session, bucket, application)
        found = await store.promote(name, version, stage, expected=expected)
    await run.document(found)
    before = f" (before: {found.previous})" if found.previous else ""
    await run.text(f"{found.stage} of {found.name} is {found.version}{before}")
    return None


async def factors_list(
    run: Command,
    *,
    source: Annotated[str | None, typer.Argument(help="One source only.", show_default=False)] = None,
    bucket: _Bucket = None,
) -> ExitCode | None:
    """
    List the sources and versions of emission factors, and until when each is fresh.

    --json: JSON lines, one per version (source, version, size, cached_at, expires_at, fresh).
    """
    async with run.session() as session:
        cache = _factors(session, bucket)
        for name in [source] if source else await cache.sources():
            for version in await cache.versions(name):
                found = await cache.info(name, version)
                if found is None:
                    continue
                state = "fresh until" if found.fresh else "stale since"
                await run.text(
                    f"{name:<20} {version:<18} {size_text(found.size):>10}  "
                    f"{state} {time_text(found.expires_at)}"
                )
                await run.record(found)
    return None


async def factors_get(
    run: Command,
    *,
    source: _Source,
    version: _Version = "latest",
    bucket: _Bucket = None,
) -> ExitCode | None:
    """
    Write a table of factors to standard output, as JSON.

    Exit code 3 when it is missing, stale or damaged.
    """
    async with run.session() as session:
        cache = _factors(session, bucket)
        found = await cache.get(source, version)
        about = await cache.info(source, version) if found is None else None
    if found is None:
        state = "is damaged" if about else "does not exist"
        if about is not None and not about.fresh:
            state = f"is stale since {time_text(about.expires_at)} UTC"
        raise CommandError(
            f"version {version!r} of source {source!r} {state}: `factors list` shows what there is.",
            ExitCode.NOT_FOUND,
        )
    text = json.dumps(found, indent=2, ensure_ascii=False)
    await run.out.line(text)
    return None


async def factors_put(
    run: Command,
    *,
    source: _Source,
    path: Annotated[str, typer.Argument(help="A JSON file (an object), or - for standard input.")],
    version: Annotated[
        str | None, typer.Option("--version", metavar="V", help="Else the present time in UTC.")
    ] = None,
    ttl: Annotated[str, typer.Option("--ttl", metavar="TIME", help="How long it stays fresh.")] = "24h",
    bucket: _Bucket = None,
) -> ExitCode | None:
    """
    Store a table of factors.

    --json: one document (source, version, key, cached_at, expires_at, size).
    """
    life = parse_age(ttl, "--ttl")
    try:
        factors = json.loads(await _content(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no JSON: {error}") from None
    if not isinstance(factors, dict):
        raise UsageError(f"{path} holds no JSON object: a table of factors is names and values.")
    async with run.session() as session:
        cache = _factors(session, bucket, life)
        stored = await cache.put(source, factors, version=version)
    await run.document(stored)
    await run.text(f"{source} {stored.version}: fresh until {time_text(stored.expires_at)} UTC")
    return None


async def _content(path: str) -> bytes:
    if path != "-":
        return await asyncio.to_thread(Path(path).read_bytes)
    if sys.stdin is not None and sys.stdin.isatty():
        sys.stderr.write("reading JSON from the terminal; end with Ctrl-D\n")
    async with closing(stdin_pieces()) as pieces:
        return b"".join([piece async for piece in pieces])
