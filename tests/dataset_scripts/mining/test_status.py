"""What a sentence affirms, denies and doubts, of any mention; sentences are our own."""

import csv
from pathlib import Path

import pytest

from dataset_scripts.mining.abbreviations import expand
from dataset_scripts.mining.status import assert_status
from dataset_scripts.mining.tokens import tokenize


def status(sentence: str, mention: str) -> str:
    before, after = sentence.split(mention, 1)
    parts = [expand(tokenize(part)) for part in (before, mention, after)]
    start = len(parts[0])
    return assert_status([token for part in parts for token in part], [(start, start + len(parts[1]))])[0]


@pytest.mark.parametrize(
    ("sentence", "mention"),
    [
        ("No effusion, pneumothorax, or consolidation.", "effusion"),
        ("No effusion, pneumothorax, or consolidation.", "consolidation"),
        ("Lungs are clear without evidence of edema.", "edema"),
        ("Negative for acute fracture.", "fracture"),
        ("A pneumothorax is not seen.", "pneumothorax"),
        ("Pericardial effusion-thickening was not observed.", "effusion"),
        ("The effusion has resolved.", "effusion"),
        ("This is atelectasis rather than pneumonia.", "pneumonia"),
        ("The heart is not enlarged.", "enlarged"),
        ("Cardiomegaly with no edema.", "edema"),
        ("Neither nodule nor mass is present.", "mass"),
        ("The lungs are free of focal opacity.", "opacity"),
    ],
)
def test_what_is_denied_is_absent(sentence: str, mention: str) -> None:
    assert status(sentence, mention) == "absent"


@pytest.mark.parametrize(
    ("sentence", "mention"),
    [
        ("No change in the small effusion.", "effusion"),
        ("No significant interval change of the opacity.", "opacity"),
        ("The effusion is not increased.", "effusion"),
        ("No pneumothorax, but a moderate effusion.", "effusion"),
        ("No pneumothorax with bilateral chest tubes in place.", "chest tubes"),
        ("This is atelectasis rather than pneumonia.", "atelectasis"),
        ("No consolidation, the heart is enlarged.", "enlarged"),
        ("No improvement in the effusion.", "effusion"),
        ("The effusion has not resolved.", "effusion"),
        ("A nodule, not seen on the prior study.", "nodule"),
        ("Effusion is seen, no pneumothorax.", "Effusion"),
        ("There is cardiomegaly without edema.", "cardiomegaly"),
    ],
)
def test_what_is_affirmed_is_present(sentence: str, mention: str) -> None:
    assert status(sentence, mention) == "present"


@pytest.mark.parametrize(
    ("sentence", "mention"),
    [
        ("Pneumonia cannot be excluded.", "Pneumonia"),
        ("Possible right basilar atelectasis.", "atelectasis"),
        ("The opacity may represent atelectasis or pneumonia.", "pneumonia"),
        ("Findings suggestive of edema.", "edema"),
        ("Cannot exclude a small effusion.", "effusion"),
    ],
)
def test_what_cannot_be_told_is_possible(sentence: str, mention: str) -> None:
    assert status(sentence, mention) == "possible"


def test_case_hyphens_and_line_breaks_do_not_matter() -> None:
    assert status("WITHOUT\nEVIDENCE OF\tPNEUMO-THORAX", "PNEUMO-THORAX") == "absent"


@pytest.mark.parametrize("span", [(1, 1), (-1, 2), (0, 99)])
def test_spans_outside_the_sentence_are_refused(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="outside the sentence"):
        assert_status(["no", "effusion"], [span])


# Shares of affirmed and of negated mentions judged right: NegEx by its abstract (2001), on other sentences,
# and medspaCy's ConText on these (benchmarks/negation.py).
NEGEX, MEDSPACY = (0.945, 0.778), (0.968, 0.918)


def test_each_status_is_told_better_than_by_negex_and_medspacy(shared_data: Path) -> None:
    with (shared_data / "negation" / "sentences.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["condition"].upper() in row["sentence"]]
    assert len(rows) > 200
    for number, wanted in enumerate(("affirmed", "negated")):
        of_status = [row for row in rows if row["status"] == wanted]
        right = [
            (status(row["sentence"], row["condition"].upper()) == "absent") == (wanted == "negated")
            for row in of_status
        ]
        assert sum(right) / len(right) > max(NEGEX[number], MEDSPACY[number])
