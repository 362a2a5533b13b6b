"""Promises of rate_score: the package's arithmetic, by hand and against the package itself."""

import numpy as np
import pytest

from dataset_scripts.relevance.ratescore import (
    ENTITY_TYPES,
    OPPOSED,
    EntityEmbeddings,
    RateScoreWeights,
    rate_score,
)


def side(vectors: list[list[float]], *types: str) -> EntityEmbeddings:
    return EntityEmbeddings(
        np.array(vectors, np.float32), np.array([ENTITY_TYPES.index(t) for t in types], int)
    )


def test_a_small_example_by_hand() -> None:
    weights = RateScoreWeights.named("long")
    one = side([[1, 0], [0, 1]], "ANATOMY", "NON-DISEASE")
    two = side([[1, 0], [0.6, 0.8]], "ANATOMY", "DISEASE")
    # one -> two: anatomy 1.0 with anatomy, w 0.28561; non-disease 0.8 with disease, w 0.10073, n 0.3612
    forward = (0.2856134859 + 0.8 * 0.1007304608 * 0.3612) / (0.2856134859 + 0.1007304608)
    # two -> one: anatomy as before; disease 0.8 with non-disease, w 0.37891, n 0.3612
    backward = (0.2856134859 + 0.8 * 0.3789136708 * 0.3612) / (0.2856134859 + 0.3789136708)
    expected = 2 * forward * backward / (forward + backward)
    assert rate_score(one, two, weights) == pytest.approx(expected, abs=1e-6)
    assert expected == pytest.approx(0.6874, abs=5e-5)


def test_a_text_scores_exactly_one_against_itself_even_with_contradictions() -> None:
    text = side([[1, 0], [1, 0], [0.6, 0.8]], "NON-DISEASE", "DISEASE", "ANATOMY")
    assert rate_score(text, text, RateScoreWeights.named()) == 1.0


def test_no_entities_give_one_half_and_zero_weight_gives_zero() -> None:
    empty = EntityEmbeddings(np.zeros((0, 2), np.float32), np.zeros(0, int))
    some = side([[1, 0]], "ANATOMY")
    weights = RateScoreWeights.named()
    assert rate_score(empty, some, weights) == rate_score(some, empty, weights) == 0.5
    assert rate_score(some, some, RateScoreWeights(np.zeros((5, 5)), 0.5)) == 0.0


def test_the_eight_opposed_pairs() -> None:
    assert OPPOSED.sum() == 8
    assert (OPPOSED == OPPOSED.T).all()


def test_neg_weight_conventions() -> None:
    assert RateScoreWeights.named("long").neg_weight == RateScoreWeights.named("short").neg_weight == 0.3612
    assert RateScoreWeights.named("long", None).neg_weight == pytest.approx(0.87166, abs=1e-5)
    assert RateScoreWeights.named("short", None).neg_weight == pytest.approx(0.36116, abs=1e-5)


def test_bad_weights_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="'long' or 'short'"):
        RateScoreWeights.named("medium")
    with pytest.raises(ValueError, match="5 x 5"):
        RateScoreWeights(np.zeros((4, 5)), 0.3)
    with pytest.raises(ValueError, match="neg_weight"):
        RateScoreWeights(np.zeros((5, 5)), 1.5)
    with pytest.raises(ValueError, match="belong together"):
        EntityEmbeddings(np.zeros((2, 3)), np.zeros(3, int))
    with pytest.raises(ValueError, match="0 to 4"):
        EntityEmbeddings(np.zeros((1, 3)), np.array([7]))


@pytest.mark.parametrize("affinity", ["long", "short"])
@pytest.mark.parametrize("neg_weight", [0.3612, None])
def test_equals_the_package(affinity: str, neg_weight: float | None) -> None:
    pytest.importorskip("medspacy")
    logger = pytest.importorskip("loguru").logger
    logger.disable("PyRuSH")
    torch = pytest.importorskip("torch")
    utils = pytest.importorskip("RaTEScore.utils")
    scorer = pytest.importorskip("RaTEScore.scorer")
    raw = scorer.DEFAULT_MATRIX_LONG if affinity == "long" else scorer.DEFAULT_MATRIX_SHORT
    matrix = {tuple(key.upper().split("_")): value for key, value in raw.items()}
    weights = RateScoreWeights.named(affinity, neg_weight)
    matrix["NEG", "WEIGHT"] = weights.neg_weight if neg_weight is not None else matrix["NEG", "WEIGHT"]
    rng = np.random.default_rng(0)
    for _ in range(40):
        vectors, types = [], []
        for count in rng.integers(1, 9, size=2):
            drawn = rng.normal(size=(count, 16)).astype(np.float32)
            vectors.append(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
            types.append(rng.integers(0, 5, size=count))
        names = [[ENTITY_TYPES[t] for t in ts] for ts in types]
        tensors = [torch.from_numpy(v) for v in vectors]
        there = utils.compute(tensors[0], tensors[1], names[0], names[1], matrix)
        back = utils.compute(tensors[1], tensors[0], names[1], names[0], matrix)
        expected = 2 * there * back / (there + back) if there + back != 0 else 0
        ours = rate_score(*(EntityEmbeddings(v, t) for v, t in zip(vectors, types, strict=True)), weights)
        assert ours == pytest.approx(expected, rel=1e-4, abs=1e-5)
