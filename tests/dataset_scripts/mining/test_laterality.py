"""The bare plural of a pair means both of it; what is said of one side stays there."""

import pytest

from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.ontology import Anatomy, Ontology


@pytest.fixture(scope="module")
def miner() -> FindingsMiner:
    return FindingsMiner()


def sided(miner: FindingsMiner, sentence: str) -> set[str]:
    """The linked anatomies that have a side in their name."""
    return {name for name in miner.link(sentence) if name.startswith(("left ", "right "))}


@pytest.mark.parametrize(
    ("sentence", "pair"),
    [
        ("The costophrenic angles are sharp.", "costophrenic angle"),
        ("Costophrenic sulci are clear.", "costophrenic angle"),
        ("The lungs are clear.", "lung"),
        ("Opacities in the lung bases.", "lung base"),
        ("The hila are normal.", "hilum"),
        ("Both hila are normal.", "hilum"),
        ("Scarring at the apices.", "lung apex"),
        ("Flattened hemidiaphragms.", "hemidiaphragm"),
        ("The diaphragms are flat.", "hemidiaphragm"),
        ("Nodules in the lower lobes.", "lower lobe"),
        ("The pleural spaces are clear.", "pleura"),
        ("Kidneys of normal size.", "kidney"),
        ("The main bronchi are open.", "main bronchus"),
    ],
)
def test_the_bare_plural_of_a_pair_means_both(miner: FindingsMiner, sentence: str, pair: str) -> None:
    assert sided(miner, sentence) == {f"left {pair}", f"right {pair}"}


@pytest.mark.parametrize(
    "sentence",
    [
        "No rib fractures, the ribs are intact.",  # there are twelve on each side
        "No pleural effusions.",  # the plural of a finding
        "The costophrenic angle is blunted.",
        "Atelectasis of the basal segments.",  # a lobe has several
        "Thickening of the pleural surfaces.",
        "Interlobular septa and air spaces.",  # parts of both lungs, but no pair
    ],
)
def test_other_plurals_name_no_side(miner: FindingsMiner, sentence: str) -> None:
    assert sided(miner, sentence) == set()


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Opacity in the right upper and lower lobes.", {"right upper lobe", "right lower lobe"}),
        ("Upper and lower lobes of the right lung.", {"right upper lobe", "right lower lobe", "right lung"}),
        ("The left lower lobes.", {"left lower lobe"}),
        ("The upper lobes on the right.", {"right upper lobe"}),
        ("Fractures of the left 4th, 5th and 6th ribs.", {"left ribs"}),
        ("Fractures of the right fourth and fifth posterior ribs.", {"right ribs"}),
    ],
)
def test_a_plural_of_several_names_keeps_its_side(
    miner: FindingsMiner, sentence: str, expected: set[str]
) -> None:
    assert sided(miner, sentence) == expected


@pytest.mark.parametrize(
    "sentence",
    [
        "Opacities in the lower lobes, greater on the right.",
        "Opacities in the lower lobes, right greater than left.",
        "Opacities in the lower lobes, most prominent on the left.",
    ],
)
def test_a_comparison_leaves_no_side_out(miner: FindingsMiner, sentence: str) -> None:
    assert {"left lower lobe", "right lower lobe"} <= sided(miner, sentence)


def test_all_members_of_a_list_share_the_plural(miner: FindingsMiner) -> None:
    assert sided(miner, "Upper, middle and lower lobes are clear.") >= {
        "left upper lobe",
        "right upper lobe",
        "left lower lobe",
        "right lower lobe",
    }


def test_a_side_alone_after_a_comma_adds_to_what_stands_before(miner: FindingsMiner) -> None:
    assert sided(miner, "Moderate right pleural effusion, small on the left.") == {
        "left pleura",
        "right pleura",
    }


def test_words_for_both_sides_reach_the_noun_after_them(miner: FindingsMiner) -> None:
    assert {"left pleura", "right pleura"} <= sided(miner, "Biapical pleural thickening.")
    assert not {"left pleura", "right pleura"} & sided(miner, "Bibasilar atelectasis and effusion.")


def test_whether_a_plural_is_a_pair_is_the_ontologys_to_say() -> None:
    parts = [Anatomy("left rib", ("ribs",), "r"), Anatomy("right rib", ("ribs",), "r")]
    for pair, expected in ((True, ("ribs", "left rib", "right rib")), (False, ("ribs",))):
        ribs = Anatomy("ribs", (), "r", left="left rib", right="right rib", pair=pair)
        assert FindingsMiner(Ontology([ribs, *parts])).link("The ribs are intact.") == expected
