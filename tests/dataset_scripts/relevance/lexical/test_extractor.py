"""Promises of the lexical scorer: what counts as an entity, what is equal, what is near."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from dataset_scripts.mining.vocabulary import default_vocabulary
from dataset_scripts.relevance.entities import ENTITY_TYPES, Entity
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.ratescore import EntityEmbeddings, RateScoreWeights, rate_score

SCORER = LexicalExtractor()
WEIGHTS = RateScoreWeights.named()


def entities(text: str) -> list[tuple[str, str]]:
    return [(e.text, e.type) for e in SCORER.extract([text])[0]]


def score(left: str, right: str) -> float:
    sides = []
    for found in SCORER.extract([left, right]):
        types = np.array([ENTITY_TYPES.index(e.type) for e in found])
        sides.append(EntityEmbeddings(SCORER.embed([e.text for e in found]), types))
    return rate_score(*sides, WEIGHTS)


def test_a_denied_list_gives_denied_diseases() -> None:
    assert entities("No pleural effusion or pneumothorax.") == [
        ("effusion", "NON-DISEASE"),
        ("pneumothorax", "NON-DISEASE"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Small left pleural effusion.", [("left pleura", "ANATOMY"), ("small effusion", "DISEASE")]),
        ("Small left effusion.", [("left pleura", "ANATOMY"), ("small effusion", "DISEASE")]),
        ("Pleural effusion on the left.", [("left pleura", "ANATOMY"), ("effusion", "DISEASE")]),
        ("The heart is mildly enlarged.", [("heart", "ANATOMY"), ("mild cardiomegaly", "DISEASE")]),
        ("The effusion is small.", [("pleura", "ANATOMY"), ("small effusion", "DISEASE")]),
        ("Heart size is borderline.", [("heart", "ANATOMY"), ("borderline cardiomegaly", "DISEASE")]),
        ("The aorta is tortuous.", [("aorta", "ANATOMY"), ("tortuous", "ABNORMALITY")]),
        ("The lungs are clear bilaterally.", [("consolidation", "NON-DISEASE")]),
        ("No acute bony abnormality.", [("fracture", "NON-DISEASE")]),
        ("Normal hila.", [("hilum", "ANATOMY"), ("normal", "NON-ABNORMALITY")]),
        ("History of pneumonia.", [("lungs", "ANATOMY"), ("prior pneumonia", "DISEASE")]),
        (
            "Possible right lower lobe pneumonia.",
            [("right lower lobe", "ANATOMY"), ("possible pneumonia", "DISEASE")],
        ),
        ("Bibasilar opacities.", [("bilateral lung base", "ANATOMY"), ("opacity", "ABNORMALITY")]),
        (
            "Stable scarring in the XXXX right apex.",
            [("right lung apex", "ANATOMY"), ("scarring", "ABNORMALITY")],
        ),
    ],
)
def test_phrases_are_canonical(text: str, expected: list[tuple[str, str]]) -> None:
    assert entities(text) == expected


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Mild cardiomegaly.", "The heart is mildly enlarged."),
        ("Enlarged heart.", "Cardiac enlargement."),
        ("The cardiac silhouette is within normal limits.", "Heart size is unremarkable."),
        ("Bones are intact.", "No acute osseous abnormality."),
        ("Left basilar airspace opacity.", "Consolidation in the left lung base."),
        ("Low lung volumes.", "The lungs are hypoinflated."),
        ("No focal consolidation.", "No airspace disease is seen."),
        ("Stable cardiomegaly.", "Cardiomegaly is unchanged."),
    ],
)
def test_same_meaning_scores_above_the_papers_threshold(left: str, right: str) -> None:
    assert score(left, right) > 0.9


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("No effusion.", "Large effusion."),
        ("No pneumothorax.", "Small left pneumothorax."),
        ("Heart size is normal.", "Severe cardiomegaly."),
        ("The lungs are clear.", "Right lower lobe consolidation."),
        ("The costophrenic angles are sharp.", "Blunting of the costophrenic angles."),
    ],
)
def test_opposite_meaning_scores_low(left: str, right: str) -> None:
    assert score(left, right) < 0.6


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Mild cardiomegaly.", "Severe cardiomegaly."),
        ("Small left pleural effusion.", "Large left pleural effusion."),
        ("Small left pleural effusion.", "Moderate left pleural effusion."),
    ],
)
def test_another_degree_scores_in_between(left: str, right: str) -> None:
    assert 0.7 < score(left, right) < 0.89


def test_nearer_degrees_score_higher() -> None:
    assert score("Mild cardiomegaly.", "Moderate cardiomegaly.") > score(
        "Mild cardiomegaly.", "Severe cardiomegaly."
    )


def test_left_and_right_are_not_the_same() -> None:
    assert score("Small left pleural effusion.", "Small right pleural effusion.") < 0.9


def test_an_unknown_finding_does_not_vanish() -> None:
    assert entities("Frobnicated glimmerosis of the liver.") == [
        ("liver", "ANATOMY"),
        ("frobnicated glimmerosis", "ABNORMALITY"),
    ]
    assert entities("No glimmerosis is seen.") == [("glimmerosis", "NON-ABNORMALITY")]


@pytest.mark.parametrize("text", ["", " \n", "XXXX.", "___", "PA and lateral views were obtained."])
def test_texts_that_say_nothing_have_no_entities(text: str) -> None:
    assert entities(text) == []


def test_entities_are_in_text_order_and_not_deduplicated() -> None:
    found = SCORER.extract(["No edema. No edema."])[0]
    assert found == [Entity("edema", "NON-DISEASE")] * 2


def test_embeddings_are_unit_float32_and_the_same_in_another_process() -> None:
    texts = ["small effusion", "left pleura", "glimmerosis"]
    vectors = SCORER.embed(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    code = (
        "import hashlib; from dataset_scripts.relevance.lexical.extractor import LexicalExtractor; "
        f"print(hashlib.sha256(LexicalExtractor().embed({texts!r}).tobytes()).hexdigest())"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert seen == hashlib.sha256(vectors.tobytes()).hexdigest()


def test_every_concept_is_found_as_itself() -> None:
    for name, kind in default_vocabulary().kinds.items():
        wanted = "DISEASE" if kind == "disease" else "ABNORMALITY"
        assert (name, wanted) in entities(f"There is {name}."), name


def test_severities_grade_findings_as_radiologists_do() -> None:
    graded = dict(zip(ENTITIES, SCORER.severities(ENTITIES), strict=True))
    assert graded == {
        "possible small pneumothorax": 1.0,
        "nodule": 0.5,
        "mild scoliosis": 0.25,
        "left pleura": 1.0,
    }


ENTITIES = ["possible small pneumothorax", "nodule", "mild scoliosis", "left pleura"]
