"""What a run tells is plain, finite and, in its history, the same each time."""

import math

import pytest
import torch
from accelerate import Accelerator

from radir_training.journal import Journal, plain_values


def test_settings_reach_the_tracker_as_plain_values() -> None:
    found = plain_values({"a": {"b": {"c": 1}, "d": "e"}, "list": [1.5, 2], "none": None, "yes": True})
    assert found == {"a.b.c": 1, "a.d": "e", "list": "[1.5, 2]", "none": "null", "yes": True}


def test_the_history_has_no_number_that_depends_on_the_clock() -> None:
    journal = Journal(Accelerator(cpu=True))
    journal.steps(1, 0, 2, images=8)
    losses = {"loss": torch.tensor(0.5), "conditional": torch.tensor(0.25)}
    journal.log(1, 1, losses, {"learning_rate": 0.1, "gradient_norm": torch.tensor(3.0)})
    assert journal.history == [{"stage": 1, "step": 1, "loss": 0.5, "conditional": 0.25}]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_with_a_sentence(value: float) -> None:
    journal = Journal(Accelerator(cpu=True))
    journal.steps(1, 0, 2, images=8)
    with pytest.raises(ValueError, match=r"became (nan|inf) at stage 1, step 0: lower the learning rate"):
        journal.log(1, 0, {"loss": torch.tensor(value)}, {})
    assert not journal.history


def test_images_a_second_are_those_since_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 15.0])
    monkeypatch.setattr("radir_training.journal.time.perf_counter", lambda: next(clock))
    journal = Journal(Accelerator(cpu=True))
    told: list[dict[str, float]] = []
    monkeypatch.setattr(journal._accelerator, "log", lambda values, step: told.append(values))
    monkeypatch.setattr("radir_training.journal.progress_bar", lambda *_, **__: Bar())
    journal.steps(1, 4, 20, images=8)
    for step in (4, 10):
        journal.log(1, step, {"loss": torch.tensor(1.0)}, {})
    assert [values["stage1/images_per_second"] for values in told] == [8 / 2, 6 * 8 / 3]


class Bar:
    def set_postfix(self, **_: object) -> None:
        """Shows nothing."""
