"""`tests/test_uploads_cancel.py` on uvloop."""

from tests.test_uploads_cancel import *  # noqa: F403
