"""The packaged ontology is whole and consistent, and a broken one is refused with a sentence."""

import csv
from pathlib import Path

import pytest

from dataset_scripts.ontology import Anatomy, Ontology, default_ontology, load_ontology
from dataset_scripts.words import fold, inflections, tokenize

TABLE_2_REGIONS = [
    "pleura",
    "bones",
    "lung",
    "diaphragm",
    "vascular",
    "thorax",
    "heart",
    "airway",
    "stomach",
    "bronchi",
]
TABLE_3_ANATOMIES = [
    *[
        "bone",
        "heart",
        "bronchie",
        "trachea",
        "pleura",
        "vertebrae",
        "liver",
        "aorta",
        "gallbladder",
        "clavicle",
        "breast",
        "pancreas",
        "stomach",
    ],
    "spinal canal",
    "ascending aorta",
    "pulmonary artery",
]
PAIRED = [
    *(
        "lungs",
        "upper lobe",
        "lower lobe",
        "lung base",
        "lung apex",
        "pleura",
        "hilum",
        "diaphragm",
        "hemidiaphragm",
    ),
    *("costophrenic angle", "clavicle", "ribs", "shoulder", "breast", "kidneys", "adrenal gland"),
]


def test_ontology_holds_ninety_anatomies_or_more_in_all_regions_of_table_2() -> None:
    ontology = default_ontology()
    assert len(ontology) == len(ontology.names) == len(list(ontology)) >= 90
    assert set(TABLE_2_REGIONS) <= set(ontology.regions())
    assert sorted(name for names in ontology.regions().values() for name in names) == sorted(ontology.names)


@pytest.mark.parametrize("name", TABLE_3_ANATOMIES)
def test_every_row_of_table_3_resolves_to_a_ct_anatomy(name: str) -> None:
    ontology = default_ontology()
    assert "ct" in ontology[ontology.resolve(name)].modality


@pytest.mark.parametrize("name", PAIRED)
def test_both_sides_of_a_paired_anatomy_are_parts_of_it(name: str) -> None:
    ontology = default_ontology()
    anatomy = ontology[name]
    for side, word in ((anatomy.left, "left"), (anatomy.right, "right")):
        assert side is not None
        assert side.startswith(word)
        assert name in ontology.ancestors(side)


def test_every_released_name_but_the_two_unnamed_groups_resolves(shared_data: Path) -> None:
    table = shared_data.parent / "reference" / "released-anatomies.csv"
    if not table.is_file():
        pytest.skip(f"no list of the released names at {table}")
    with table.open(encoding="utf-8") as file:
        names = {row["anatomy"] for row in csv.DictReader(file)}
    ontology = default_ontology()
    unresolved = set()
    for name in names:
        try:
            ontology.resolve(name)
        except ValueError:
            unresolved.add(name)
    assert unresolved == {"miscellaneous anatomical structures", "other specific structures"}


@pytest.mark.parametrize(
    ("term", "name"),
    [
        ("SVC", "superior vena cava"),
        ("T-Spine", "thoracic spine"),
        ("hila", "hilum"),
        ("Left Lungs", "left lung"),
        ("gastric bubble", "stomach"),
        ("alveolar", "airspace"),
    ],
)
def test_resolve_takes_names_synonyms_and_unshared_adjectives_in_any_spelling(term: str, name: str) -> None:
    assert default_ontology().resolve(term) == name


def test_resolve_names_the_nearest_anatomies_for_an_unknown_term() -> None:
    with pytest.raises(ValueError, match=r"no anatomy is called 'plura'.*'pleura'"):
        default_ontology().resolve("plura")


def test_ancestors_come_nearest_first_and_once() -> None:
    ontology = Ontology(
        [
            Anatomy("body", (), "r"),
            Anatomy("chest", ("body",), "r"),
            Anatomy("lung", ("chest",), "r"),
            Anatomy("vessels", ("body",), "r"),
            Anatomy("lung vessels", ("vessels", "lung"), "r"),
        ]
    )
    assert ontology.ancestors("lung vessels") == ("vessels", "lung", "body", "chest")
    assert ontology.ancestors("body") == ()


@pytest.mark.parametrize(
    ("anatomies", "message"),
    [
        ([Anatomy("a", (), "r"), Anatomy("a", (), "r")], "listed twice"),
        ([Anatomy("a", ("b",), "r")], "parent 'b', which is no anatomy"),
        ([Anatomy("a", (), "r", left="left a")], "left 'left a', which is no anatomy"),
        ([Anatomy("a", ("b",), "r"), Anatomy("b", ("a",), "r")], "part of itself"),
        ([Anatomy("a", (), "r", ("c",)), Anatomy("b", (), "r", ("c",))], "'c' is claimed by 'a' and 'b'"),
        ([Anatomy("lung", (), "r"), Anatomy("b", (), "r", ("lungs",))], "is claimed by 'lung' and 'b'"),
    ],
)
def test_inconsistent_ontologies_are_refused(anatomies: list[Anatomy], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ontology(anatomies)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- heart", "must be a mapping"),
        ("anatomies: []\nextra: 1", "unknown keys"),
        ("anatomies: [{name: heart}]", "needs name, parents and region"),
        ("anatomies: [{name: heart, parents: [], region: heart, color: red}]", "unknown fields"),
        ("anatomies: [{name: heart, parents: thorax, region: heart}]", "must be a list"),
        ("anatomies: [{name: heart, parents: [], region: heart, synonyms: [on]}]", "must hold words only"),
        ("anatomies: [{name: heart, parents: [], region: heart, modality: [mri]}]", "must be among"),
    ],
)
def test_malformed_files_are_refused_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ontology.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_ontology(path)


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        ("apex", "apices"),
        ("hilum", "hila"),
        ("bronchus", "bronchi"),
        ("pleura", "pleurae"),
        ("pneumothorax", "pneumothoraces"),
        ("opacity", "opacities"),
        ("metastasis", "metastases"),
        ("foramen", "foramina"),
        ("lobe", "lobes"),
    ],
)
def test_plurals_of_english_and_latin_are_formed(singular: str, plural: str) -> None:
    assert (plural,) in inflections((singular,))


def test_tokens_keep_clause_marks_and_drop_the_rest() -> None:
    assert tokenize("No PNEUMOTHORAX; left-sided ___ 1.5 cm.") == [
        "no",
        "pneumothorax",
        ";",
        "left",
        "sided",
        "1",
        "5",
        "cm",
    ]
    assert fold("Lung, right") == ("lung", ",", "right")
