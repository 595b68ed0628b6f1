"""`doctor`: what is configured, what works, and for what does not the cause and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from greenlang_async_storage import S3Error, StorageSession, StorageSettings, StorageSettingsError
from greenlang_async_storage.cli._command import Command, command
from greenlang_async_storage.cli._errors import ExitCode

from ._identity import SECTION as CREDENTIALS
from ._identity import report_credentials
from ._network import SECTION as NETWORK
from ._network import report_network
from ._report import Report
from ._settings import SECTION as SETTINGS
from ._settings import report_settings
from ._store import BUCKETS, CLOCK, FEATURES, report_buckets, report_clock, report_features, report_signature

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add `doctor`."""
    command(app, "doctor")(doctor)


async def doctor(
    run: Command,
    *,
    show_all: Annotated[bool, typer.Option("--all", help="Every setting, defaults too.")] = False,
    no_write: Annotated[
        bool, typer.Option("--no-write", help="Write no test objects; features are then not tried.")
    ] = False,
) -> ExitCode | None:
    """
    Check settings, credentials, network, buckets and the store, and say what to do.

    Small objects below greenlang-probe/ are written to one bucket (temp, else cache, data lake, reports,
    models) and removed again. Exit code 1 when anything failed. --json: one document: ok, failed, warnings
    and checks (section, name, status, detail, remedy).
    """
    report = Report()
    await _examine(run, report, everything=show_all or run.as_json, write=not no_write)
    report.lines.sort(key=lambda line: _ORDER.index(line.section))
    await run.document(report.document())
    for line in report.text():
        await run.text(line)
    return ExitCode.FAILURE if report.has_failed() else None


_PROBED = ("temp", "cache", "data_lake", "reports", "models")
_ORDER = (SETTINGS, NETWORK, CREDENTIALS, CLOCK, BUCKETS, FEATURES)


async def _examine(run: Command, report: Report, *, everything: bool, write: bool) -> None:
    try:
        settings = run.settings()
    except StorageSettingsError as error:
        for problem in error.problems:
            report.add(SETTINGS, "value", "failed", problem, "Correct or unset what the line names.")
        return
    given = {"endpoint_url": run.options.endpoint_url, "region": run.options.region}
    report_settings(report, settings, given, everything=everything)
    try:
        async with StorageSession(settings) as session:
            await _ask(report, session, settings, write=write)
    except StorageSettingsError as error:  # an endpoint of botocore's own that these settings refuse
        for problem in error.problems:
            report.add(SETTINGS, "value", "failed", problem, "Correct or unset what the line names.")
    except S3Error as error:
        report.add(CREDENTIALS, "source", "failed", error.message, error.remedy, code=error.code)


async def _ask(report: Report, session: StorageSession, settings: StorageSettings, *, write: bool) -> None:
    """Everything that needs the network; what cannot be known after a failure is not asked."""
    answer = await report_network(report, session.client.meta.endpoint_url, settings)
    key_id = await report_credentials(report, session)
    if not answer.reached:
        report.add(BUCKETS, "buckets", "skipped", "the store cannot be reached: see Network")
        return
    if key_id is None:
        report_clock(report, answer)
        report.add(BUCKETS, "buckets", "skipped", "there are no credentials to ask with: see Credentials")
        return
    if not await report_signature(report, session, key_id, answer):
        if not any(line.section == CLOCK for line in report.lines):
            report_clock(report, answer)
        report.add(BUCKETS, "buckets", "skipped", "the store does not take our requests: see above")
        return
    report_clock(report, answer)
    readiness = await report_buckets(report, session)
    working = {purpose: found.name for purpose, found in readiness.buckets.items() if found.ok}
    name = next((working[each] for each in _PROBED if each in working), None)
    if name is None:
        report.add(FEATURES, "features", "skipped", "no bucket to try them on")
    elif not write:
        report.add(FEATURES, "features", "skipped", "--no-write: nothing was tried")
    else:
        await report_features(report, session, name)
