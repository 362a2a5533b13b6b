"""A claim: one writer at a time, known from the start, and nothing stays behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_scripts.plumbing.outputs import claim

_HOLDER = """
import signal, sys
from pathlib import Path
from dataset_scripts.plumbing.outputs import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


def _holder(out: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(out)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_told_who_holds_the_output(tmp_path: Path) -> None:
    process = _holder(tmp_path / "out")
    try:
        message = rf"out is being written by process {process.pid} on .* since .*: wait"
        with pytest.raises(ValueError, match=message), claim(tmp_path / "out"):
            pytest.fail("two writers at once")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_lock_of_a_killed_writer_holds_nothing_and_goes(tmp_path: Path) -> None:
    process = _holder(tmp_path / "out")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (tmp_path / ".out.0123456789ab.partial").mkdir()
    with claim(tmp_path / "out") as out:
        out.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_stands_for_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "out")
    with claim(tmp_path / "link") as out:
        assert out == tmp_path / "disk" / "out"
        out.mkdir()
    assert (tmp_path / "link").is_dir()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no place that nobody can write")
@pytest.mark.parametrize("place", ["/proc/nobody/out", "/proc/out"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(place: str) -> None:
    with pytest.raises(ValueError, match="cannot be written"), claim(Path(place)):
        pytest.fail("the work began")


def test_a_claim_ends_with_its_block_even_when_that_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), claim(tmp_path / "out"):
        raise RuntimeError
    with claim(tmp_path / "out"):
        pass
    assert not list(tmp_path.iterdir())
