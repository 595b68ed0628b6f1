"""What every artifact carries beside its bytes: metadata always, the mandatory tags where asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Self
from urllib.parse import quote, unquote

from greenlang_async_storage import S3AccessDeniedError, WriteOptions

SHARED: Final = "shared"
"""The tenant of artifacts that belong to none, such as models and emission factors."""

_BUCKET: Final = re.compile(
    r"greenlang-(?P<environment>dev|staging|prod)-[a-z0-9-]+?-"
    r"(?:data-lake|reports|models|audit-logs|temp|cache|static|backup)-"
    r"(?P<classification>public|internal|confidential)(?:-replica)?"
)
_OURS: Final = frozenset({"content-hash", "save-attempt"})
_SAFE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class ArtifactPolicy:
    """
    Metadata and tags of every object a store writes.

    `tags=True` adds the platform's five mandatory tags; the role then needs s3:PutObjectTagging. Environment
    and classification come from the name of the bucket where it follows the platform's convention
    (`greenlang-prod-eu-west-1-reports-confidential`), else they are `unspecified` and `confidential`.
    """

    tags: bool = False
    environment: str | None = None
    """Such as `prod`; `None` takes it from the bucket's name."""
    data_classification: str | None = None
    """Such as `internal`; `None` takes it from the bucket's name."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """More metadata for every object; printable ASCII, 2 KiB with that of the store."""

    def __post_init__(self) -> None:
        for name in self.metadata:
            if name.lower() in _OURS:
                raise ValueError(f"metadata {name!r} is the store's own: leave it out of the policy")

    def tagged(self, *, tags: bool) -> Self:
        """The same, with tags where *tags* asks for them."""
        return replace(self, tags=self.tags or tags)

    def mandatory_tags(
        self, bucket: str, *, application: str, created_at: datetime, tenant_id: str = SHARED
    ) -> dict[str, str]:
        """The five tags of an object in *bucket*, whether or not this policy writes them."""
        found = _BUCKET.fullmatch(bucket)
        environment = self.environment or (found["environment"] if found else "unspecified")
        classification = self.data_classification or (found["classification"] if found else "confidential")
        return {
            "greenlang:tenant-id": tenant_id,
            "greenlang:application": application,
            "greenlang:environment": environment,
            "greenlang:data-classification": classification,
            "greenlang:created-at": created_at.isoformat(),
        }

    def options(
        self,
        bucket: str,
        metadata: Mapping[str, str],
        *,
        application: str,
        created_at: datetime,
        tenant_id: str = SHARED,
    ) -> WriteOptions:
        """The write options of one object; *metadata* goes before this policy's own."""
        options: WriteOptions = {"metadata": {**self.metadata, **metadata}}
        if self.tags:
            options["tags"] = self.mandatory_tags(
                bucket, application=application, created_at=created_at, tenant_id=tenant_id
            )
        return options

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Say that tags need a permission of their own where a write that has them is refused."""
        try:
            yield
        except S3AccessDeniedError as error:
            if self.tags:
                error.add_note("this store writes tags: grant s3:PutObjectTagging, or leave tags=True out")
            raise


def as_header(text: str) -> str:
    """*text* of any script as metadata: unchanged where a header can carry it, else percent-encoded UTF-8."""
    return quote(text, safe=_SAFE) if text == text.strip(" ") else quote(text, safe="")


def from_header(text: str) -> str:
    """The inverse of `as_header`."""
    return unquote(text)
