"""Fixtures for every room: where the shared open data lies, and one small built dataset."""

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(
    os.environ.get("RADIR_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of open data for tests and measurements, which never enters the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the shared open data is not at {SHARED_DATA}: set RADIR_SHARED_DATA to its folder")
    return SHARED_DATA
