"""Sections: a raw MIMIC-CXR style report -> its named sections.

The headings and their normal names follow the facts of the official parser (MIT-LCP/mimic-cxr, txt/), so that
raw reports agree with its `mimic_cxr_sectioned.csv`, but for the 54 studies overridden by hand there.
"""

import re

# A heading: at the start of a line, blanks at most, capitals, blanks and ( ) / , - up to a colon and white
# space.
_HEADING = re.compile(r"^[^\S\n]*([A-Z(][A-Z ()/,-]*):(?=\s|$)", re.MULTILINE)
# Parts a wet read, the final report and its addenda; never text.
_RULE = re.compile(r"^[^\S\n]*_{20,}[^\S\n]*$", re.MULTILINE)
_TITLE = re.compile(
    r"^\s*(?:FINAL|PRELIMINARY|WET READ|RADIOLOGY)?\s*(?:REPORT|ADDENDUM)[^\S\n]*$", re.MULTILINE
)
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")

_EXACT_NAMES = {
    "conclusion": "impression",
    "findings and impression": "impression",
    "findings/impression": "impression",
    # A misspelt INDICATION by its looks; the official table reads it so, and parity with its CSV counts.
    "ndication": "impression",
    "reason for examination": "indication",
    "chest, two views": "findings",
    **dict.fromkeys(
        ("finding", "findins", "findindgs", "findgings", "findngs", "findnings", "finidngs"), "findings"
    ),
}
_CONTAINED_NAMES = ("impression", "findings", "history", "comparison", "addendum")
# Headings that only name the study or its views stand over the findings.
_VIEW_NAME = re.compile(
    r"\b(?:chest|portable|ribs?|babygram|abdomen|radiographs?|x-?rays?|cxr"
    r"|(?:pa|ap|frontal|lateral|upright|supine|semi-?upright|single|one|two|three|four)\b.*\b(?:views?|lateral|pa|ap))\b"
)
# ... unless they say why, how or what was examined.
_NOT_FINDINGS = re.compile(
    r"\b(?:reason|indications?|technique|exam|examination|clinical|procedure|wet read)\b"
)


def normal_section_name(heading: str) -> str:
    """The lower-case name under which a heading's section is kept.

    >>> normal_section_name("FINDINGS/IMPRESSION"), normal_section_name("PA AND LATERAL VIEWS OF THE CHEST")
    ('impression', 'findings')
    """
    name = " ".join(heading.split()).lower()
    if name in _EXACT_NAMES:
        return _EXACT_NAMES[name]
    for part in _CONTAINED_NAMES:
        if part in name:
            return part
    if _VIEW_NAME.search(name) and not _NOT_FINDINGS.search(name):
        return "findings"
    return name


def split_sections(report: str) -> dict[str, str]:
    """Cut a raw report into its sections.

    Text before the first heading is `preamble` (without the FINAL REPORT title); a report without any heading
    is one `full report`. Empty sections are dropped. Where two sections share a name, the last with text
    counts. Where neither findings nor impression is left, what follows the
    first blank line of the last section is `last_paragraph`.

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
    parts = _named_parts(report.replace("\r\n", "\n"))
    sections: dict[str, str] = {}
    for name, text in parts:
        if text.strip():
            sections.pop(name, None)
            sections[name] = text.strip()
    if sections and "findings" not in sections and "impression" not in sections:
        _split_last_paragraph(sections)
    return sections


def _named_parts(report: str) -> list[tuple[str, str]]:
    """(normal name, raw text) of every section in report order, before empty ones are dropped."""
    if not _HEADING.search(report):
        return [("full report", _TITLE.sub("", _RULE.sub("", report)))]
    parts: list[tuple[str, str]] = []
    for block in _RULE.split(report):
        headings = list(_HEADING.finditer(block))
        head = block[: headings[0].start()] if headings else block
        kind = "addendum" if "ADDENDUM" in head else "preamble"
        parts.append((kind, _TITLE.sub("", head)))
        ends = [*(heading.start() for heading in headings[1:]), len(block)]
        for heading, end in zip(headings, ends, strict=False):
            parts.append((normal_section_name(heading.group(1)), block[heading.end() : end]))
    return parts


def _split_last_paragraph(sections: dict[str, str]) -> None:
    """Move what follows the last section's blank line to `last_paragraph`; a full report stays whole."""
    name, text = list(sections.items())[-1]
    pieces = _BLANK_LINE.split(text, maxsplit=1)
    if len(pieces) == 1:
        return
    if name != "full report":
        sections[name] = pieces[0].strip()
    sections["last_paragraph"] = pieces[1].strip()
