"""A run that is asked to stop: it ends its step, a second signal does not wait, a lost launcher counts."""

import os
import signal
import subprocess
import sys
import time

import pytest

from radir_training.stopping import Interrupted, StopRequest, listening


@pytest.fixture
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_waits_until_the_step_is_over(no_launcher: None, number: int, code: int) -> None:
    before = signal.getsignal(number)
    with listening() as request:
        request.safe = True
        assert not request.number
        os.kill(os.getpid(), number)
        assert request.number == number
    assert signal.getsignal(number) == before
    assert Interrupted(number, "after step 3").code == code


def test_before_the_first_step_a_signal_stops_at_once(no_launcher: None) -> None:
    with pytest.raises(Interrupted, match="SIGTERM before the first step"), listening():
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_second_signal_does_not_wait(no_launcher: None) -> None:
    child = os.fork()
    if child == 0:
        with listening() as request:
            request.safe = True
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_signals_that_are_ignored_stay_so(no_launcher: None) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with listening() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not request.number
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("launched", [True, False])
def test_a_launcher_that_is_gone_counts_as_sigterm(
    no_launcher: None, monkeypatch: pytest.MonkeyPatch, launched: bool
) -> None:
    """Without a launcher a parent may go: a run that was started in the background outlives its shell."""
    if launched:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    ours, theirs = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        parent = os.getpid()
        if os.fork() == 0:
            request = StopRequest()
            os.write(theirs, bytes([request.number]))
            while os.getppid() == parent:
                time.sleep(0.001)
            os.write(theirs, bytes([request.number]))
            os._exit(0)
        while True:
            time.sleep(1)
    try:
        assert os.read(ours, 1) == b"\0"
    finally:
        os.kill(launcher, signal.SIGKILL)
        os.waitpid(launcher, 0)
    assert os.read(ours, 1) == bytes([signal.SIGTERM if launched else 0])


def test_workers_that_read_images_leave_signals_to_the_run() -> None:
    code = (
        "import os, signal\n"
        "from radir_training.stopping import leave_signals_to_the_parent as leave\n"
        "leave(0)\n"
        "os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGTERM); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n"
