"""Progress bars in a log file are few."""

import pytest

from dataset_scripts.plumbing.bars import EVERY_S, progress_bar


def test_a_bar_that_nobody_watches_prints_its_beginning_and_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar = progress_bar(range(10_000), desc="images")
    assert list(bar) == list(range(10_000))
    assert bar.mininterval == EVERY_S
    assert capsys.readouterr().err.count("images") <= 3


def test_a_bar_can_be_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_bar("ab", shown=False)) == ["a", "b"]
    assert not capsys.readouterr().err
