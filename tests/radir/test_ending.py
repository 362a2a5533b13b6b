"""How commands end: one sentence, an exit code, no traceback; few bars in a log file."""

import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from safetensors import SafetensorError
from typer.testing import CliRunner

from radir import cli
from radir.commands.ending import TRACEBACK, end

ROOT = Path(__file__).resolve().parents[2]


def library_error(kind: str) -> Exception:
    """An error as the library raises it."""
    try:
        if kind == "pyarrow":
            pa.ipc.open_file(io.BytesIO(b"no Arrow file"))
        elif kind == "yaml":
            yaml.safe_load("[")
        elif kind == "zipfile":
            zipfile.ZipFile(io.BytesIO(b""))
        elif kind == "safetensors":
            raise SafetensorError("header too large")
        elif kind == "UTF-8":
            b"\xff".decode()
    except Exception as error:
        return error
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["pyarrow", "yaml", "zipfile", "safetensors", "UTF-8"])
def test_what_a_file_holds_ends_with_a_sentence_and_2_and_not_with_the_librarys_words_alone(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = library_error(kind)
    assert end(error) == 2
    said = capsys.readouterr().err
    assert said.startswith("radir: a file cannot be read")
    assert type(error).__name__ in said
    assert TRACEBACK in said


def test_a_fault_of_ours_ends_with_1_and_says_how_to_see_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert end(KeyError("heart")) == 1
    said = capsys.readouterr().err
    assert "likely a fault of RadIR (KeyError: 'heart')" in said
    assert "Traceback" not in said
    monkeypatch.setenv(TRACEBACK, "1")
    assert end(KeyError("heart")) == 1
    assert "KeyError" in capsys.readouterr().err


def test_bad_input_and_too_little_memory_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(ValueError("k is 0: give 1 or more")) == end(MemoryError()) == 2
    assert capsys.readouterr().err.splitlines() == [
        "radir: k is 0: give 1 or more",
        "radir: there is not enough memory for this (MemoryError)",
    ]


def test_a_training_that_a_signal_stopped_ends_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = KeyboardInterrupt("stopped by SIGTERM after step 4")
    stopped.code = 143  # type: ignore[attr-defined]
    assert end(stopped) == 143
    assert capsys.readouterr().err == "radir: stopped by SIGTERM after step 4\n"


def test_ctrl_c_in_a_command_ends_with_one_line_and_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dataset_scripts.building.build.build_dataset", interrupted)
    done = CliRunner().invoke(cli.app, ["build", "phantom-cxr", "--out", "nowhere"])
    assert done.exit_code == 130
    assert done.stderr.splitlines() == ["radir: stopped by Ctrl-C; the same command may be given again"]


_MANY = """
import os, signal, sys
from dataset_scripts.plumbing.processes import map_in_order
from radir.commands.ending import end
import time

def items():
    for number in range(4):
        yield 86400 * (number > 1)
    os.killpg(0, signal.SIGINT)  # as a terminal does: to all processes of the group
    yield 0

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        list(map_in_order(time.sleep, items(), 2))
    except KeyboardInterrupt as stopped:
        sys.stderr.write("code " + str(end(stopped)) + chr(10))
        sys.stderr.flush()
    os.killpg(0, signal.SIGKILL)
"""


def test_ctrl_c_ends_with_one_line_though_workers_get_it_too(tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text(_MANY)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "many.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stderr.splitlines() == [
        "radir: stopped by Ctrl-C; the same command may be given again",
        "code 130",
    ]


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import sys, typer\nfrom radir import cli\n"
        "@cli.app.command()\ndef long():\n for _ in range(100000): typer.echo('line')\n"
        "sys.argv = ['radir', 'long']; cli.main()"
    )
    done = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert done.stdout is not None
    assert done.stderr is not None
    assert done.stdout.readline() == "line\n"
    done.stdout.close()
    assert done.stderr.read() == ""
    assert done.wait() == 141


def test_bars_of_libraries_too_are_few_in_a_log_file() -> None:
    code = (
        "import radir.commands, time\nfrom tqdm.auto import tqdm\nfrom datasets.utils import tqdm as theirs\n"
        "for bar in (tqdm, theirs):\n for _ in bar(range(200000)): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    # at 0 and at the end; a machine that takes over 30 s for this prints more, and still few
    assert done.stderr.count("\r") < 10
