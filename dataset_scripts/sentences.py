"""Sentences: a section's text -> its sentences, cut at periods that end one (paper section 3.2).

The paper takes every period as a delimiter; here a period inside a decimal, an abbreviation, a list number, a
time or a name does not end a sentence, and a period whose following blank was lost ("apex.There") does.
"""

import re

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_RULE = re.compile(r"^\s*_{10,}\s*$", re.MULTILINE)
_LIST_ITEM = re.compile(r"\n(?=[^\S\n]*\d{1,2}[.)]\s+\S)")
# Some reports list their conclusions in one line behind bullets or lone quotation marks.
_BULLET = re.compile(r"(?:^|\s)[\"“”•·]\s+(?=[A-Z])")
_TERMINATOR = re.compile(r"[.!?]+[\"'”)\]]*")
_MASK = re.compile(r"_{2,}|X{3,}")
_LIST_NUMBER = re.compile(r"\(?\d{1,2}[.)]+$")
_INITIALS = re.compile(r"(?:[A-Za-z]\.)*[A-Za-z]$")

# Never the end of a sentence when anything follows.
_ABBREVIATIONS = frozenset(
    {"dr", "drs", "mr", "mrs", "ms", "prof", "vs", "e.g", "i.e", "eg", "ie", "approx", "fig", "cf", "st"}
)
# The end only where a new sentence visibly starts: "a 1.5 cm. nodule" but "it measures 1.5 cm. The heart
# ...".
_UNITS = frozenset(
    {
        "cm",
        "mm",
        "ml",
        "cc",
        "in",
        "a.m",
        "p.m",
        "am",
        "pm",
        "etc",
        "hr",
        "hrs",
        "min",
        "sec",
        "wk",
        "mo",
        "yr",
    }
)
# "No. 5" numbers something; "No. Stable." answers.
_NUMBERING = frozenset({"no", "nos", "im", "se", "ser"})
# What opens a sentence, where a lone capital ("vitamin D. The ...") could also be an initial ("J. Smith").
_OPENERS = frozenset(
    [
        "a",
        "an",
        "the",
        "there",
        "this",
        "these",
        "that",
        "those",
        "it",
        "its",
        "no",
        "not",
        "in",
        "on",
        "at",
        "of",
        "and",
        "but",
        "if",
        "is",
        "are",
        "as",
        "for",
        "with",
        "heart",
        "lungs",
        "lung",
        "right",
        "left",
        "both",
        "bilateral",
        "mild",
        "moderate",
        "minimal",
        "small",
        "stable",
        "unchanged",
        "normal",
        "clear",
    ]
)


def split_sentences(text: str) -> list[str]:
    """Cut a report section into sentences.

    Line breaks inside a sentence become single blanks; a blank line, a rule of underscores, a bullet and a
    list number at the start of a line end a sentence. List numbers and de-identification marks stay in the
    sentence that they belong to.

    Args:
        text: a section of a report, raw.

    Returns:
        The sentences in report order, with their closing punctuation, without empty ones.

    >>> split_sentences("A 1.5 cm nodule at the apex.There is no\\neffusion, per Dr. ___.")
    ['A 1.5 cm nodule at the apex.', 'There is no effusion, per Dr. ___.']
    """
    if "\n" in text:
        text = _RULE.sub("\n", text.replace("\r\n", "\n"))
        blocks = [item for block in _BLANK_LINE.split(text) for item in _LIST_ITEM.split(block)]
    else:
        blocks = [text]
    sentences: list[str] = []
    for block in blocks:
        for item in _BULLET.split(" ".join(block.split())):
            sentences.extend(_split_block(item))
    return sentences


def _split_block(text: str) -> list[str]:
    """Sentences of one paragraph without line breaks."""
    sentences: list[str] = []
    start = 0
    for match in _TERMINATOR.finditer(text):
        end = match.end()
        if end < len(text) and not _ends_sentence(text, start, match.start(), end):
            continue
        sentence = text[start:end].strip()
        if any(character.isalnum() for character in sentence):
            sentences.append(sentence)
        start = end
    rest = text[start:].strip()
    if any(character.isalnum() for character in rest):
        sentences.append(rest)
    return sentences


def _ends_sentence(text: str, start: int, stop: int, end: int) -> bool:
    """Whether text[stop:end] closes the sentence that began at `start`; text[end:] is not empty."""
    following = text[end:].lstrip()
    word = text[max(start, text.rfind(" ", start, stop) + 1) : stop].lstrip("([\"'“").lower()
    if not text[end].isspace():
        return _missing_blank(text, start, stop, end, word)
    if not following or _LIST_NUMBER.match(text[start:end].strip()):
        return not following
    if text[stop] in "!?":
        return following[0].isupper() or following[0].isdigit()
    if word in _ABBREVIATIONS:
        return False
    if word in _NUMBERING:
        return not following[0].isdigit()
    if word in _UNITS:
        return following[0].isupper() and not _MASK.match(following)
    if len(word) < 6 and _INITIALS.match(word):
        return _is_opener(following)
    return True


def _is_opener(following: str) -> bool:
    """Whether the text starts with a word that opens sentences rather than goes on with a name."""
    first = following.split(" ", 1)[0].strip(".,;:()").lower()
    return first in _OPENERS


def _missing_blank(text: str, start: int, stop: int, end: int, word: str) -> bool:
    """Whether a period with no blank after it still ends a sentence: "apex.There", "effusion.2. No mass"."""
    if text[stop] != "." or not word or _LIST_NUMBER.match(text[start:end].strip()):
        return False
    if word in _ABBREVIATIONS or (len(word) < 6 and _INITIALS.match(word)):
        return False
    following = text[end : end + 24]
    if re.match(r"[A-Z][a-z]", following):
        return True
    return word[-1].isalpha() and re.match(r"\d{1,2}\.\s", following) is not None
