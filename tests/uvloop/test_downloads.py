"""`tests/test_downloads.py` on uvloop."""

from tests.test_downloads import *  # noqa: F403
