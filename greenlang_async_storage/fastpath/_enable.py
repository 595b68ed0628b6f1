"""The switch: puts the fast path in front of every S3 client a session makes from now on."""

from __future__ import annotations

import sys
import weakref

from greenlang_async_storage.fastpath._options import Options


class _Installer:
    """The handler of `creating-client-class.s3`: the mixin goes in front of the client's other bases."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def __call__(self, class_attributes: dict[str, object], base_classes: list[type], **_: object) -> None:
        from greenlang_async_storage.fastpath._mixin import FastPathMixin

        if not any(issubclass(base, FastPathMixin) for base in base_classes):
            base_classes.insert(0, FastPathMixin)
        class_attributes["_fastpath_options"] = self.options


_installers: weakref.WeakKeyDictionary[object, _Installer] = weakref.WeakKeyDictionary()


def enable(session: object, *, expect_continue_from: int | None = None) -> None:
    """
    Every S3 client made from *session* afterwards takes the fast path; clients made before stay as they are.

    *session* is an `aioboto3.Session` or a plain aiobotocore `AioSession`. Calling it again only changes the
    option. With *expect_continue_from* `Expect: 100-continue` is sent only with bodies of at least that many
    bytes; `None` keeps botocore's way, which is every PUT of bytes or a file.
    TypeError for any other session; ValueError for a negative size.
    """
    if expect_continue_from is not None and expect_continue_from < 0:
        raise ValueError(
            f"expect_continue_from={expect_continue_from} is negative: give a number of bytes, or None"
        )
    core = _core_session(session)
    options = Options(expect_continue_from=expect_continue_from)
    installer = _installers.get(core)
    if installer is not None:
        installer.options = options
        return
    installer = _installers[core] = _Installer(options)
    core.register("creating-client-class.s3", installer)  # type: ignore[attr-defined]


def is_enabled(client: object) -> bool:
    """Whether *client*, an S3 client, was made with the fast path in front of it."""
    return hasattr(type(client), "_fastpath_options")


def _core_session(session: object) -> object:
    # Whoever has a session has imported this module; importing it here would cost the others half a second.
    module = sys.modules.get("aiobotocore.session")
    for candidate in (session, getattr(session, "_session", None)):
        if module is not None and isinstance(candidate, module.AioSession):
            return candidate
    raise TypeError(
        f"enable() takes an aioboto3.Session or an aiobotocore AioSession, not {type(session).__name__}"
    )
