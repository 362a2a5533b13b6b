"""Raw reports fall into the sections that MIMIC-CXR's official parser gives."""

import time
from collections.abc import Callable

import pytest

from dataset_scripts.mining.sections import normal_section_name, section_body, split_sections

FULL = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)
 
 INDICATION:  ___ year old with cough, r/o PNA.
 
 COMPARISON:  None.
 
 FINDINGS:
 
 The lungs are clear.  The heart is not
 enlarged.
 
 IMPRESSION:
 
 No acute process.
"""  # noqa: W293 - reports of this shape hold lines of one blank


def test_a_report_falls_into_its_sections_in_order_without_the_title() -> None:
    assert split_sections(FULL) == {
        "examination": "CHEST (PA AND LAT)",
        "indication": "___ year old with cough, r/o PNA.",
        "comparison": "None.",
        "findings": "The lungs are clear.  The heart is not\n enlarged.",
        "impression": "No acute process.",
    }


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("CONCLUSION", "impression"),
        ("FINDINGS AND IMPRESSION", "impression"),
        ("FINDINGS/IMPRESSION", "impression"),
        ("FINIDNGS", "findings"),
        ("FINDINGS ", "findings"),
        ("CHEST, TWO VIEWS", "findings"),
        ("PORTABLE AP CHEST RADIOGRAPH", "findings"),
        ("FRONTAL AND LATERAL VIEWS", "findings"),
        ("REASON FOR EXAMINATION", "indication"),
        # The official parser takes any heading that names the chest for findings: parity counts.
        ("REASON FOR EXAM (CHEST)", "findings"),
        ("REASON FOR EXAM", "indication"),
        ("REFERENCE EXAM", "comparison"),
        ("HISTORY AND FINDINGS", "findings"),
        ("COMPARISON FINDINGS", "findings"),
        ("BONE WINDOW", "findings"),
        ("FRONTAL SEMI-UPRIGHT", "findings"),
        ("LATERAL AND PA", "findings"),
        ("RIBS, RIGHT", "findings"),
        ("AP AND LAT", "ap and lat"),
        ("ABDOMEN", "abdomen"),
        ("RECOMMENDATION(S)", "recommendations"),
        ("WETREAD", "wet read"),
        ("CLINICAL HISTORY", "history"),
        ("COMPARISONS", "comparison"),
        ("TECHNIQUE", "technique"),
        ("NDICATION", "impression"),
    ],
)
def test_headings_get_their_normal_names(heading: str, name: str) -> None:
    assert normal_section_name(heading) == name


def test_misspelt_headings_are_told_by_their_likeness() -> None:
    for heading in ("FINDING", "FINDINS", "FINDINDGS", "FINDGINGS", "FINDNGS", "FINDNINGS", "FINIDNGS"):
        assert normal_section_name(heading) == "findings"
    for heading in ("IMPRESSON", "MPRESSION", "IMPERSSION", "IMORESSION"):
        assert normal_section_name(heading) == "impression"
    for heading in ("NOTIFICATION", "MEDICATION", "DICTATION", "EXAMINATION", "OPINION", "DATE", "NOTE"):
        assert normal_section_name(heading) == heading.lower()


@pytest.mark.parametrize(
    ("report", "sections"),
    [
        # a heading below one that stands alone is text, as in the official parser
        (" FINDINGS:\n IMPRESSION:  Clear.\n NOTE:  x", {"findings": "IMPRESSION:  Clear.", "note": "x"}),
        (" FINDINGS:\n \n IMPRESSION:  Clear.", {"impression": "Clear."}),
        # lower case of other words, digits and a colon without white space make no heading
        (" FINDINGS: ok\n AT 10:PM\n Remark: x\n L1: y", "findings"),
        # two blanks before it are still one heading; two words of it may be far apart
        (" FINDINGS: a\n   (IMPRESSION): b", {"findings": "a", "impression": "b"}),
        # an empty last section hides the paragraph above it
        (" HISTORY: a\n \n Clear.\n NOTE:  \n", {"history": "a\n \n Clear."}),
        # a bare heading's own line break is no blank line, one more is
        (" HISTORY: a\n COMPARISON:\n \n Clear.", {"history": "a", "comparison": "Clear."}),
        (" HISTORY: a\n COMPARISON: \n \n Clear.", {"history": "a", "last_paragraph": "Clear."}),
    ],
)
def test_the_corners_of_the_official_parser_are_kept(report: str, sections: dict[str, str] | str) -> None:
    if isinstance(sections, str):
        sections = {sections: report.partition(": ")[2]}
    assert split_sections(report) == sections


@pytest.mark.parametrize(
    ("report", "sections"),
    [
        ("", {}),
        (" The lungs are clear.\n", {"full report": "The lungs are clear."}),
        (" Findings: clear at 10:30.\n", {"findings": "clear at 10:30."}),
        (" COMPARISON:  None.\n Seen at 5:PM.\n FINDINGS:\n", {"comparison": "None.\n Seen at 5:PM."}),
        (" FINDINGS:  \n IMPRESSION:  Clear.", {"impression": "Clear."}),
        (" Portable film.\n FINDINGS: Clear.", {"preamble": "Portable film.", "findings": "Clear."}),
        ("FINDINGS:\r\nClear.\r\n", {"findings": "Clear."}),
    ],
)
def test_odd_reports_keep_their_text_under_the_right_name(report: str, sections: dict[str, str]) -> None:
    assert split_sections(report) == sections


def test_without_findings_and_impression_the_text_after_a_blank_line_is_the_last_paragraph() -> None:
    report = " HISTORY:  Cough.\n COMPARISON:  None.\n \n The lungs are clear.\n \n No effusion."
    assert split_sections(report) == {
        "history": "Cough.",
        "comparison": "None.",
        "last_paragraph": "The lungs are clear.\n \n No effusion.",
    }
    assert split_sections(" CHEST FILM\n \n Clear lungs.") == {
        "full report": "CHEST FILM\n \n Clear lungs.",
        "last_paragraph": "Clear lungs.",
    }


def test_the_last_of_two_sections_of_one_name_counts_unless_it_is_empty() -> None:
    assert split_sections(" CHEST, TWO VIEWS:  Old.\n FINDINGS:  New.")["findings"] == "New."
    assert split_sections(" FINDINGS:  Old.\n FINDINGS:  \n")["findings"] == "Old."


def test_a_rule_of_underscores_ends_a_section_and_starts_an_addendum() -> None:
    rule = " " + "_" * 78
    report = f" IMPRESSION:  Clear.\n{rule}\n ADDENDUM\n Discussed by phone.\n"
    assert split_sections(report) == {"impression": "Clear.", "addendum": "Discussed by phone."}
    wet_read = f" WET READ: ___ 10:22 PM\n  Clear.\n{rule}\n        FINAL REPORT\n FINDINGS:  Normal.\n"
    assert split_sections(wet_read) == {"wet read": "___ 10:22 PM\n  Clear.", "findings": "Normal."}


def test_a_section_cut_by_others_loses_what_a_rule_parts_from_it() -> None:
    rule = " " + "_" * 78
    assert section_body(f" The lungs are\n clear.\n{rule}\n ADDENDUM\n No.\n") == "The lungs are\n clear."
    assert section_body(f"{rule}\n   FINAL REPORT\n Clear ___.\n") == "Clear ___."
    assert section_body(" \n") == ""


@pytest.mark.parametrize("character", [" ", "\n", "A", "_", " \n"])
def test_work_on_a_long_report_grows_with_its_length_and_not_with_its_square(character: str) -> None:
    def work(length: int) -> float:  # CPU seconds of this process: a busy machine does not change them
        text, start = character * length, time.process_time()
        split_sections(text)
        return time.process_time() - start

    short, long = (min(work(length) for _ in range(3)) for length in (100_000, 1_600_000))
    assert long < 64 * max(short, 1e-3)  # 16 times the length; the square would be 256 times


ORGANS = {
    "LUNGS": "Clear.",
    "PLEURA": "Small left effusion.",
    "HEART/MEDIASTINUM": "Enlarged.",
    "Bones and soft tissues": "Left rib fracture.",
    "LINES/TUBES": "None.",
    "UPPER ABDOMEN": "Unremarkable.",
    "OSSEOUS STRUCTURES": "Intact.",
}


def _styled(name: str, style: str) -> str:
    return {
        "capitals": f"{name.upper()}: ",
        "title case": f"{name.capitalize()}: ",
        "lower case": f"{name}: ",
        "bold": f"**{name.upper()}:** ",
        "underscored": f"__{name.capitalize()}__: ",
        "tag": f"<b>{name.upper()}</b>: ",
        "hashes": f"## {name.capitalize()}\n",
        "dash": f"{name.upper()} - ",
        "long dash": f"{name.capitalize()} \u2013 ",
        "numbered": f"1. {name.upper()}: ",
        "line of its own": f"{name.upper()}\n",
        "blank before the colon": f"{name.upper()} : ",
        "no-break space": f"\xa0{name.upper()}:\xa0",
        "brackets": f"[{name.upper()}]\n",
        "capitals alone": f"{name.upper()} ",
    }[style]


STYLES = (
    *("capitals", "title case", "lower case", "bold", "underscored", "tag", "hashes", "dash", "long dash"),
    *("numbered", "line of its own", "blank before the colon", "no-break space", "brackets"),
    "capitals alone",
)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "<br>", "<br/>\n"])
@pytest.mark.parametrize("style", STYLES)
def test_a_section_is_found_whatever_its_heading_looks_like(style: str, end: str) -> None:
    heads = [_styled(name, style) for name in ("indication", "findings", "impression")]
    texts = ["Cough.", "Small left effusion.", "Cardiomegaly."]
    report = "\ufeff" + end.join(head + text for head, text in zip(heads, texts, strict=True)) + end
    assert split_sections(report) == dict(zip(("indication", "findings", "impression"), texts, strict=True))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("section", ["findings", "impression"])
@pytest.mark.parametrize("spell", [str.upper, str.capitalize])
def test_what_stands_under_an_organs_heading_stays_in_its_section(
    section: str, spell: Callable[[str], str], end: str
) -> None:
    lines = [f"{spell(name)}: {text}" for name, text in ORGANS.items()]
    report = f" {section.upper()}:{end} " + f"{end} ".join(lines) + f"{end} NOTIFICATION: none{end}"
    found = split_sections(report)
    assert set(found) == {section, "notification"}
    assert [line.strip() for line in found[section].splitlines()] == lines


def test_organs_without_a_section_open_the_findings() -> None:
    found = split_sections("TECHNIQUE: AP.\nLUNGS: Clear.\nHEART: Normal.\nIMPRESSION: Normal chest.")
    assert found == {
        "technique": "AP.",
        "findings": "LUNGS: Clear.\nHEART: Normal.",
        "impression": "Normal chest.",
    }


@pytest.mark.parametrize(
    "text",
    [
        "Findings suggest pneumonia.",
        "The\nfindings\nare stable.",
        "Impression of the right lung base is clear.",
        "Comparison with the last film shows no change.",
    ],
)
def test_a_sentence_that_begins_like_a_heading_is_none(text: str) -> None:
    assert split_sections(text) == {"full report": text}


def test_sections_in_one_line_are_parted() -> None:
    found = split_sections("INDICATION: Cough. FINDINGS: No effusion. Impression: Cardiomegaly.")
    assert found == {"indication": "Cough.", "findings": "No effusion.", "impression": "Cardiomegaly."}


@pytest.mark.parametrize("aside", ["COMPARISON: None.", "Technique: portable film.", "History: cough."])
@pytest.mark.parametrize("section", ["findings", "impression"])
def test_an_aside_in_a_section_does_not_end_it(section: str, aside: str) -> None:
    text = f"Heart enlarged. {aside} Left effusion."
    assert split_sections(f"EXAM: Chest.\n{section.upper()}: {text}") == {
        "examination": "Chest.",
        section: text,
    }


def test_something_else_than_a_string_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a string, but is float"):
        split_sections(float("nan"))  # type: ignore[arg-type]
