"""What a model in training finds on the validation split: how well it orders studies by what they affirm.

The figures are for eyes: they change neither weights nor the random numbers of the training. Images and
anatomies are few, and the same ones each time.
"""

import numpy as np
import torch

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.relevance_tables import WHOLE_REPORT
from modeling_radir import RadIRModel
from modeling_radir.inference import embed_all
from radir_training.batches import ImageReader
from radir_training.content_skill import ContentSkill
from radir_training.feature_geometry import feature_geometry

SPLIT = "validation"
MOST_ANATOMIES = 16  # those that most of the images' texts speak of
LEAST_IMAGES = 3  # of an anatomy, to order two others by each


class Validation:
    """A bounded draw from the validation split, and what features find on it.

    Args:
        data: the dataset, with relevance by content.
        processor: of the model.
        images: at most so many, drawn with the seed.
        seed: of the draw.

    Raises:
        ValueError: the dataset has no validation split, or is of a version without relevance by content.
    """

    def __init__(self, data: BuiltDataset, processor: object, images: int, seed: int) -> None:
        if SPLIT not in data.splits:
            raise ValueError(
                f"{data.name} has no validation split: build it with one, or set validate_every to 0"
            )
        self._read = ImageReader(data, processor.image_processor, data.image)  # type: ignore[attr-defined]
        self._engine, studies = data.engine_for("content"), data.studies(SPLIT)
        chosen = np.arange(len(studies))
        if len(chosen) > images:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, images, replace=False))
        self._studies = studies.select(chosen.tolist())
        names = [WHOLE_REPORT, *(anatomy["name"] for anatomy in data.anatomies())]
        table = self._engine.store.row_table(self._studies["study_id"][:], names)
        rows = dict(zip(names, table, strict=True))
        spoken = {name: int((at >= 0).sum()) for name, at in rows.items() if name != WHOLE_REPORT}
        known = sorted(
            (name for name in spoken if spoken[name] >= LEAST_IMAGES), key=lambda n: (-spoken[n], n)
        )
        self.anatomies = known[:MOST_ANATOMIES]
        self._rows = {name: rows[name] for name in (WHOLE_REPORT, *self.anatomies)}

    def figures(self, model: RadIRModel, stage: int) -> dict[str, float]:
        """What the features of a stage find: of whole images in stage 1, under anatomies in stage 2.

        Returns:
            content_skill, 0 by chance and 1 at best, NaN if no text affirms a finding; mean_cosine and
            effective_rank of the features, over anatomies their mean.
        """
        modes = {module: module.training for module in model.modules()}
        model.eval()
        try:
            features = self._features(model, conditional=stage == 2)
        finally:
            for module, training in modes.items():
                module.training = training
        skill, geometry = ContentSkill(), []
        for name, found in features.items():
            there = np.flatnonzero(self._rows[name] >= 0)
            if len(there) < LEAST_IMAGES:
                continue
            rows = self._rows[name][there]
            affirms = self._engine.formula.groups(rows) == 2
            skill.add(found[there].astype(np.float64), self._engine.block(rows, rows), affirms)
            geometry.append(feature_geometry(found[there]))
        return {
            "content_skill": skill.value,
            "mean_cosine": float(np.mean([one.mean_cosine for one in geometry]))
            if geometry
            else float("nan"),
            "effective_rank": float(np.mean([one.effective_rank for one in geometry])) if geometry else 0.0,
        }

    @torch.inference_mode()
    def _features(self, model: RadIRModel, conditional: bool) -> dict[str, np.ndarray]:
        """Condition -> (n, d) of the drawn images."""
        pixels = (self._read(row)[None] for row in self._studies)
        queries = None
        if conditional and self.anatomies:
            queries = model.encode_anatomies(*model.anatomy_tokens(self.anatomies))
        whole, fused = [], []
        for one, under in embed_all(model, pixels, queries):
            whole.append(one.numpy())
            if under is not None:
                fused.append(under.numpy())
        if not conditional:
            return {WHOLE_REPORT: np.concatenate(whole)}
        return dict(zip(self.anatomies, np.concatenate(fused).swapaxes(0, 1), strict=True)) if fused else {}
