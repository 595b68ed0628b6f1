"""`tests/test_download_file.py` on uvloop."""

from tests.test_download_file import *  # noqa: F403
