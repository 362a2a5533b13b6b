"""Sections: a raw MIMIC-CXR style report -> its named sections.

The headings and their normal names follow the behaviour of the official parser (MIT-LCP/mimic-cxr, txt/), so
that raw reports agree with its `mimic_cxr_sectioned.csv`; for the 54 studies that were overridden by hand
there see overrides.py. These things are ours: misspelt headings are told by their likeness instead of by a
list, the first line of a report may be a heading, and a rule of underscores ends a section (`section_body`),
so that addenda are not read as findings. The headings of sections count in any case, with a dash, a number or
markup, alone on their line or behind a full stop. A heading that names organs ("LUNGS:") stays in the section
that it stands in, where the official parser opens a section that nothing reads.
"""

import difflib
import functools
import re

from dataset_scripts.mining.ontology import default_ontology
from dataset_scripts.mining.plain_text import plain_text
from dataset_scripts.mining.tokens import phrases

# A heading: at the start of a line (after the blank that starts every line of MIMIC), capitals, blanks and
# ( ) / , - up to a colon and white space.
_HEADING = re.compile(r"^ ?([A-Z ()/,-]+):(?:\s|\Z)", re.MULTILINE)
# Parts a wet read, the final report and its addenda; never text.
_RULE = re.compile(r"^[^\S\n]*_{20,}[^\S\n]*$", re.MULTILINE)
_TITLE = re.compile(
    r"^[^\S\n]*(?:(?:FINAL|PRELIMINARY|WET READ|RADIOLOGY)[^\S\n]+)?(?:REPORT|ADDENDUM)[^\S\n]*$",
    re.MULTILINE,
)
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")

# The headings of sections in any case, as single lines or sentences may open with them.
_SECTION = (
    r"(?:findings?(?: (?:and|&) impressions?| ?/ ?impressions?)?|impressions?|conclusions?|summary"
    r"|indications?"
    r"|(?:(?:clinical|medical|patient|relevant) )?history|clinical (?:information|indication|data|details)"
    r"|reason for (?:the )?(?:exam(?:ination)?|study)|comparisons?|techniques?|exam(?:ination)?"
    r"|recommendations?"
    r"|procedure|addendum)"
)
_NUMBER = r"(?:\(?\d{1,2}[.)][^\S\n]*)?"
_LOOSE_HEADING = re.compile(
    rf"^[^\S\n]*\[?{_NUMBER}({_SECTION})[^\S\n]*\]?(?::(?=\s|\Z)|(?:-{{1,2}}|[\u2013\u2014])(?=\s)|$)",
    re.IGNORECASE | re.MULTILINE,
)
_INLINE_HEADING = re.compile(rf"(?<=[^\W\d][.!?)])[^\S\n]+(?=[A-Z])(?=(?i:({_SECTION}))[^\S\n]*:)")
# Capitals before a word that has none need no colon: "FINDINGS The heart is enlarged."
_CAPITALS = re.compile(
    r"(?:^[^\S\n]*|(?<=[^\W\d][.!?)])[^\S\n]+)"
    r"(FINDINGS|IMPRESSIONS?|CONCLUSIONS?|INDICATION|COMPARISON|TECHNIQUE|HISTORY)(?=[^\S\n]+[A-Z][a-z])",
    re.MULTILINE,
)

_EXACT_NAMES = {
    **dict.fromkeys(("conclusion", "conclusions", "summary"), "impression"),
    **dict.fromkeys(("clinical details", "clinical data"), "history"),
    # A misspelt INDICATION by its looks; the official table reads it so, and parity with its CSV counts.
    "ndication": "impression",
    **dict.fromkeys(("reason for examination", "reason for exam", "clinical indication"), "indication"),
    **dict.fromkeys(("clinical information", "pfi"), "history"),
    **dict.fromkeys(("exam", "type of examination"), "examination"),
    **dict.fromkeys(("recommendation", "recommendation(s)"), "recommendations"),
    "reference exam": "comparison",
    "wetread": "wet read",
}
_SPELLED = ("findings", "impression", "indication", "comparison")
_LIKENESS = 0.85  # one or two wrong letters; NOTIFICATION and MEDICATION stay apart from INDICATION
_CONTAINED_NAMES = ("impression", "findings", "history", "comparison", "addendum")
# Headings that name the study or its views stand over the findings.
_VIEW_NAME = re.compile(
    r"chest|portable|ribs|bone window|two views|(?:pa|ap|one|frontal|lateral) view"
    r"|frontal (?:and|upright|semi-upright)|pa and lat|ap and lateral|lateral and (?:pa|ap)"
)
_MINED = ("findings", "impression")
# What stands for organs in headings and is no anatomy's name.
_ORGAN_WORDS = phrases("""
    lines, tubes, lines and tubes, tubes and lines, devices, catheters, hardware, other, others, other
    findings, additional findings, additional, incidental findings, miscellaneous, osseous, msk, cardiac,
    pulmonary, musculoskeletal, osseous structures, bones and soft tissues, vascular, vessels, osseous
    findings, extrathoracic, visualized abdomen, cardiomediastinum, lung bases, misc
""")
_QUALIFIERS = frozenset(["the", "visualized", "visualised", "other", "included", "limited", "imaged", "both"])
_JOINERS = re.compile(r"\s*(?:[,/&()]|\band\b|\bor\b)\s*")


@functools.lru_cache(maxsize=4096)
def normal_section_name(heading: str) -> str:
    """The lower-case name under which a heading's section is kept.

    >>> normal_section_name("FINDINGS/IMPRESSION"), normal_section_name("PA AND LATERAL VIEWS OF THE CHEST")
    ('impression', 'findings')
    """
    name = " ".join(heading.split()).lower()
    if name in _EXACT_NAMES:
        return _EXACT_NAMES[name]
    if likely := difflib.get_close_matches(name, _SPELLED, n=1, cutoff=_LIKENESS):
        return likely[0]
    for part in _CONTAINED_NAMES:
        if part in name:
            return part
    return "findings" if _VIEW_NAME.search(name) else name


def split_sections(report: str) -> dict[str, str]:
    """Cut a raw report into its sections.

    Text before the first heading is `preamble`; a report without any heading is one `full report`. Empty
    sections are dropped. Where two sections share a name, the last with text counts. Where neither findings
    nor impression is left, what follows the first blank line of the last section is `last_paragraph`. As in
    the official parser, the line below a heading that stands alone is text even if it looks like a heading.

    Args:
        report: the text of a report with its line breaks.

    Returns:
        Section name in lower case -> its text, in report order, line breaks inside kept.

    Raises:
        ValueError: if the report is not a string.

    >>> split_sections(" INDICATION:  Cough.\\n \\n FINDINGS:\\n No effusion.\\n")
    {'indication': 'Cough.', 'findings': 'No effusion.'}
    """
    if not isinstance(report, str):
        raise ValueError(f"a report must be a string, but is {type(report).__name__}: give the report's text")
    parts = _named_parts(_with_plain_headings(plain_text(report)))
    parts = [(name, text) for name, text in parts if name not in _MINED or text.strip()]
    if not any(name in _MINED for name, _ in parts):
        _split_last_paragraph(parts)
    sections: dict[str, str] = {}
    below: dict[str, list[str]] = {}  # name -> what stands below rules, after what the section itself says
    for name, text in parts:
        body, after = (_plain(text), "") if name in ("preamble", "full report") else _cut_at_rule(text)
        if body:
            sections.pop(name, None)
            sections[name] = body
            below.pop(name, None)
        if after:
            kept = "addendum" if "ADDENDUM" in after else "preamble"
            sections.setdefault(kept, "")
            below.setdefault(kept, []).append(_plain(after))
    sections |= {name: "\n".join(filter(None, (sections[name], *texts))) for name, texts in below.items()}
    return {name: text for name, text in sections.items() if text}


def section_body(text: str) -> str:
    """A section's text without what a rule of underscores parts from it, and without titles.

    For sections that others have cut, such as those of `mimic_cxr_sectioned.csv`.

    >>> section_body("Clear.\\n " + "_" * 78 + "\\n ADDENDUM\\n Discussed by phone.\\n")
    'Clear.'
    """
    return _cut_at_rule(plain_text(text))[0]


def _named_parts(report: str) -> list[tuple[str, str]]:
    """(normal name, raw text) of every section in report order, empty ones too."""
    heading = _HEADING.search(report)
    if heading is None:
        return [("full report", report)]
    parts = [("preamble", report[: heading.start()])]
    while heading is not None:
        line_end = report.find("\n", heading.end())
        following = _HEADING.search(report, line_end) if line_end >= 0 else None
        end = following.start() if following else len(report)
        name, text = normal_section_name(heading.group(1)), report[heading.end() : end]
        if names_organs(name) or (
            name == "findings" and _is_chest(heading.group(1)) and parts[-1][0] in _MINED
        ):
            _keep_organ(parts, report[heading.start() : end])
        else:
            parts.append((name, text))
        heading = following
    return parts


def _keep_organ(parts: list[tuple[str, str]], text: str) -> None:
    """Add what stands under an organ's heading, with it, to the section that it stands in, or open"
    " findings."""
    name, before = parts[-1]
    if name in _MINED:
        parts[-1] = (name, f"{before.rstrip()}\n{text.lstrip()}")
    else:
        parts.append(("findings", text))


@functools.lru_cache(maxsize=4096)
def names_organs(heading: str) -> bool:
    """Whether a heading names anatomies or devices and no section: "Lungs and pleura", "LINES/TUBES".

    >>> names_organs("HEART/MEDIASTINUM"), names_organs("TECHNIQUE")
    (True, False)
    """
    name = " ".join(heading.lower().split())
    if name in _ORGAN_WORDS:
        return True
    parts = [part for part in _JOINERS.split(name) if part]
    return bool(parts) and all(_names_organ(part) for part in parts)


def _names_organ(name: str) -> bool:
    words = [word for word in name.split() if word not in _QUALIFIERS]
    name = " ".join(words)
    if not words or name in _ORGAN_WORDS:
        return True
    if _VIEW_NAME.search(name) is not None:
        return False
    try:
        default_ontology().resolve(name)
    except ValueError:
        return False
    return True


def _is_chest(heading: str) -> bool:
    return " ".join(heading.lower().split()) in ("chest", "thorax")


def _with_plain_headings(report: str) -> str:
    """The report with the headings of sections as the official parser knows them: "FINDINGS:" in a line."""
    report = _CAPITALS.sub(r"\n\1:", _with_own_lines(report))
    return _LOOSE_HEADING.sub(_plain_heading, report)


def _with_own_lines(report: str) -> str:
    """The report with headings that stand behind a full stop on lines of their own.

    Not where an aside interrupts the findings: "Heart enlarged. Comparison: none. Left effusion."
    """
    pieces: list[str] = []
    start, is_mined = 0, False
    for found in _INLINE_HEADING.finditer(report):
        piece = report[start : found.start()]
        for heading in _LOOSE_HEADING.finditer(piece):
            is_mined = normal_section_name(heading[1]) in _MINED
        opens_mined = normal_section_name(found[1]) in _MINED
        pieces += [piece, "\n" if opens_mined or not is_mined else " "]
        start, is_mined = found.end(), is_mined or opens_mined
    return "".join([*pieces, report[start:]])


def _plain_heading(heading: re.Match[str]) -> str:
    """A heading in capitals with a colon; a word that only stands alone in a wrapped line is none."""
    if heading[0].rstrip()[-1:].isalpha() and not heading[1][0].isupper():
        return heading[0]
    if heading[0].strip() == f"{heading[1].upper()}:":
        return heading[0]  # official as it is
    return f"{heading[1].upper()}:"


def _split_last_paragraph(parts: list[tuple[str, str]]) -> None:
    """Move what follows the last section's blank line to `last_paragraph`; a full report stays whole."""
    name, text = parts[-1]
    pieces = _BLANK_LINE.split(text, maxsplit=1)
    if len(pieces) == 2:
        parts[-1] = (name, text if name == "full report" else pieces[0])
        parts.append(("last_paragraph", pieces[1]))


def _cut_at_rule(text: str) -> tuple[str, str]:
    """(Text up to the first rule that has text above it, what comes below it with its titles)."""
    pieces = _RULE.split(text)
    for number, piece in enumerate(pieces):
        if body := _plain(piece):
            return body, "\n".join(pieces[number + 1 :]).strip()
    return "", ""


def _plain(text: str) -> str:
    return _TITLE.sub("", _RULE.sub("", text)).strip()
