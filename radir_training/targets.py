"""What the images of a batch are compared with: their reports, and the relevance of these to each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import torch
from torch import Tensor

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.relevance_tables import WHOLE_REPORT
from dataset_scripts.relevance.engine.engine import RelevanceEngine


@dataclass
class Targets:
    """Text and relevance of the training images, by row."""

    texts: list[str]
    rows: dict[str, np.ndarray]  # anatomy -> store row of each image's study, -1 without findings there
    engine: RelevanceEngine

    @classmethod
    def of(
        cls, data: BuiltDataset, studies: datasets.Dataset, anatomies: Sequence[str], relevance: str = "paper"
    ) -> "Targets":
        """The targets of the images of a split, for the whole report and for these anatomies.

        Raises:
            ValueError: the dataset does not hold what a relevance of this name needs.
        """
        engine, ids = data.engine_for(relevance), studies["study_id"][:]
        engine.prepare()  # once, instead of in the first steps
        names = [WHOLE_REPORT, *anatomies]
        rows = dict(zip(names, engine.store.row_table(ids, names), strict=True))
        kept = {name: at for name, at in rows.items() if name == WHOLE_REPORT or (at >= 0).sum() > 1}
        return cls(studies["findings"][:], kept, engine)

    def require_anatomies(self, dataset: str) -> None:
        """Raise ValueError unless at least one anatomy has findings of two images to compare."""
        if set(self.rows) <= {WHOLE_REPORT}:
            raise ValueError(
                f"no anatomy has findings in two or more training images of {dataset}, so stage 2 has "
                "nothing to compare: give a larger dataset, or train with --stage 1"
            )

    def relevance(self, anatomy: str, batch: np.ndarray) -> Tensor:
        """T (eq. 6), or T_Q (eq. 9): (N, N) float32, NaN where a study has no findings for the anatomy."""
        rows = self.rows[anatomy][batch]
        return torch.from_numpy(self.engine.block(rows, rows))

    def sample_anatomies(self, count: int, seed: tuple[int, ...]) -> list[str]:
        """Distinct anatomies, each drawn with a probability proportional to log(number of its studies)."""
        names = [name for name in self.rows if name != WHOLE_REPORT]
        weights = np.log([(self.rows[name] >= 0).sum() for name in names])
        rng = np.random.default_rng(seed)
        return list(rng.choice(names, size=min(count, len(names)), replace=False, p=weights / weights.sum()))
