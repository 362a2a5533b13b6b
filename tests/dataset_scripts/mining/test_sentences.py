"""Sentences end where a reader would say that they end."""

import pytest

from dataset_scripts.mining.sentences import split_sentences


@pytest.mark.parametrize(
    "text",
    [
        "A 1.5 cm nodule is seen.",
        "Discussed with Dr. ___ by phone.",
        "Read by Dr. XXXX XXXX at noon.",
        "Edema vs. pneumonia.",
        "Lines, e.g. The PICC, are unchanged.",
        "It measures approx. 3 cm across.",
        "A 2 cm. nodule in the apex.",
        "1. No acute disease.",
        "2) Small effusion.",
        "1.Severe scoliosis.",
        "Seen at 10:45 a.m. by the team.",
        "Telephoned at XXXX p.m. XXXX by the resident.",
        "Reported to J. Smith by telephone.",
        "Compared with series No. 4 of today.",
        "Dated 12.05.2019 in the archive.",
        "No ending",
        "Inflamed (mediastinitis?) fat.",
        "XXXX are normal, ___ too.",
        "Discussed with Dr. ___ at 7:45 p.m. on ___.",
        "Seen at 7:45 a.m. and at 7.45 p.m. by ___.",
        "A 5 mm. nodule is seen.",
        "Nodule (3 mm.) in the apex, of 3 mm., stable.",
        "Degenerative change of the T. spine and C.spine.",
        "See image No. 3 of series No. 12.",
        "Accession No. ___ was compared.",
        "Measures approx. 2.5 x 3.1 cm.",
        "Approx. 2.5 x 3.1 cm. in size.",
        "Compared with Jan. 5, 2012 and Sept. 3.",
        "Rt. lung and lt. base are clear.",
        "Opacity in the L.L.L. and R.M.L. is new.",
        "Read by J. A. Smith, M.D. at noon.",
        "Read by J. Smith, Ph.D. at noon.",
        "Seen by Dr. A. B. XXXX of St. XXXX hospital.",
        "Impression: 1. Clear lungs.",
        "1.) Clear lungs.",
        "(2) Clear lungs.",
        "Grade 1.5 of 2.0 at 12.05.2019.",
    ],
)
def test_marks_inside_a_sentence_do_not_break_it(text: str) -> None:
    assert split_sentences(text) == [text]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("No effusion. The heart is large.", ["No effusion.", "The heart is large."]),
        ("no effusion. lungs are clear.", ["no effusion.", "lungs are clear."]),
        ("At the apex.There is a scar.", ["At the apex.", "There is a scar."]),
        ("No effusion.2. No mass.", ["No effusion.", "2. No mass."]),
        ("1. Clear lungs. 2. Normal heart.", ["1. Clear lungs.", "2. Normal heart."]),
        ("It measures 1.5 cm. The heart is large.", ["It measures 1.5 cm.", "The heart is large."]),
        ("Read at 5 p.m. There is an effusion.", ["Read at 5 p.m.", "There is an effusion."]),
        ("Fracture of T8. No other.", ["Fracture of T8.", "No other."]),
        ("Low vitamin D. The bones are thin.", ["Low vitamin D.", "The bones are thin."]),
        ("Seen by Dr. ___. ___ agreed.", ["Seen by Dr. ___.", "___ agreed."]),
        ("Unchanged since 2012. No mass.", ["Unchanged since 2012.", "No mass."]),
        ("No abnormality.. Clear lungs.", ["No abnormality..", "Clear lungs."]),
        ("Fat is inflamed (edema?). A node is seen.", ["Fat is inflamed (edema?).", "A node is seen."]),
        ("Scar? Compare with old films.", ["Scar?", "Compare with old films."]),
        ('Small nodule " Hiatal hernia " Old scar', ["Small nodule", "Hiatal hernia", "Old scar"]),
        ("• Clear lungs • Large heart", ["Clear lungs", "Large heart"]),
        ("It measures 5 mm. 2. No mass.", ["It measures 5 mm.", "2. No mass."]),
        ("Heart of 14.5 cm.There is no mass.", ["Heart of 14.5 cm.", "There is no mass."]),
        ("Seen at 7:45. The tube is high.", ["Seen at 7:45.", "The tube is high."]),
        ("low vitamin d. the bones are thin.", ["low vitamin d.", "the bones are thin."]),
        ("Mass? No. Stable scar.", ["Mass? No.", "Stable scar."]),
        ("Fluid on the rt. No mass.", ["Fluid on the rt.", "No mass."]),
        ("LUNGS ARE CLEAR. HEART IS LARGE.", ["LUNGS ARE CLEAR.", "HEART IS LARGE."]),
        ("Café au lait. Œdème. Normal.", ["Café au lait.", "Œdème.", "Normal."]),
    ],
)
def test_sentences_end_at_their_own_period(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_hard_line_breaks_are_joined_and_blank_lines_and_list_items_part() -> None:
    text = "The heart is\n enlarged.  No\r\n effusion\n \n 1. Clear lungs\n 2. No\n mass\n __________\n Done"
    assert split_sentences(text) == [
        "The heart is enlarged.",
        "No effusion",
        "1. Clear lungs",
        "2. No mass",
        "Done",
    ]


def test_a_hard_wrapped_report_with_masks_at_line_ends_reads_as_if_it_were_one_line() -> None:
    text = """In comparison with the study of ___, the tube seen by Dr.
 ___ at 7:45
 p.m. lies 2.5
 cm. above the carina, as in image No.
 3.  Changes at T8-
 9. The heart is seen by ___
 ___.  There is no
 effusion, compared to ___.
 ___ was told by J.
 Smith."""
    assert split_sentences(text) == [
        "In comparison with the study of ___, the tube seen by Dr. ___ at 7:45 p.m. lies 2.5 cm. above the "
        "carina, as in image No. 3.",
        "Changes at T8- 9.",
        "The heart is seen by ___ ___.",
        "There is no effusion, compared to ___.",
        "___ was told by J. Smith.",
    ]


@pytest.mark.parametrize("mark", ["{}. ", "{}) ", "({}) ", "{}.) "])
def test_a_numbered_list_falls_into_its_items_with_their_numbers(mark: str) -> None:
    items = [
        mark.format(number) + text for number, text in enumerate(("Clear.", "Old\n scar", "1 cm node."), 1)
    ]
    expected = [" ".join(item.split()) for item in items]
    if not mark.startswith("("):  # "(2)" may as well go on with the line before
        assert split_sentences("\n ".join(items)) == expected
    assert split_sentences("\n \n".join(items)) == expected


def test_a_number_that_only_wraps_to_the_start_of_a_line_is_no_list_number() -> None:
    assert split_sentences("Fractures of ribs 4 and\n 5. No mass.") == [
        "Fractures of ribs 4 and 5.",
        "No mass.",
    ]
    assert split_sentences("1. Ribs 4 and\n 5 are old\n 2. Mass") == ["1. Ribs 4 and 5 are old", "2. Mass"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("heart: enlarged\nlungs: no consolidation", ["heart: enlarged", "lungs: no consolidation"]),
        ("LUNGS:\nClear.\nPLEURA:\nRight effusion.", ["LUNGS: Clear.", "PLEURA: Right effusion."]),
        ("LUNGS AND PLEURA\nNo effusion.\nHEART\nEnlarged.",
         ["LUNGS AND PLEURA: No effusion.", "HEART: Enlarged."]),
        ("The chest is as\nfollows: no effusion.", ["The chest is as follows: no effusion."]),
    ],
)  # fmt: skip
def test_what_stands_under_an_organs_heading_is_read_with_it(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@pytest.mark.parametrize("text", ["", "  \n ", ".", " . . ___ "])
def test_text_without_words_has_no_sentences(text: str) -> None:
    assert split_sentences(text) == []


def test_no_word_is_lost_or_moved() -> None:
    text = "Dr. A. Bell saw a 1.5 cm. node.There was no other. 2. See fig. 3 vs. 4 at 5 p.m. today"
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


PATHOLOGICAL = [
    ".",
    "1",
    "a",
    " ",
    "\n",
    "\t \n",
    " \n",
    "_",
    "_ ",
    "____________\n",
    "a.",
    "a. ",
    "1.",
    "1. ",
    "1) ",
    "1.).",
    "\n1. ",
    "\n1.\n",
    "1.5 ",
    "e.g. ",
    "Dr. ",
    "5 mm. ",
    "No. ",
    ". ",
    ".)",
    "((((",
    '" ',
    ' " A',
    "!?",
    "é. ",
    "XXXX. ",
]


@pytest.mark.parametrize("unit", PATHOLOGICAL)
def test_long_pathological_text_is_split_and_keeps_its_words(unit: str) -> None:
    text = (unit * (200_000 // len(unit) + 1))[:200_000]
    split = "".join("".join(split_sentences(text)).split())
    assert split.count("1") == text.count("1")
    assert split.count("a") == text.count("a")
