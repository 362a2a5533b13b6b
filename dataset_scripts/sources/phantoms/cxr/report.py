"""The report of a state, worded as `templates.yaml` says."""

from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml

from dataset_scripts.sources.phantoms.report_writer import Report, ReportWriter

from .catalog import ANATOMIES
from .state import Finding, PhantomState

__all__ = ["Report", "key_words", "phrases", "write_report"]


@cache
def phrases() -> dict[str, Any]:
    """The wording, as in `templates.yaml`."""
    text = resources.files(__package__).joinpath("templates.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def key_words(finding: Finding) -> tuple[str, ...]:
    """Words of which at least one is in every sentence about an abnormal finding."""
    return ReportWriter(ANATOMIES, phrases()).key_words(finding)


def write_report(state: PhantomState, rng: np.random.Generator) -> Report:
    """Writes the report of a state.

    Args:
        state: what the study shows.
        rng: chooses the wording, the order and what is left out.

    Returns:
        The report; every abnormal finding is in its findings section unless listed in `omitted`.
    """
    return ReportWriter(ANATOMIES, phrases()).write(state.findings, rng)
