"""`s3://bucket/key`, `data-lake:key` and local paths, told apart; globs over keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, get_args

from greenlang_async_storage import Bucket, Purpose, StorageSession

from ._errors import UsageError

PURPOSES: Final[dict[str, Purpose]] = {purpose.replace("_", "-"): purpose for purpose in get_args(Purpose)}
"""As the command line spells them: `data-lake`; `data_lake` is understood too."""
_WILD: Final = re.compile(r"[*?\[]")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9_+.-]+):(?!\\)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Remote:
    """A place in a store, as it was written; nothing was looked up yet."""

    text: str
    key: str
    bucket_name: str | None = None
    purpose: Purpose | None = None

    def bucket(self, session: StorageSession) -> Bucket:
        """The bucket; `StorageSettingsError` names the variable of a purpose that is not configured."""
        if self.bucket_name is not None:
            return session.bucket(self.bucket_name)
        assert self.purpose is not None  # noqa: S101  # a target has one or the other
        return session.bucket(session.settings.bucket(self.purpose))

    def with_key(self, key: str) -> Remote:
        """Another key of the same bucket."""
        return replace(self, text=self.text.removesuffix(self.key) + key, key=key)

    @property
    def is_glob(self) -> bool:
        """Whether the key has `*`, `?` or `[`."""
        return _WILD.search(self.key) is not None

    @property
    def is_folder(self) -> bool:
        """Whether it names a whole bucket or everything below a `/`."""
        return self.key == "" or self.key.endswith("/")

    @property
    def name(self) -> str:
        """What stands behind the last `/`."""
        return self.key.rpartition("/")[2]

    def require_key(self, what: str) -> str:
        """The key, where one object is meant."""
        if self.is_folder:
            raise UsageError(
                f"{self.text!r} names no object: give the key to {what}, such as s3://bucket/key."
            )
        return self.key


@dataclass(frozen=True, slots=True)
class Local:
    """A path here; `-` is standard input or output."""

    path: str

    @property
    def is_pipe(self) -> bool:
        """Whether it is standard input or output."""
        return self.path == "-"


Place: TypeAlias = Remote | Local


def place(text: str) -> Place:
    """What *text* names; anything with a scheme that is none of ours is refused, so a typo makes no file."""
    if text.startswith("s3://"):
        bucket, _, key = text.removeprefix("s3://").partition("/")
        return Remote(text, key, bucket_name=bucket)
    match = _SCHEME.fullmatch(text)
    if match is None or "/" in match[1]:
        return Local(text)
    purpose = PURPOSES.get(match[1].lower().replace("_", "-"))
    if purpose is None:
        raise UsageError(
            f"{text!r} begins with none of s3://, {', '.join(f'{name}:' for name in PURPOSES)}; "
            f"for a local file of that name write ./{text}"
        )
    return Remote(text, match[2], purpose=purpose)


def remote(text: str) -> Remote:
    """The same where only a place in a store makes sense."""
    found = place(text)
    if isinstance(found, Local):
        raise UsageError(
            f"{text!r} is no place in a store: write s3://bucket/key, or a purpose such as data-lake:key."
        )
    if found.bucket_name == "":
        raise UsageError(f"{text!r} names no bucket: write s3://bucket/key.")
    return found


def uri(bucket: Bucket, key: str) -> str:
    """How output names an object."""
    return f"s3://{bucket.name}/{bucket.prefix}{key}"


def glob_prefix(pattern: str) -> str:
    """What every key that matches *pattern* starts with."""
    match = _WILD.search(pattern)
    return pattern[: match.start()] if match else pattern


def folder_of(prefix: str) -> str:
    """*prefix* up to its last `/`, which is kept."""
    return prefix[: prefix.rfind("/") + 1]


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a key matches: `*` and `?` stay inside a folder, `**` crosses folders, `[a-c]` are sets."""
    try:
        compiled = re.compile(_regex(pattern), re.DOTALL)
    except re.error as error:
        raise UsageError(
            f"{pattern!r} is no pattern ({error}): correct its [...], or use --literal."
        ) from None
    return lambda key: compiled.fullmatch(key) is not None


def _regex(pattern: str) -> str:
    found: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            found.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            found.append(".*")
            at += 2
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inner = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            found.append(f"[^/{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]")
            at = end + 1
        else:
            found.append({"*": "[^/]*", "?": "[^/]"}.get(pattern[at], re.escape(pattern[at])))
            at += 1
    return "".join(found)
