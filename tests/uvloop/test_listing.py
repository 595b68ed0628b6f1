"""`tests/test_listing.py` on uvloop."""

from tests.test_listing import *  # noqa: F403
