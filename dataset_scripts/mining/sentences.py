"""Sentences: a section's text -> its sentences, cut at periods that end one (paper section 3.2).

The paper takes every period as a delimiter; here a period inside a decimal, an abbreviation, a list number, a
time or a name does not end a sentence, and a period whose following blank was lost ("apex.There") does.
"""

import re

from dataset_scripts.mining.plain_text import plain_text
from dataset_scripts.mining.sections import names_organs

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_RULE = re.compile(r"^[^\S\n]*_{10,}[^\S\n]*$", re.MULTILINE)
_LIST_ITEM = re.compile(r"\n(?=[^\S\n]*(\d{1,2})[.)]{1,2}\s+\S)")
_ANY_LIST_NUMBER = re.compile(r"(?<![\w.])\d{1,2}(?=[.)]{1,2}\s)")
# Some reports list their conclusions in one line behind bullets or lone quotation marks.
_BULLET = re.compile(r"[\"“”•·](?<!\S.)\s+(?=[A-Z])")
# A line that is an item of its own: behind a bullet or a heading, or after a line too short to be wrapped.
_BULLET_LINE = re.compile(
    r"\n[^\S\n]*(?:[-*\u2022\u00b7\u2013\u25aa\u25e6>]|o(?=[^\S\n]+[A-Z]))[^\S\n]*(?=[\w(])"
)
_HEADED_LINE = re.compile(r"\n(?=[^\S\n]*[A-Z][A-Za-z /,&()-]{1,40}:\s)")
_LOWER_HEAD = re.compile(r"\n[^\S\n]*([a-z]+(?:[ /,&]+[a-z]+){0,3}) ?: ")
_HEAD_ALONE = re.compile(r"\n[^\S\n]*([A-Za-z][A-Za-z /,&-]{1,40}?) ?:?[^\S\n]*\n(?=[^\S\n]*[A-Z(])")
_SHORT_LINE = re.compile(r"(?<=\n)([^\n]{1,50})\n(?=[^\S\n]*[A-Z])")
_ENDS_OPEN = re.compile(
    r"(?:[,(/&-]|\b(?:and|or|of|in|the|a|an|with|to|for|at|by|from|on|no|is|are|drs?|mrs?|ms|vs"
    r"|[A-Z])\.?)\s*$",
    re.I,
)
# Not the period of a decimal, which is the most frequent of those that end nothing.
_TERMINATOR = re.compile(r"[.!?](?!(?<=\d\.)\d)[.!?]*[\"'”)\]]*")
_ALPHANUMERIC = re.compile(r"[^\W_]")
_MASK = re.compile(r"_{2,}|X{3,}")
# The number of dots is bounded so that a long run of them is not read again at each of its ends.
_LIST_NUMBER = re.compile(r"\s*\(?\d{1,2}[.)]{1,9}$")
_INITIALS = re.compile(r"(?:[A-Za-z]\.)*[A-Za-z]$")
_COLON_NUMBER = re.compile(r": \(?\d{1,2}$")
_RUN_ON = re.compile(r"[A-Z][a-z]")
# "EFFUSION.HEART", "effusion.heart": two words of a text that has lost its blank, not a name or an address.
_LOST_BLANK = re.compile(r"[A-Z]{2,}\b|[a-z]{3,}(?=[ ,;:]|\.?$|\. )")
_WORD_BEFORE = re.compile(r"[a-z]{3,}$", re.I)
_ADDRESS = frozenset({"www", "http", "https"})
_SUFFIXES = frozenset({"com", "org", "net", "edu", "gov", "html", "dcm", "jpg", "png", "pdf", "txt", "nii"})
_TOLD = (
    r"(?:yes|trace|tiny|minimal|small|slight|mild|moderate|large|severe|massive|left|right|bilateral|both|sided"
    r"|sides?|bases?|on|the|at|in|and|only|likely|probable|new|unchanged|stable|improved|worse|increased"
    r"|decreased)"
)
# What answers the words before a question mark: a degree, a side or a change among others.
_ANSWER = re.compile(
    rf"(?:(?:none|not) \w+|none|no|nil|absent|negative|yes|present|unlikely|possibly|no evidence"
    rf"|{_TOLD}(?:[ ,-]+{_TOLD}){{0,6}})\s*(?:[.;,!]|$)",
    re.IGNORECASE,
)
_NEXT_NUMBER = re.compile(r"\d{1,2}\.\s")
# No rule looks further around a period than this, so that time is linear in the text.
_WINDOW = 24
_LONGEST = 5000  # characters of a sentence; text without any period is cut at blanks, or where there are none

# fmt: off
# Never the end of a sentence when anything follows.
_ABBREVIATIONS = frozenset([
    "dr", "drs", "mr", "mrs", "ms", "prof", "vs", "e.g", "i.e", "eg", "ie", "approx", "fig", "cf", "st",
])
# The end only where a new sentence visibly starts: "a 1.5 cm. nodule" but "it measures 1.5 cm. The heart".
_UNITS = frozenset([
    "cm", "mm", "ml", "cc", "in", "a.m", "p.m", "am", "pm", "hr", "hrs", "min", "sec", "wk", "mo", "yr",
    "etc", "max", "resp", "incl", "ph.d", "pt", "lat", "ant", "post", "sup", "inf",
])
# The end only where one of these follows: "on the rt. The heart" but "Rt. PTX".
_SIDES = frozenset(["lt", "rt", "bilat"])
_BEHIND_A_SIDE = frozenset(["the", "there", "this", "these", "no", "a", "an"])
# "No. 5" numbers something; "No. Stable." answers.
_NUMBERING = frozenset([
    "no", "nos", "im", "se", "ser", "ext", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept",
    "oct", "nov", "dec",
])
# What opens a sentence, where a lone capital ("vitamin D. The ...") could also be an initial ("J. Smith").
_OPENERS = frozenset([
    "a", "an", "the", "there", "this", "these", "that", "those", "it", "its", "no", "not", "in", "on", "at",
    "of", "and", "but", "if", "is", "are", "as", "for", "with", "heart", "lungs", "lung", "right", "left",
    "both", "bilateral", "mild", "moderate", "minimal", "small", "stable", "unchanged", "normal", "clear",
])
# fmt: on
_SPECIAL_WORDS = _ABBREVIATIONS | _UNITS | _NUMBERING | _SIDES


def split_sentences(text: str) -> list[str]:
    """Cut a report section into sentences.

    Line breaks inside a sentence become single blanks; a blank line, a rule of underscores, a bullet, a
    heading and a list number at the start of a line end a sentence, and so does a line too short to have
    been wrapped before one that starts with a capital. Markup is dropped. List numbers and de-identification
    marks stay in the sentence that they belong to. What is longer than 5,000 characters is no sentence, and
    is cut at a blank.

    Args:
        text: a section of a report, raw.

    Returns:
        The sentences in report order, with their closing punctuation, without empty ones.

    >>> split_sentences("A 1.5 cm nodule at the apex.There is no\\neffusion, per Dr. ___.")
    ['A 1.5 cm nodule at the apex.', 'There is no effusion, per Dr. ___.']
    """
    text = plain_text(text)
    if "\n" in text:
        text = _part_lines(_RULE.sub("\n", text))
        blocks = _BLANK_LINE.split(_part_list_items(text))
    else:
        blocks = [text]
    sentences: list[str] = []
    for block in blocks:
        for item in _BULLET.split(" ".join(block.split())):
            _split_item(item.rstrip(), sentences)
    return sentences


def _part_lines(text: str) -> str:
    """Put a blank line before each line that is an item of its own."""
    text = _HEAD_ALONE.sub(lambda line: _headed(line, f"\n{line[1]}: "), f"\n{text}")
    text = _LOWER_HEAD.sub(lambda line: _headed(line, f"\n\n{line[1]}: "), text)
    text = _HEADED_LINE.sub("\n\n", _BULLET_LINE.sub("\n\n", text))
    return _SHORT_LINE.sub(lambda line: line[0] if _ENDS_OPEN.search(line[1]) else f"{line[1]}\n\n", text)


def _headed(line: re.Match[str], text: str) -> str:
    """The text instead of a line's heading, if that names organs."""
    return text if names_organs(line[1]) else line[0]


def _part_list_items(text: str) -> str:
    """Put a blank line before each line that starts with a list number.

    A number above 1 whose predecessor is nowhere is none: "changes at T8-\\n 9. There is" is a wrapped line.
    """
    if _LIST_ITEM.search(text) is None:
        return text
    numbers = {int(number) for number in _ANY_LIST_NUMBER.findall(text)} | {0}
    return _LIST_ITEM.sub(lambda item: "\n\n" if int(item[1]) - 1 in numbers else "\n", text)


def _split_item(text: str, sentences: list[str]) -> None:
    """Append the sentences of text whose white space is single blanks between words."""
    start, length = 0, len(text)
    for match in _TERMINATOR.finditer(text):
        stop, end = match.span()
        if end < length and not _ends_sentence(text, start, stop, end):
            continue
        _append(text[start:end].strip(), sentences)
        start = end
    if start < length:
        _append(text[start:].strip(), sentences)


def _append(sentence: str, sentences: list[str]) -> None:
    """Add a sentence, in pieces if it is too long, unless there is no letter or digit in it."""
    start = 0
    while len(sentence) - start > _LONGEST:
        stop = sentence.rfind(" ", start + 1, start + _LONGEST) + 1 or start + _LONGEST
        _append(sentence[start:stop].strip(), sentences)
        start = stop
    rest = sentence[start:]
    if _ALPHANUMERIC.search(rest):
        sentences.append(rest)


def _ends_sentence(text: str, start: int, stop: int, end: int) -> bool:
    """Whether text[stop:end] closes the sentence that began at `start`; text[end:] is not empty."""
    before = text[max(start, stop - _WINDOW) : stop]
    word = before.rpartition(" ")[2]
    is_spaced, is_period = text[end] == " ", text[stop] == "."
    if is_spaced and is_period and len(word) > 1 and word.isalpha() and word.lower() not in _SPECIAL_WORDS:
        return True  # nearly always: an ordinary word, a period, a blank
    is_capital = word[-1:].isupper()
    word = word.lstrip("([\"'“").lower()
    if not is_spaced:
        return is_period and _missing_blank(text, start, end, word)
    if _LIST_NUMBER.match(text, start, end) or _COLON_NUMBER.search(before):
        return False
    following = text[end + 1]
    if not is_period:
        if text[stop] == "?" and _ANSWER.match(text, end + 1):
            return False
        return following.isupper() or following.isdigit()
    return _period_ends(text, end + 1, word, is_capital)


def _period_ends(text: str, position: int, word: str, is_capital: bool) -> bool:
    """Whether a period and a blank after an unusual word end a sentence, where text[position:] follows."""
    following = text[position]
    if word in _ABBREVIATIONS:
        return False
    if word in _NUMBERING:
        return not following.isdigit() and not _MASK.match(text, position)
    if word in _SIDES:
        return text[position : position + _WINDOW].split(" ", 1)[0].lower() in _BEHIND_A_SIDE
    if word in _UNITS:
        if following.isdigit():
            return _NEXT_NUMBER.match(text, position) is not None
        return following.isupper() and not _MASK.match(text, position)
    if len(word) < 6 and _INITIALS.match(word):
        # "M.D. at noon" continues, "vitamin d. the bones" does not.
        return not (is_capital and following.islower()) and _is_opener(text[position : position + _WINDOW])
    return True


def _is_same_case(letter: str, following: str) -> bool:
    """Whether the words on both sides of a period are in capitals, or both in lower case."""
    return letter.isupper() == following[0].isupper()


def _is_opener(following: str) -> bool:
    """Whether the text starts with a word that opens sentences rather than continues a name."""
    first = following.split(" ", 1)[0]
    is_initial = len(first) == 2 and first[1] == "."  # "J. A. Smith"
    return not is_initial and first.strip(".,;:()").lower() in _OPENERS


def _missing_blank(text: str, start: int, end: int, word: str) -> bool:
    """Whether a period with no blank after it still ends a sentence: "apex.There", "effusion.2. No mass"."""
    if not word or _LIST_NUMBER.match(text, start, end):
        return False
    if word in _ABBREVIATIONS or (len(word) < 6 and _INITIALS.match(word)):
        return False
    if _RUN_ON.match(text, end):
        return True
    if _WORD_BEFORE.search(word) and word not in _ADDRESS and (lost := _LOST_BLANK.match(text, end)):
        return lost[0].lower() not in _SUFFIXES and _is_same_case(text[end - 2], lost[0])
    return word[-1].isalpha() and _NEXT_NUMBER.match(text, end) is not None
