"""`tests/test_uploads.py` on uvloop."""

from tests.test_uploads import *  # noqa: F403
