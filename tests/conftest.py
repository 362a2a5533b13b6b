"""Fixtures for every room: where the shared open data lies, and one small built dataset."""

import os
import signal
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
SHARED_DATA = Path(os.environ.get("RADIR_SHARED_DATA", BESIDE))


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that ask for `shared_data` bear the mark `shared`: `make test` runs them again with the data."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")


@pytest.fixture(scope="session", autouse=True)
def _interrupts_as_in_a_terminal() -> None:
    """A shell that starts the tests in the background has Ctrl-C ignored, which processes inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of open data for tests and measurements, which never enters the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the shared open data is not at {SHARED_DATA}: set RADIR_SHARED_DATA to its folder")
    return SHARED_DATA
