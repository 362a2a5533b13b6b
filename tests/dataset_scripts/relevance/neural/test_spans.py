"""Promises of entity_spans: the rules by hand, and those of the package on thousands of label sequences."""

import numpy as np
import pytest

from dataset_scripts.relevance.neural.spans import LABELS, SPECIAL_TOKENS, entity_spans


def spans(labels: str) -> list[tuple[int, int, str]]:
    """Spans of "B I O ..." of one type between [CLS] and [SEP]; the last label is that of [SEP]."""
    names = [label if label == "O" else f"{label}-ANATOMY" for label in ["O", *labels.split()]]
    return entity_spans(names, [True, *[False] * (len(names) - 2), True])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("O O O", []),
        ("B I I O O", [(1, 3)]),  # B before I opens, I before O closes
        ("B O", [(1, 1)]),
        ("B B O O", [(1, 1), (2, 2)]),
        ("B I B I O O", [(1, 2), (3, 4)]),
        ("I I O O", []),  # no B: nothing
        ("I B O O", [(2, 2)]),
        ("B I I", [(1, 2)]),  # [SEP] labelled I: open at the end
        ("B B I I", [(1, 1)]),  # the same after a B before a B: the open span is dropped
        ("B I B I I", [(1, 2)]),
        ("B B O B I I", [(1, 1), (2, 2), (4, 5)]),  # an O in between makes up for it
        ("B B", [(1, 1)]),  # [SEP] labelled B
        ("B I B", [(1, 2)]),
        ("I B", []),
    ],
)
def test_the_rules_by_hand(labels: str, expected: list[tuple[int, int]]) -> None:
    assert spans(labels) == [(*span, "ANATOMY") for span in expected]


def test_a_type_is_that_of_the_b() -> None:
    labels = ["O", "B-DISEASE", "I-ANATOMY", "O", "O"]
    assert entity_spans(labels, [True, False, False, False, True]) == [(1, 2, "DISEASE")]


class Joining:
    """What the package needs of a tokenizer."""

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return " ".join(tokens)


@pytest.mark.parametrize("outside", [0.05, 0.3, 0.7])
@pytest.mark.parametrize("length_bias", [0.0, 0.6])
def test_equals_the_package_on_random_labels(outside: float, length_bias: float) -> None:
    pytest.importorskip("medspacy")
    utils = pytest.importorskip("RaTEScore.utils")
    rng = np.random.default_rng(0)
    found = dropped = 0
    for _ in range(2000):
        count = int(rng.integers(0, 14))
        tokens = ["[CLS]", *(f"t{i}" for i in range(count)), "[SEP]"]
        for i in range(1, count + 1):
            if rng.random() < 0.03:  # a text may hold special tokens as words
                tokens[i] = str(rng.choice(SPECIAL_TOKENS))
        labels = [str(x) for x in rng.choice(LABELS[1:], size=len(tokens))]
        labels = [f"I{x[1:]}" if rng.random() < length_bias else x for x in labels]
        labels = ["O" if rng.random() < outside else label for label in labels]
        expected = utils.post_process(tokens, labels, Joining())
        ours = entity_spans(labels, [token in SPECIAL_TOKENS for token in tokens])
        assert [(" ".join(tokens[a : b + 1]), kind) for a, b, kind in ours] == expected, labels
        found += len(ours)
        dropped += labels[-1][0] == "I" and not any(b == len(tokens) - 2 for _, b, _ in ours)
    assert found > 500
    assert dropped > 0  # the [SEP] cases were among them
