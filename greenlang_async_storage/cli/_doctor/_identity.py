"""Who we are to the store: where the credentials come from, whether they can be had, how long they live."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import time
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from greenlang_async_storage import S3CredentialsError, S3Error, StorageSession
from greenlang_async_storage.cli._errors import text_of
from greenlang_async_storage.cli._format import seconds_text

from ._report import Report

SECTION: Final = "Credentials"
_PATIENCE: Final = 40.0
"""Seconds; a renewal has 30."""
_SOURCES: Final = {
    "env": "environment variables (AWS_ACCESS_KEY_ID)",
    "explicit": "given in code, or USE_LOCALSTACK",
    "shared-credentials-file": "the AWS credentials file",
    "config-file": "the AWS config file",
    "custom-process": "a credential_process of the AWS config file",
    "sso": "AWS SSO",
    "assume-role": "a role of the AWS config file",
    "assume-role-with-web-identity": "a web identity token (AWS_WEB_IDENTITY_TOKEN_FILE)",
    "container-role": "the container's role (ECS or EKS Pod Identity)",
    "iam-role": "the instance's role (EC2)",
}
NO_CREDENTIALS: Final = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or on EKS annotate the service account "
    "so that AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE are set."
)


async def report_credentials(report: Report, session: StorageSession) -> str | None:
    """A line for source, renewal and life; the access key id, or `None` where there are no credentials."""
    method = credentials_method(session)
    if method is None:
        report.add(SECTION, "source", "failed", "no credentials were found", NO_CREDENTIALS, method=None)
        return None
    source = _SOURCES.get(method, method)
    profile = os.environ.get("AWS_PROFILE")
    if profile and method != "env":
        source += f", profile {profile}"
    report.add(SECTION, "source", "ok", source, method=method)
    if method == "assume-role-with-web-identity" and not await _token_is_fresh(report):
        return None
    try:
        async with asyncio.timeout(_PATIENCE):
            # Signing asks the provider, and sends the store nothing.
            url = await session.bucket("greenlang-doctor").presign_download("credentials", expires_in=60)
    except (S3Error, TimeoutError) as error:
        _could_not(report, error)
        return None
    [scope] = parse_qs(urlsplit(url).query)["X-Amz-Credential"]
    key_id = scope.partition("/")[0]
    report.add(SECTION, "access key id", "ok", masked(key_id))
    return key_id


def credentials_method(session: StorageSession) -> str | None:
    """How botocore came by the credentials, in its own words."""
    signer = session.client._request_signer  # noqa: SLF001  # no public way to ask
    credentials = signer._credentials  # noqa: SLF001
    return None if credentials is None else str(getattr(credentials, "method", "unknown"))


def masked(key_id: str) -> str:
    """Enough of an access key id to tell it from another."""
    return f"{key_id[:4]}...{key_id[-4:]}" if len(key_id) >= 12 else f"{key_id[:2]}..."


def _could_not(report: Report, error: BaseException) -> None:
    if isinstance(error, TimeoutError):
        report.add(
            SECTION,
            "renewal",
            "failed",
            f"no credentials within {_PATIENCE:g} s",
            "Check that STS, or the metadata service, can be reached from here.",
        )
        return
    assert isinstance(error, S3Error)  # noqa: S101  # the caller caught these two
    remedy = error.remedy if isinstance(error, S3CredentialsError) else text_of(error)
    facts = [part for part in (error.code,) if part and part not in error.message]
    note = f" ({', '.join(facts)})" if facts else ""
    report.add(SECTION, "renewal", "failed", f"{error.message}{note}", remedy, code=error.code)


async def _token_is_fresh(report: Report) -> bool:
    """Look into the token file: an expired or missing token is the cause, whatever STS will call it."""
    path = os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE", "")
    if not path:
        return True  # named in the AWS config file
    try:
        token = (await asyncio.to_thread(Path(path).read_text, encoding="ascii")).strip()
    except (OSError, UnicodeDecodeError) as error:
        report.add(
            SECTION,
            "web identity token",
            "failed",
            f"{path} cannot be read ({error})",
            "Mount the service account's token there, or correct AWS_WEB_IDENTITY_TOKEN_FILE.",
        )
        return False
    ends = token_expiry(token)
    if ends is None:
        report.add(SECTION, "web identity token", "ok", f"{path}, without an expiry that can be read")
        return True
    left = ends - time.time()
    if left > 0:
        report.add(SECTION, "web identity token", "ok", f"{path}, expires in {seconds_text(left)}")
        return True
    report.add(
        SECTION,
        "web identity token",
        "failed",
        f"the token in {path} expired {seconds_text(-left)} ago",
        "Have it renewed: on EKS the kubelet does it for projected tokens, so check that the file is "
        "mounted, not copied, and that this machine's clock is right.",
    )
    return False


def token_expiry(token: str) -> float | None:
    """The `exp` claim of a JSON web token (RFC 7519), seconds since 1970; `None` where it cannot be read."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (IndexError, binascii.Error, ValueError, KeyError, TypeError):
        return None
