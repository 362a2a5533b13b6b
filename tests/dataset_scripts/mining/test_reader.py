"""The reader says what a report says: kinds of phrasing times findings, sides and anatomies."""

import itertools
import pickle

import pytest

from dataset_scripts.mining.reader import Reader, Statement
from dataset_scripts.relevance.entities import Entity
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor

READER = Reader()
EXTRACTOR = LexicalExtractor()

# Phrase, concept, anatomy.
FINDINGS = (
    ("pleural effusion", "effusion", "pleura"),
    ("pneumothorax", "pneumothorax", "pleura"),
    ("PTX", "pneumothorax", "pleura"),
    ("consolidation", "consolidation", "lungs"),
    ("pneumonia", "pneumonia", "lungs"),
    ("pulmonary edema", "edema", "lungs"),
    ("atelectasis", "atelectasis", "lungs"),
    ("pulmonary nodule", "nodule", "lungs"),
    ("rib fracture", "fracture", "ribs"),
    ("cardiomegaly", "cardiomegaly", "heart"),
    ("lymphadenopathy", "lymphadenopathy", "lymph nodes"),
)
SIDED = [finding for finding in FINDINGS if finding[1] not in ("cardiomegaly", "lymphadenopathy", "edema")]


def read(text: str) -> dict[str, Statement]:
    """The statements of a text by concept."""
    return {statement.concept: statement for statement in READER.read(text)}


def check(text: str, concept: str, **expected: str) -> None:
    found = read(text).get(concept)
    assert found is not None, f"{text!r}: no {concept}"
    for name, value in expected.items():
        assert getattr(found, name) == value, f"{text!r}: {name} {getattr(found, name)!r}, not {value!r}"


DENIED = (
    *("No {}.", "There is no {}.", "No evidence of {}.", "Without {}.", "Negative for {}.", "No acute {}."),
    *("{}: none.", "{}: None", "{}: absent.", "{}: nil.", "{}: No.", "{}: not present.", "{}: not seen."),
    *(
        "{} - none.",
        "{} \N{EN DASH} absent",
        "{}? None.",
        "{}? No.",
        "{} (none).",
        "{} [absent].",
        "{}, none.",
    ),
    *("{} is absent.", "{} has been excluded.", "{} is excluded.", "{} was ruled out.", "{} is unlikely."),
    *(
        "Unlikely {}.",
        "{} is not seen.",
        "{} not identified.",
        "{} is no longer seen.",
        "No definite {} is seen.",
    ),
    *("The chest is negative for {}.", "Free of {}.", "Nothing to suggest {}.", "{} cannot be seen."),
    *(
        "No findings of {}.",
        "No new {}.",
        "There isn't any {}.",
        "Patient without {}.",
        "Absent {}.",
        "Nil {}.",
    ),
)


@pytest.mark.parametrize("template", DENIED)
def test_a_denial_is_read_wherever_it_stands(template: str) -> None:
    for phrase, concept, anatomy in FINDINGS:
        text = template.format(phrase)
        check(text, concept, status="absent")
        assert anatomy in read(text)[concept].anatomies


AFFIRMED = (
    *("{}.", "There is {}.", "Mild {}.", "{} is present.", "{}: present.", "{}? Yes.", "Findings of {}."),
    *("No improvement in the {}.", "No interval worsening of the {}.", "No significant change in {}."),
    *("The {} has not resolved.", "The {} has not improved.", "{} has partially resolved.", "Unchanged {}."),
    *(
        "Nearly complete resolution of the {}.",
        "The {} is not significantly changed.",
        "{} is not diagnostic.",
    ),
    *(
        "No progression of the {}.",
        "Unresolved {}.",
        "{}, not seen on the prior exam.",
        "{} was not present previously.",
    ),
    *(
        "No prior for comparison, {}.",
        "No previous studies available, mild {}.",
        "Without interval change in {}.",
    ),
)


@pytest.mark.parametrize("template", AFFIRMED)
def test_a_denied_change_denies_no_finding(template: str) -> None:
    for phrase, concept, _ in FINDINGS:
        check(template.format(phrase), concept, status="present")


POSSIBLE = (
    *(
        "Possible {}.",
        "{} cannot be excluded.",
        "Cannot exclude {}.",
        "{} is possible.",
        "Suspected {}.",
        "?{}",
    ),
    *("{}?", "Findings may represent {}.", "This could be {}.", "Concerning for {}.", "Suspicious for {}."),
    *("Probable {}.", "{} not excluded.", "Questionable {}.", "Likely {}.", "Findings suggest {}."),
)


@pytest.mark.parametrize("template", POSSIBLE)
def test_a_doubt_is_read_as_possible(template: str) -> None:
    for phrase, concept, _ in FINDINGS:
        check(template.format(phrase), concept, status="possible")


STOPS = (
    *("No {a}, small {b}.", "No {a}, large left {b}.", "No {a} and small {b}.", "No {a} but with {b}."),
    *("No {a} (small {b}).", "- No {a}\n- Moderate {b}", "No {a}<br>{b}", "NO {a}.MILD {b}.", "No {a}; {b}."),
    *("No {a}, right {b}.", "No {a}, stable {b}.", "No {a}, but there is {b}.", "No {a}\nThe {b} is present"),
    *("No {a}. {b}.", "{a}: none, {b}: present.", "No {a} with persistent {b}.", "No {a} - small {b}."),
    *(
        "\N{BULLET} No {a}\n\N{BULLET} {b}",
        "1. No {a}\n2. {b}",
        "No {a}, however {b}.",
        "No {a}, the {b} is stable.",
    ),
)
LISTS = (
    *("No {a}, {b}, or edema.", "No {a} or {b}.", "No {a}, large {b}, or edema.", "No {a}, {b} or edema."),
    *(
        "No focal {a}, pleural thickening, or {b}.",
        "Without {a} or large {b}.",
        "No {a} nor {b}.",
        "No {a}/{b}.",
    ),
    *(
        "No {a}, and no {b}.",
        "There is no {a} or {b} seen.",
        "Neither {a} nor {b}.",
        "No evidence of {a} or {b}.",
    ),
)
PAIRS = [
    (a, b)
    for a, b in itertools.permutations([f for f in FINDINGS if f[0] != "PTX" and f[1] != "edema"], 2)
    if {a[1], b[1]} != {"consolidation", "pneumonia"}
]


@pytest.mark.parametrize("template", STOPS)
def test_a_denial_stops_at_what_is_affirmed(template: str) -> None:
    for first, second in PAIRS:
        if second[1] in ("cardiomegaly", "lymphadenopathy") and ("left" in template or "right" in template):
            continue
        a, b = (first[0], second[0]) if "NO {a}" not in template else (first[0].upper(), second[0].upper())
        text = template.format(a=a, b=b)
        check(text, first[1], status="absent")
        check(text, second[1], status="present")


@pytest.mark.parametrize("template", LISTS)
def test_a_denied_list_is_denied_to_its_end(template: str) -> None:
    for first, second in PAIRS:
        text = template.format(a=first[0], b=second[0])
        check(text, first[1], status="absent")
        check(text, second[1], status="absent")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "template",
    [
        *(
            "{Side} {f}.",
            "Small {side} {f}.",
            "{f} on the {side}.",
            "{S} {f}.",
            "{Side}-sided {f}.",
            "{side} side {f}",
        ),
        *(
            "Mediastinal shift to the {other} with large {side} {f}.",
            "Patient rotated to the {other}, {side} {f}.",
        ),
        *("{Other} lateral decubitus view: {side} {f}.", "{Other} anterior oblique view shows {side} {f}."),
        *(
            "{Other} chest tube with small {side} {f}.",
            "{Other} PICC in place. {Side} {f}.",
            "{Side} {f}, {other} PICC.",
        ),
        *("The trachea is deviated to the {other} by a {side} {f}.", "Rotation to the {other}. {Side} {f}."),
        *("Unchanged {side} {f} after removal of the {other} chest tube.", "s/p {O} mastectomy. {Side} {f}."),
    ],
)
def test_a_side_belongs_to_what_it_is_said_of(template: str, side: str) -> None:
    other = "right" if side == "left" else "left"
    for phrase, concept, _ in SIDED:
        text = template.format(
            f=phrase, side=side, Side=side.capitalize(), S=side[0].upper(), other=other,
            Other=other.capitalize(), O=other[0].upper(),
        )  # fmt: skip
        check(text, concept, side=side)


@pytest.mark.parametrize(
    ("text", "anatomies"),
    [
        ("Right upper and left lower lobe opacities.", {"right upper lobe", "left lower lobe"}),
        ("Opacities in the left upper and lower lobes.", {"left upper lobe", "left lower lobe"}),
        (
            "Opacities in the right upper, middle and lower lobes.",
            {"right upper lobe", "right middle lobe", "right lower lobe"},
        ),
        ("RUL and LLL opacity.", {"right upper lobe", "left lower lobe"}),
        ("Bi-basilar opacities.", {"lung base"}),
        ("B/L hilar opacity.", {"hilum"}),
    ],
)
def test_coordinated_sides_are_told_apart(text: str, anatomies: set[str]) -> None:
    assert {name for s in READER.read(text) for name in s.anatomies} == anatomies


@pytest.mark.parametrize(
    ("text", "degree"),
    [
        ("Pneumothorax is no longer large.", "mild"),
        ("The pneumothorax is not large.", "mild"),
        ("Pneumothorax, previously moderate, now small.", "mild"),
        ("Pneumothorax decreased from large to moderate.", "moderate"),
        ("The pneumothorax is not significantly changed.", ""),
        ("No significant change in the pneumothorax.", ""),
        ("Large pneumothorax.", "severe"),
        ("Previously large pneumothorax is now small.", "mild"),
        ("The once large pneumothorax is now tiny.", "minimal"),
        ("Pneumothorax: moderate, left.", "moderate"),
        ("Pneumothorax: mild", "mild"),
        ("Moderate pneumothorax previously, small now.", "mild"),
        ("Large pneumothorax, previously moderate.", "severe"),
        ("Trace pneumothorax.", "minimal"),
    ],
)
def test_the_degree_is_that_of_now(text: str, degree: str) -> None:
    check(text, "pneumothorax", degree=degree, status="present")


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("New effusion.", "new"),
        ("Effusion, not seen on the prior exam.", "new"),
        ("The effusion has increased.", "worse"),
        ("Worsening effusion.", "worse"),
        ("Improved effusion.", "better"),
        ("The effusion is smaller.", "better"),
        ("Effusion has partially resolved.", "better"),
        ("Unchanged effusion.", "same"),
        ("The effusion is stable.", "same"),
        ("No change in the effusion.", "same"),
        ("The effusion has not resolved.", "same"),
        ("The effusion has resolved.", "gone"),
        ("Resolved effusion.", "gone"),
        ("Effusion.", ""),
    ],
)
def test_the_change_is_read(text: str, change: str) -> None:
    check(text, "effusion", change=change, status="absent" if change == "gone" else "present")


@pytest.mark.parametrize("join", ["; ", ", and ", ". "])
def test_a_change_is_said_of_the_finding_of_its_clause(join: str) -> None:
    found = read(f"Increased edema{join}stable mass{join}new nodule.")
    assert {name: said.change for name, said in found.items()} == {
        "edema": "worse",
        "mass": "same",
        "nodule": "new",
    }


@pytest.mark.parametrize(
    "text", ["History of pneumonia.", "Hx of pneumonia.", "H/o pneumonia.", "Prior pneumonia."]
)
def test_what_was_is_historical(text: str) -> None:
    check(text, "pneumonia", status="historical")


@pytest.mark.parametrize(
    "texts",
    [
        ("Heart size is normal.", "No cardiomegaly.", "The heart is not enlarged.", "Non-enlarged heart.",
         "Normal heart.", "Cardiac silhouette is within normal limits.", "HEART: Normal.",
         "Cardiomegaly: none."),
        ("Cardiomegaly.", "The heart is large.", "Enlarged heart.", "Heart is enlarged.",
         "Cardiac enlargement.",
         "Enlargement of the cardiac silhouette.", "HEART: Enlarged.", "Increased heart size."),
        ("Borderline heart size.", "Heart size is upper limits of normal.", "Borderline cardiomegaly.",
         "The heart is borderline enlarged."),
        ("Lungs are clear.", "No consolidation.", "No airspace disease.", "LUNGS: Clear.", "Clear lungs."),
        ("Left pneumothorax.", "PTX on the left.", "L PTX.", "Lt. PTX.", "Pneumothorax, left."),
        ("Right lower lobe pneumonia.", "PNA in the RLL.", "RLL PNA.", "Pneumonia in the right lower lobe."),
        ("No pleural effusion.", "Pleural effusion: none.", "No pleural fluid.", "Pleural spaces are clear."),
        ("Ground glass opacity.", "GGO.", "Ground-glass opacities."),
        ("Bones are intact.", "No fracture.", "No acute osseous abnormality.", "BONES: Unremarkable."),
        ("Bilateral pleural effusions.", "B/L pleural effusions.", "Pleural effusions bilaterally."),
        ("Hilar lymphadenopathy.", "Hilar LAD.", "Hilar adenopathy."),
        ("Noncalcified nodule.", "Nodule.", "Non-calcified nodule.", "No calcification within the nodule."),
    ],
)  # fmt: skip
def test_phrasings_of_one_fact_have_the_same_entities(texts: tuple[str, ...]) -> None:
    found = EXTRACTOR.extract(texts)
    for text, entities in zip(texts, found, strict=True):
        assert set(entities) == set(found[0]), text


def test_a_sharp_costophrenic_angle_denies_an_effusion_and_a_blunted_one_suggests_it() -> None:
    check("The costophrenic angles are sharp.", "effusion", status="absent")
    check("Costophrenic angles are not blunted.", "effusion", status="absent")
    check("Blunted left costophrenic angle.", "effusion", status="possible", side="left")


def test_an_attribute_that_is_denied_is_none_of_the_entities() -> None:
    assert EXTRACTOR.extract(["No cavitation within the right upper lobe mass."])[0] == [
        Entity("right upper lobe", "ANATOMY"),
        Entity("mass", "ABNORMALITY"),
    ]
    check("No displacement of the rib fracture.", "fracture", status="present")
    check("No calcification in the left upper lobe nodule.", "nodule", side="left", status="present")


@pytest.mark.parametrize(
    ("text", "status", "side", "degree"),
    [
        ("Effusion? Yes, moderate.", "present", "", "moderate"),
        ("Effusion? Small, on the left.", "present", "left", "mild"),
        ("Pneumothorax? None. Effusion? Large right.", "present", "right", "severe"),
        ("Effusion? None seen.", "absent", "", ""),
        ("Effusion?", "possible", "", ""),
        ("History of effusion, none today.", "absent", "", ""),
        ("Effusion was absent on the prior and is now moderate.", "present", "", "moderate"),
    ],
)
def test_a_question_is_settled_by_its_answer_and_the_past_by_today(
    text: str, status: str, side: str, degree: str
) -> None:
    check(text, "effusion", status=status, side=side, degree=degree)


@pytest.mark.parametrize("text", ["Noncalcified nodule.", "Noncalcified left lower lobe nodule."])
def test_what_a_finding_is_not_denies_nothing(text: str) -> None:
    assert read(text)["nodule"].status == "present"
    assert read(text)["calcification"].is_attribute


def test_what_is_said_of_a_part_has_the_side_of_the_part() -> None:
    check("Lungs are clear except for right basal atelectasis.", "atelectasis", side="right")


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("ETT in place.", "endotracheal tube"),
        ("NGT below the diaphragm.", "nasogastric tube"),
        ("Swan-Ganz catheter in place.", "swan-ganz catheter"),
        ("Left PICC tip in the right atrium.", "central venous catheter"),
        ("Intra-aortic balloon pump.", "balloon pump"),
        ("Dual lead pacemaker.", "pacemaker"),
    ],
)
def test_devices_are_read(text: str, concept: str) -> None:
    check(text, concept, kind="device", status="present")


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("The endotracheal tube has been removed.", "endotracheal tube"),
        ("Interval extubation.", "endotracheal tube"),
        ("The central line was pulled.", "central venous catheter"),
        ("Interval removal of the right chest tube.", "chest tube"),
    ],
)
def test_a_device_that_was_removed_is_absent(text: str, concept: str) -> None:
    check(text, concept, kind="device", status="absent")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Thank you.",
        "2",
        "?!",
        "None.",
        "No.",
        "Clear",
        ":",
        "Right",
        "No change.",
        "No significant interval change.",
    ],
)
def test_a_text_that_names_nothing_has_no_finding(text: str) -> None:
    assert all(said.kind in ("normal", "anatomy") for said in READER.read(text))


def test_a_reader_may_go_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(READER))
    assert again.read("Small left effusion.") == READER.read("Small left effusion.")


def test_links_and_statements_name_the_same_sides() -> None:
    for text, names in (
        ("Pleural effusions, L > R.", {"left pleura", "right pleura"}),
        ("Small b/l pleural effusions.", {"left pleura", "right pleura"}),
        ("Mediastinal shift to the right with large left pleural effusion.", {"left pleura"}),
    ):
        bits = READER.link(text)
        linked = {name for n, name in enumerate(READER.ontology.names) if bits >> n & 1}
        assert linked & {"left pleura", "right pleura"} == names
