"""Sentences end where a reader would say that they end."""

import pytest

from dataset_scripts.sentences import split_sentences


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


@pytest.mark.parametrize("text", ["", "  \n ", ".", " . . ___ "])
def test_text_without_words_has_no_sentences(text: str) -> None:
    assert split_sentences(text) == []


def test_no_word_is_lost_or_moved() -> None:
    text = "Dr. A. Bell saw a 1.5 cm. node.There was no other. 2. See fig. 3 vs. 4 at 5 p.m. today"
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())
