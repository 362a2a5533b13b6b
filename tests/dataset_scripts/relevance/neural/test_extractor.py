"""Promises of the ratescore scorer: the package's entities, embeddings and scores; bad input is refused."""

import csv
import itertools
import json
import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dataset_scripts.relevance.entities import ENTITY_TYPES, Entity
from dataset_scripts.relevance.neural.extractor import RateScoreExtractor
from dataset_scripts.relevance.neural.hub_models import ModelFiles, batches_by_length
from dataset_scripts.relevance.ratescore import (
    EntityEmbeddings,
    RateScoreWeights,
    rate_score,
    similarity,
)
from dataset_scripts.relevance.store.store import EntityStore
from tests.made_up.open_i import findings
from tests.made_up.rate_models import save_encoder, save_ner

pytest.importorskip("medspacy")

Models = dict[int, tuple[Path, Path]]  # seed -> NER and encoder

SEEDS = (0, 1, 2)
CONVENTIONS = [("long", None), ("short", None), ("long", 0.3612), ("short", 0.3612)]
TEXTS = [
    "The heart is normal in size. No pleural effusion or pneumothorax.",
    "Small left pleural effusion. The heart is enlarged.",
    "There is a large right upper lobe opacity; the spine is normal.",
    "The lungs are clear. The lungs are clear.",
]


def save_models(folder: Path, texts: list[str]) -> Models:
    """Tiny models that know the words of these texts, so that they see words and not letters."""
    words = sorted(set(re.findall(r"[A-Za-z]+", " ".join(texts))))
    return {
        seed: (
            save_ner(folder / f"ner{seed}", seed, words=words),
            save_encoder(folder / f"encoder{seed}", seed, words=words),
        )
        for seed in SEEDS
    }


def made_up_texts() -> list[str]:
    """Reports of our own: 41 different ones, an odd number."""
    return [*TEXTS[:3], *(findings(number) for number in range(1, 39))]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return save_models(tmp_path_factory.mktemp("models"), [*made_up_texts(), *TEXTS])


@pytest.fixture(scope="module")
def real_texts(shared_data: Path) -> list[str]:
    """Real reports: 40 of Open-i, the beginnings of 10 of CT."""
    with (shared_data / "open-i" / "indiana_reports.csv").open(encoding="utf-8") as file:
        open_i = [row["findings"] for row in itertools.islice(csv.DictReader(file), 60) if row["findings"]]
    with (shared_data / "ct-reports" / "reports.csv").open(encoding="utf-8") as file:
        ct = [row["findings"][:400] for row in itertools.islice(csv.DictReader(file), 10)]
    return [*open_i[:40], *ct]


@pytest.fixture(scope="module")
def real_models(real_texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Models:
    return save_models(tmp_path_factory.mktemp("real_models"), [*real_texts, *TEXTS])


@pytest.fixture(scope="module")
def scorer(models: Models) -> RateScoreExtractor:
    return RateScoreExtractor(*models[0], device="cpu")


def package_scorer(models: tuple[Path, Path], affinity: str = "long", batch_size: int = 1) -> Any:
    pytest.importorskip("loguru").logger.disable("PyRuSH")
    package = pytest.importorskip("RaTEScore")
    ner, encoder = map(str, models)
    return package.RaTEScore(ner, encoder, batch_size, use_gpu=False, affinity_matrix=affinity)


def sides(scorer: RateScoreExtractor, texts: list[str]) -> list[EntityEmbeddings]:
    found = scorer.extract(texts)
    return [
        EntityEmbeddings(
            scorer.embed([e.text for e in entities]),
            np.array([ENTITY_TYPES.index(e.type) for e in entities], dtype=int),
        )
        for entities in found
    ]


def pairs_of(reports: list[str]) -> tuple[list[str], list[str]]:
    """60 pairs of sentences, or as many as there are, and 5 of reports."""
    sentences = [sentence for text in reports[:-10] for sentence in text.split(". ")]
    even = len(sentences[:120]) // 2 * 2
    texts = [*sentences[:even], *reports[-10:]]
    return texts[::2], texts[1::2]


def has_ties(query: EntityEmbeddings, match: EntityEmbeddings) -> bool:
    """Whether two entities of different types are equally near to an entity of the query."""
    cosines = similarity(query.vectors, match.vectors)
    return any(len(set(match.types[row >= row.max() - 3e-6].tolist())) > 1 for row in cosines)


def package_formula(one: EntityEmbeddings, two: EntityEmbeddings, matrix: dict) -> float:
    """The package's arithmetic, its way with ties included, on our entities and embeddings."""
    compute = pytest.importorskip("RaTEScore.utils").compute
    (v, s), (w, t) = [
        (torch.from_numpy(side.vectors), [ENTITY_TYPES[k] for k in side.types]) for side in (one, two)
    ]
    there, back = compute(v, w, s, t, matrix), compute(w, v, t, s, matrix)
    return 2 * there * back / (there + back) if there + back else 0.0


def check_score(expected: float, one: EntityEmbeddings, two: EntityEmbeddings, package: Any) -> str:
    """Ours equals the package's; where entities tie, the package's own choice among them gives its score."""
    matrix = package.affinity_matrix
    weights = weights_of(matrix)
    if not len(one.types) or not len(two.types):
        assert rate_score(one, two, weights) == expected == 0.5
        return "empty"
    if not has_ties(one, two) and not has_ties(two, one):
        assert rate_score(one, two, weights) == pytest.approx(expected, abs=1e-5)
        return "equal"
    return "tie" if abs(package_formula(one, two, matrix) - expected) < 1e-5 else "tie, broken otherwise"


def weights_of(matrix: dict[tuple[str, str], float]) -> RateScoreWeights:
    """The matrix of a package object as ours."""
    rows = [[matrix[query, match] for match in ENTITY_TYPES] for query in ENTITY_TYPES]
    return RateScoreWeights(np.array(rows), matrix["NEG", "WEIGHT"])


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_scores_equal_the_package(models: Models, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_scores(models[seed], made_up_texts(), monkeypatch)


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_equal_the_package_on_real_texts(
    real_models: Models, real_texts: list[str], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_scores(real_models[seed], real_texts, monkeypatch)


def check_scores(models: tuple[Path, Path], texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of the texts score as with the package, under each convention."""
    candidates, references = pairs_of(texts)
    ours = RateScoreExtractor(*models, device="cpu")
    pairs = list(zip(sides(ours, candidates), sides(ours, references), strict=True))
    assert len({kind for pair in pairs for side in pair for kind in side.types.tolist()}) == 5
    package = package_scorer(models)
    module = sys.modules["RaTEScore.scorer"]
    run_ner, found = module.run_ner, dict[tuple[str, ...], Any]()

    def run_ner_once(texts: list[str], *rest: Any) -> Any:  # it is the same for each matrix
        if tuple(texts) not in found:
            found[tuple(texts)] = run_ner(texts, *rest)
        return found[tuple(texts)]

    monkeypatch.setattr(module, "run_ner", run_ner_once)
    outcomes: list[str] = []
    for affinity, neg_weight in CONVENTIONS:
        weights = RateScoreWeights.named(affinity, neg_weight)
        package.affinity_matrix = package_matrix(affinity, weights.neg_weight)
        assert (weights_of(package.affinity_matrix).affinity == weights.affinity).all()
        scores = package.compute_score(candidates, references)
        outcomes += [check_score(x, *pair, package) for x, pair in zip(scores, pairs, strict=True)]
    counts = Counter(outcomes)
    assert counts["equal"] >= 100, counts
    assert counts["tie, broken otherwise"] <= counts["tie"] // 10, counts


def package_matrix(affinity: str, neg_weight: float) -> dict[tuple[str, ...], float]:
    """The package's own matrix, with the factor of its version 0.5.0 or 0.6.0."""
    module = pytest.importorskip("RaTEScore.scorer")
    raw = module.DEFAULT_MATRIX_LONG if affinity == "long" else module.DEFAULT_MATRIX_SHORT
    return {tuple(k.upper().split("_")): v for k, v in raw.items()} | {("NEG", "WEIGHT"): neg_weight}


def test_the_untouched_package_is_the_convention_of_0_6_0(models: Models) -> None:
    for affinity in ("long", "short"):
        package = package_scorer(models[0], affinity)
        own = RateScoreWeights.named(affinity, None)
        assert package.affinity_matrix == package_matrix(affinity, own.neg_weight)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_entities_and_embeddings_equal_the_package(models: Models, batch_size: int) -> None:
    check_entities(models[1], made_up_texts()[::3], batch_size)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_entities_and_embeddings_equal_the_package_on_real_texts(
    real_models: Models, real_texts: list[str], batch_size: int
) -> None:
    check_entities(real_models[1], real_texts[::3], batch_size)


def check_entities(models: tuple[Path, Path], texts: list[str], batch_size: int) -> None:
    """Entities and embeddings are the package's, also of texts in other languages and of a long one."""
    score = pytest.importorskip("RaTEScore.score")
    texts += ["El corazón es normal. 心臓は正常です。", "The [SEP] lung is normal [CLS] and small."]
    texts += ["the heart is small and the lung " * 200]  # truncated at 512 tokens
    package = package_scorer(models, batch_size=batch_size)
    expected = score.run_ner(
        texts, package.idx2label, package.tokenizer, package.model, package.device, batch_size
    )
    ours = RateScoreExtractor(*models, device="cpu")
    found = ours.extract(texts)
    assert [[(e.text, e.type) for e in entities] for entities in found] == expected
    for pairs in expected[:8]:
        vectors, _ = score.process_embedding(
            pairs, package.eval_tokenizer, package.eval_model, package.device
        )
        normal = torch.nn.functional.normalize(vectors, dim=1) if len(pairs) else torch.zeros(0, 32)
        assert np.abs(ours.embed([text for text, _ in pairs]) - normal.numpy()).max(initial=0) < 1e-5


def test_a_text_without_sentences_scores_one_half_and_shifts_no_other(
    models: Models, scorer: RateScoreExtractor
) -> None:
    candidates = [TEXTS[0], "..", TEXTS[1], TEXTS[2]]
    references = [TEXTS[1], TEXTS[0], TEXTS[2], TEXTS[3]]
    pairs = list(zip(sides(scorer, candidates), sides(scorer, references), strict=True))
    assert rate_score(*pairs[1], RateScoreWeights.named()) == 0.5
    package = package_scorer(models[0])
    kept = [0, 2, 3]
    alone = package.compute_score([candidates[i] for i in kept], [references[i] for i in kept])
    for i, expected in zip(kept, alone, strict=True):
        assert check_score(expected, *pairs[i], package) in ("equal", "tie")
    shifted = package.compute_score(candidates, references)  # the bug that is not reproduced
    assert len(shifted) == 3
    assert shifted[1] != pytest.approx(alone[1], abs=1e-5)


def test_equal_texts_and_sentences_are_worked_on_once(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = RateScoreExtractor(*models[0], device="cpu")
    seen: list[str] = []
    recognise = scorer.recognise
    monkeypatch.setattr(scorer, "recognise", lambda pieces: seen.extend(pieces) or recognise(pieces))
    found = scorer.extract([TEXTS[3], TEXTS[0], TEXTS[3], "No pleural effusion or pneumothorax."])
    assert len(seen) == len(set(seen)) == 3
    assert found[0] == found[2]
    assert found[0][: len(found[0]) // 2] * 2 == found[0]  # a repeated sentence's entities are repeated


@pytest.mark.parametrize("batch_size", [1, 3, 500])
def test_results_do_not_depend_on_the_batch(
    models: Models, scorer: RateScoreExtractor, batch_size: int
) -> None:
    other = RateScoreExtractor(*models[0], device="cpu", batch_size=batch_size)
    assert other.extract(TEXTS) == scorer.extract(TEXTS)
    words = ["lung", "the heart is enlarged", "small left pleural effusion", "lung", ""]
    assert np.abs(other.embed(words) - scorer.embed(words)).max() < 1e-6


def test_batches_are_sorted_by_length_and_bounded() -> None:
    lengths = [3, 70, 5, 5, 200, 1]
    batches = list(batches_by_length(lengths, 64))
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert [batch for batch in batches if len(batch) > 1] == [[2, 3, 0, 5]]


def test_embeddings_are_normalised_float32_and_in_order(scorer: RateScoreExtractor) -> None:
    vectors = scorer.embed(["lung", "heart", "lung"])
    assert (vectors.shape, vectors.dtype) == ((3, 32), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors[0] == vectors[2]).all()
    assert not np.allclose(vectors[0], vectors[1])
    assert scorer.embed([]).shape == (0, 32)


def test_empty_long_and_foreign_texts_work(scorer: RateScoreExtractor) -> None:
    long = "The heart is normal in size. No pleural effusion. " * 1112  # 10,000 words
    found = scorer.extract(["", "  ", "a", long, "心臓は正常です。", "Сердце не увеличено."])
    assert found[:3] == [[], [], []]
    assert len(found[3]) == 1112 * len(scorer.extract([long[:50]])[0]) > 0
    assert scorer.extract([]) == []


def test_a_store_builds_with_it_and_refuses_another_model(
    models: Models, scorer: RateScoreExtractor, tmp_path: Path
) -> None:
    EntityStore.build([(str(i), "", text) for i, text in enumerate(TEXTS)], scorer).save(tmp_path / "store")
    again = RateScoreExtractor(*models[0], device="cpu")
    assert EntityStore.load(tmp_path / "store", again).scorer["parameters"] == scorer.parameters
    other = RateScoreExtractor(models[0][0], models[1][1], device="cpu")
    with pytest.raises(ValueError, match="scorer"):
        EntityStore.load(tmp_path / "store", other)


def test_parameters_tell_models_apart_but_not_their_folders(
    models: Models, scorer: RateScoreExtractor, tmp_path: Path
) -> None:
    copy = shutil.copytree(models[0][0], tmp_path / "copy")
    assert RateScoreExtractor(copy, models[0][1], device="cpu").parameters == scorer.parameters
    assert RateScoreExtractor(*models[1], device="cpu").parameters != scorer.parameters
    assert str(tmp_path) not in json.dumps(scorer.parameters)


def test_a_ner_with_other_labels_is_refused_by_name(models: Models, tmp_path: Path) -> None:
    ner = save_ner(tmp_path / "ner", 0, labels=("O", "B-PER", "I-PER"))
    with pytest.raises(ValueError, match=r"B-PER, I-PER.*B-ABNORMALITY"):
        RateScoreExtractor(ner, models[0][1], device="cpu")


def broken(folder: Path, name: str) -> Path:
    """Put NaN into the weights that hold ``name``."""
    weights = load_file(folder / "model.safetensors")
    hit = [key for key in weights if name in key]
    assert hit
    weights |= {key: torch.full_like(weights[key], float("nan")) for key in hit}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_nan_is_refused(models: Models, tmp_path: Path) -> None:
    encoder = broken(save_encoder(tmp_path / "encoder", 0), "layer.1.output.dense.weight")
    with pytest.raises(ValueError, match="embeddings that are not finite"):
        RateScoreExtractor(models[0][0], encoder, device="cpu").embed(["lung"])
    ner = broken(save_ner(tmp_path / "ner", 0), "classifier.weight")
    with pytest.raises(ValueError, match="label scores that are not finite"):
        RateScoreExtractor(ner, models[0][1], device="cpu").extract(["The lung."])


def test_missing_models_and_weights_are_named(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="There is no model folder"):
        RateScoreExtractor(tmp_path / "nowhere", models[0][1])
    with pytest.raises(ValueError, match="There is no model folder"):
        RateScoreExtractor("./nowhere", models[0][1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no config\.json"):
        RateScoreExtractor(tmp_path / "empty", models[0][1])
    pickled = save_encoder(tmp_path / "pickled", 0)
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="safetensors"):
        RateScoreExtractor(models[0][0], pickled, device="cpu").embed(["lung"])

    def offline(*args: Any, **kwargs: Any) -> str:
        raise OSError("offline")

    monkeypatch.setattr("dataset_scripts.relevance.neural.hub_models.hf_hub_download", offline)
    with pytest.raises(ValueError, match=r"some/model is neither a folder.*offline"):
        RateScoreExtractor("some/model", models[0][1])


def test_a_model_of_the_hub_is_known_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def download(name: str, file: str, revision: str | None = None) -> str:
        asked.append(revision)
        return str(tmp_path / "snapshots" / "c0ffee" / file)

    monkeypatch.setattr("dataset_scripts.relevance.neural.hub_models.hf_hub_download", download)
    files = ModelFiles.find("some/model", "v1")
    assert files.identity == {"id": "some/model", "revision": "c0ffee"}
    assert (files.revision, asked) == ("c0ffee", ["v1"])


@pytest.mark.parametrize(
    ("texts", "words"), [("one", "one string"), (["a", None], "Text 1 is None"), (["\ud800 x"], "Unicode")]
)
def test_what_is_no_list_of_texts_is_refused(scorer: RateScoreExtractor, texts: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scorer.extract(texts)
    with pytest.raises(ValueError, match=words):
        scorer.embed(texts)


def test_bad_settings_are_refused(models: Models) -> None:
    with pytest.raises(ValueError, match="batch_size is 0"):
        RateScoreExtractor(*models[0], batch_size=0)
    with pytest.raises(ValueError, match="Device"):
        RateScoreExtractor(*models[0], device="no-such-device")
    with pytest.raises(ValueError, match="has no revision"):
        RateScoreExtractor(*models[0], ner_revision="main")


def test_entities_are_plain_entities(scorer: RateScoreExtractor) -> None:
    assert all(isinstance(entity, Entity) for entity in scorer.extract(TEXTS)[0])
