"""Any image encoder, made conditional: tokens once, heads in closed form, a RadIR model folder at the end."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.provenance import TRAINING, training_data
from dataset_scripts.building.relevance_tables import WHOLE_REPORT
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.plumbing.manifest import check_replaceable, write_manifest
from dataset_scripts.plumbing.outputs import claim
from dataset_scripts.relevance.engine.engine import RelevanceEngine
from modeling_radir import RadIRCTImageProcessor, RadIRModel, RadIRProcessor, RadIRVisionModel
from modeling_radir.checks import check_weights
from radir_training.adapt.basis import fit_basis
from radir_training.adapt.encoders import ImageEncoder, load_encoder
from radir_training.adapt.ridge import Head, NormalEquations
from radir_training.adapt.text_side import fit_projection, text_features, text_tower
from radir_training.adapt.token_cache import TokenCache
from radir_training.batches import ImageReader
from radir_training.content_skill import ContentSkill
from radir_training.finding_vectors import FindingVectors
from radir_training.run_folder import MODEL_KIND

logger = logging.getLogger(__name__)

RELEVANCE = "content"  # that the heads are taught, and chosen by
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_DEFAULT_PENALTY = 1.0  # without a validation split
LEAST_TEXTS = 30  # of a condition in the training split, for a head of its own
TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True)
class AdaptSettings:
    """What decides an adapted model beside its dataset.

    Attributes:
        encoder: a folder or Hub id of the image encoder.
        text: of a text tower; empty for embeddings of words alone.
        image_size: pixels, square; 0: what the encoder was trained on.
        levels: feature maps that the tokens are made of; empty: two, see `encoders.default_levels`.
        basis_size: P, numbers that an image is shortened to before the heads.
        head_size: length of the whole-image and of the conditional half of a feature.
        seed: of landmark texts, of the images of the basis, and of the embeddings of words.
    """

    encoder: str
    text: str = ""
    image_size: int = 0
    levels: tuple[int, ...] = ()
    basis_size: int = 1024
    head_size: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("basis_size", "head_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give a whole number above 0")
        for name in ("image_size", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give 0 or more")


@dataclass(frozen=True)
class Adapted:
    """What came of it.

    Attributes:
        folder: of the model.
        images: training images.
        conditions: anatomies with a head of their own; the others borrow that of what they are part of.
        penalty: of the ridge regression.
        skills: penalty -> content skill on the validation split; empty without one.
    """

    folder: Path
    images: int
    conditions: int
    penalty: float
    skills: dict[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Split:
    """The images of a split: their short form, and the store rows of their texts."""

    studies: datasets.Dataset
    x: np.ndarray  # (n, P) float32
    rows: dict[str, np.ndarray]  # condition -> (n,) int, -1 without a text


def adapt(
    settings: AdaptSettings,
    dataset: str | Path,
    out: Path,
    cache: Path | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> Adapted:
    """Make an image encoder conditional on anatomies, and write the model folder.

    Args:
        settings: the encoder, and how its heads are fitted.
        dataset: a built dataset, folder or Hub id, with a training split.
        out: the model folder to write, whole or not at all.
        cache: where the tokens are kept; they resume a killed run, and serve the next one. By default beside
            `out`, and removed at the end.
        batch_size: images at a time.
        progress: show progress bars.

    Raises:
        ValueError: the encoder, the text tower or the dataset cannot be used, or `out` holds other files.
    """
    data = BuiltDataset.open(dataset)
    if TRAIN not in data.splits:
        raise ValueError(f"{data.name} has no training split: build it with one")
    engine = data.engine_for(RELEVANCE)
    with claim(out) as place:
        _check_place(place, _recorded(settings, data))
        encoder = load_encoder(settings.encoder, settings.image_size or None, settings.levels or None)
        if isinstance(encoder.image_processor, RadIRCTImageProcessor) != data.holds_volumes:
            kinds = ("single images", "volumes")
            raise ValueError(
                f"{data.name} holds {kinds[data.holds_volumes]}, and {settings.encoder} takes "
                f"{kinds[not data.holds_volumes]}: give an encoder of such images"
            )
        own_cache = place.with_name(f".{place.name}.tokens")
        fitted = _Fit(settings, data, engine, encoder, cache or own_cache, batch_size, progress)
        found = fitted.run()
        with atomic_path(place) as fresh:
            fitted.save(fresh, found)
        if cache is None:
            _remove(own_cache)
    return Adapted(out, len(fitted.train.x), found.heads_of_own, found.penalty, found.skills)


@dataclass(frozen=True)
class _Found:
    """The fitted heads."""

    whole: Head
    heads: dict[str, Head]  # every condition -> its own, or the one that it borrows
    heads_of_own: int
    penalty: float
    skills: dict[float, float]


class _Fit:
    """One adaptation, step by step."""

    def __init__(
        self,
        settings: AdaptSettings,
        data: BuiltDataset,
        engine: RelevanceEngine,
        encoder: ImageEncoder,
        cache: Path,
        batch_size: int,
        progress: bool,
    ) -> None:
        self.settings, self.data, self.engine, self.encoder = settings, data, engine, encoder
        self.batch_size, self.progress = batch_size, progress
        self.anatomies = data.anatomies()
        # Sorted, as a saved configuration has them: so the heads stand in the order of the names there.
        self.names = sorted(anatomy["name"] for anatomy in self.anatomies)
        weights = {name: value.shape for name, value in encoder.vision.state_dict().items()}
        decides = {
            "weights": _digest(encoder.vision), "shapes": str(weights), "how": encoder.settings,
            "images": encoder.image_processor.to_dict(), "dataset": data.digest,
        }  # fmt: skip
        self.cache = TokenCache(cache, decides)

    def run(self) -> _Found:
        """Tokens, basis, heads."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.encoder.move_to(device)
        tokens = self._tokens(TRAIN)
        self.basis = fit_basis(
            tokens, self.encoder.vision.level_widths, self.settings.basis_size, self.settings.seed
        )
        self.train = self._split(TRAIN, tokens)
        self.validation = None
        if VALIDATION in self.data.splits:
            self.validation = self._split(VALIDATION, self._tokens(VALIDATION))
        self.encoder.move_to("cpu")
        return self._heads()

    def _split(self, name: str, tokens: np.ndarray) -> _Split:
        studies = self.data.studies(name)
        names = [WHOLE_REPORT, *self.names]
        rows = self.engine.store.row_table(studies["study_id"][:], names)
        return _Split(studies, self.basis.apply(tokens), dict(zip(names, rows, strict=True)))

    def _tokens(self, split: str) -> np.ndarray:
        """(n, N * C) float16 of the images of a split."""
        studies, vision = self.data.studies(split), self.encoder.vision
        read = ImageReader(self.data, self.encoder.image_processor, self.data.image)

        @torch.inference_mode()
        def batches(start: int) -> Iterator[np.ndarray]:
            starts = range(start, len(studies), self.batch_size)
            for first in progress_bar(starts, desc=f"{split}: tokens", unit="batch", shown=self.progress):
                rows = range(first, min(first + self.batch_size, len(studies)))
                pixels = torch.stack([read(studies[row]) for row in rows]).to(vision.device)
                yield vision(pixels, pool=False).tokens.flatten(1).float().cpu().numpy()

        with torch.inference_mode():
            one = vision(read(studies[0])[None].to(vision.device), pool=False).tokens  # (1, N, C)
        self.num_tokens = one.shape[1]
        return self.cache.fill(split, len(studies), one.shape[1] * one.shape[2], batches)

    def _vectors(self, rows: np.ndarray) -> FindingVectors:
        return FindingVectors.fit(self.engine, rows, self.settings.head_size, seed=self.settings.seed)

    def _heads(self) -> _Found:
        """Fit the heads at every penalty, and take the one of the highest content skill."""
        own = {name: rows for name, rows in self.train.rows.items() if (rows >= 0).sum() >= LEAST_TEXTS}
        if WHOLE_REPORT not in own:
            raise ValueError(
                f"{self.data.name} has fewer than {LEAST_TEXTS} training images with a report: give a larger "
                "dataset"
            )
        skills = {penalty: ContentSkill() for penalty in PENALTIES}
        fitted: dict[str, dict[float, Head]] = {}
        bar = progress_bar(
            own, desc="heads", unit="head", shown=self.progress
        )  # the whole report comes first
        for name in bar:
            there = np.flatnonzero(own[name] >= 0)
            targets = self._vectors(own[name]).transform(own[name][there])
            sums = NormalEquations.of(self.train.x, targets, there)
            fitted[name] = {penalty: sums.solve(penalty) for penalty in PENALTIES}
            if self.validation is not None and name != WHOLE_REPORT:
                for penalty, skill in skills.items():
                    self._judge(skill, name, fitted[WHOLE_REPORT][penalty], fitted[name][penalty])
        known = {penalty: skill.value for penalty, skill in skills.items() if skill.below > 0}
        penalty = max(known, key=lambda one: known[one]) if known else _DEFAULT_PENALTY
        for one, value in known.items():
            logger.info("penalty %g: content skill %.2f%% on the validation split", one, 100 * value)
        if not known:
            logger.warning("no validation text affirms a finding: penalty %g is taken unchosen", penalty)
        heads = {name: fitted[self._lender(name, fitted)][penalty] for name in self.names}
        return _Found(fitted[WHOLE_REPORT][penalty], heads, len(fitted) - 1, penalty, known)

    def _judge(self, skill: ContentSkill, name: str, whole: Head, own: Head) -> None:
        """Add the validation queries of one condition."""
        assert self.validation is not None
        rows = self.validation.rows[name]
        there = np.flatnonzero(rows >= 0)
        if len(there) < 2:
            return
        x = self.validation.x[there].astype(np.float64)
        features = np.concatenate((_unit(whole(x)), _unit(own(x))), axis=1)
        affirms = self.engine.formula.groups(rows[there]) == 2
        skill.add(features, self.engine.block(rows[there], rows[there]), affirms)

    def _lender(self, name: str, fitted: dict[str, Any]) -> str:
        """The condition whose head a condition has: its own, that of what it is part of, or the whole's."""
        parents = {anatomy["name"]: anatomy["parent"] for anatomy in self.anatomies}
        seen, around = set(), [name]
        while around:
            for one in around:
                if one in fitted:
                    return one
            seen.update(around)
            around = [parent for one in around for parent in parents.get(one, ()) if parent not in seen]
        return WHOLE_REPORT

    def _text_side(self) -> tuple[Any, Any, np.ndarray]:
        """Text tower, tokenizer, and the projection (d, Ct) of its features."""
        torch.manual_seed(self.settings.seed)
        texts = self.train.studies["findings"][:]
        tower, tokenizer, self.pooling = text_tower([*texts, *self.names], self.settings.text or None)
        vectors = self._vectors(self.train.rows[WHOLE_REPORT])

        def side(split: _Split) -> tuple[np.ndarray, np.ndarray]:
            there = np.flatnonzero(split.rows[WHOLE_REPORT] >= 0)
            said = split.studies["findings"][:]
            features = text_features(tower, tokenizer, self.pooling, [said[row] for row in there])
            return features, vectors.transform(split.rows[WHOLE_REPORT][there])

        features, targets = side(self.train)
        mean, held_out = targets.mean(axis=0), None
        if self.validation is not None and (self.validation.rows[WHOLE_REPORT] >= 0).any():
            x, z = side(self.validation)
            held_out = x, z - mean
        weight = fit_projection(features, targets - mean, held_out)
        projection = np.zeros((2 * self.settings.head_size, weight.shape[1]), dtype=np.float32)
        projection[: len(weight)] = weight
        return tower, tokenizer, projection

    @torch.no_grad()
    def save(self, folder: Path, found: _Found) -> None:
        """Write model, processor, training.json and manifest."""
        half, size = self.settings.head_size, len(self.basis.weight)
        tower, tokenizer, projection = self._text_side()
        fusion = {
            "kind": "linear", "hidden_size": 2 * half, "num_attention_heads": 1,
            "num_tokens": self.num_tokens, "basis_size": size, "num_conditions": len(self.names),
        }  # fmt: skip
        model = RadIRModel.from_encoders(
            self.encoder.vision.tower, tower, fusion_config=fusion, projection_dim=2 * half,
            text_pooling=self.pooling, **self.encoder.settings,
        )  # fmt: skip
        model.set_anatomies(self.names, tokenizer)
        fused = model.fusion_model
        _copy(fused.basis.weight, self.basis.weight)
        _copy(fused.basis.bias, self.basis.bias)
        _copy(fused.whole.weight, found.whole.weight)
        _copy(fused.whole.bias, found.whole.offset)
        for place, name in enumerate(self.names):
            _copy(fused.heads[place], found.heads[name].weight)
            _copy(fused.offsets[place], found.heads[name].offset)
        _copy(model.text_projection.weight, projection)
        _copy(fused.queries, model.encode_anatomies(*model.anatomy_tokens(self.names)).numpy())
        self._check_queries(fused)
        check_weights(model, f"the adaptation of {self.settings.encoder}")
        folder.mkdir()
        model.eval().save_pretrained(folder)
        RadIRProcessor(self.encoder.image_processor, tokenizer).save_pretrained(folder)
        parts = {"vision": self.settings.encoder} | (
            {"text": self.settings.text} if self.settings.text else {}
        )
        vision = {"pretrained": self.settings.encoder}
        about = {
            "settings": {
                "method": "adapt",
                "relevance": RELEVANCE,
                **asdict(self.settings),
                "vision": vision,
            },
            "data": training_data(self.data, parts),
            "history": [{"penalty": one, "content_skill": value} for one, value in found.skills.items()],
        }
        (folder / TRAINING).write_text(json.dumps(about, indent=1), encoding="utf-8")
        write_manifest(folder, MODEL_KIND)

    def _check_queries(self, fused: Any) -> None:
        """Raise ValueError unless each condition is told from every other by its name."""
        nearest = fused.nearest(fused.queries).tolist()
        for place, found in enumerate(nearest):
            if found != place:
                raise ValueError(
                    f"the text side does not tell {self.names[place]!r} from {self.names[found]!r}: give a "
                    "text tower with --text"
                )


def _recorded(settings: AdaptSettings, data: BuiltDataset) -> dict[str, Any]:
    """The `settings` of training.json: all that decides the model."""
    recorded = {"method": "adapt", "relevance": RELEVANCE, **asdict(settings)}
    recorded |= {"levels": list(settings.levels), "dataset": data.digest}
    return recorded | {"vision": {"pretrained": settings.encoder}}


def _check_place(folder: Path, settings: dict[str, Any]) -> None:
    """Raise ValueError for a folder that holds anything but a model of the same settings."""
    check_replaceable(folder, MODEL_KIND, "a model")
    path = folder / TRAINING
    if not path.is_file():
        return
    earlier = json.loads(path.read_text(encoding="utf-8")).get("settings") or {}
    changed = [name for name, value in settings.items() if earlier.get(name) != value]
    if changed:
        raise ValueError(
            f"{folder} holds a model of another {', '.join(changed)}: give another --out, or remove that "
            "folder"
        )


def _copy(parameter: torch.Tensor, values: np.ndarray) -> None:
    """Fill the first rows and columns; a head of fewer dimensions leaves the rest 0."""
    parameter.zero_()
    parameter[tuple(slice(length) for length in values.shape)] = torch.from_numpy(np.asarray(values)).float()


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _digest(vision: RadIRVisionModel) -> str:
    """SHA-256 of a tower's weights."""
    found = hashlib.sha256()
    for name, value in sorted(vision.state_dict().items()):
        found.update(name.encode())
        found.update(value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
