"""
A pytest plugin: fixtures `storage_server`, `storage_session` and `faults`.

    @pytest.mark.asyncio
    async def test_reports_survive_a_lost_reply(storage_session, faults):
        faults.plan(Fault("PutObject", 1, "withheld", "reset"))
        await publish_report(storage_session)
        assert faults.count("PutObject") == 2

It is there as soon as the package is installed. Async fixtures run under pytest-asyncio, or under anyio's
plugin where pytest-asyncio is not installed.
"""

from greenlang_async_storage.testing._plugin import faults, pytest_addoption, storage_server, storage_session

__all__ = ["faults", "pytest_addoption", "storage_server", "storage_session"]
