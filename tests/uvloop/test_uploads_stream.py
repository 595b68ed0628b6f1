"""`tests/test_uploads_stream.py` on uvloop."""

from tests.test_uploads_stream import *  # noqa: F403
