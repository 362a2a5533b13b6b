"""The report of a CT phantom's state, worded as `templates.yaml` says."""

from functools import cache
from importlib import resources

import numpy as np
import yaml

from dataset_scripts.sources.phantoms.report_writer import Report, ReportWriter

from .catalog import ANATOMIES
from .state import PhantomCTState


@cache
def writer() -> ReportWriter:
    """The writer of this phantom's reports."""
    text = resources.files(__package__).joinpath("templates.yaml").read_text(encoding="utf-8")
    return ReportWriter(ANATOMIES, yaml.safe_load(text))


def write_report(state: PhantomCTState, rng: np.random.Generator) -> Report:
    """Writes the report of a state.

    Args:
        state: what the study shows.
        rng: chooses the wording, the order and what is left out.

    Returns:
        The report; every abnormal finding is in its findings section unless listed in `omitted`.
    """
    return writer().write(state.findings, rng)
