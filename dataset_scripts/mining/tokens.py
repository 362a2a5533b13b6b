"""Words: how a report's text is cut, and which inflected forms of a term count as that term."""

import re

_WORD = re.compile(r"[^\W_]+|[,;:()/&?~]")
_PUNCTUATION = frozenset(",;:()/&?~")
# Signs that are read as words or marks: a dash with blanks around it parts two clauses, unless it is a range.
_DASH = re.compile(r"(?<=[^\W\d_]|[)\]?])\s+-{1,2}\s+(?=[^\W\d_]|[(\[])")
_SIGNS = str.maketrans(
    {
        "[": "(",
        "]": ")",
        ">": " greater than ",
        "<": " less than ",
        "+": " and ",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": " - ",
        "\N{MINUS SIGN}": "-",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    }
)
_HAS_SIGN = re.compile(r"[][<>+\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{RIGHT SINGLE QUOTATION MARK}]| -")
# For ASCII text the same cut without a regular expression, three times as fast: byte -> itself in lower case,
# or a blank where it belongs to no token.
_BYTES = bytes(
    code if chr(code).isalnum() or chr(code) in _PUNCTUATION else 32 for code in range(128)
).lower()
_TO_TOKEN_BYTES = _BYTES.ljust(256)
_SET_APART = tuple((mark, f" {mark} ") for mark in sorted(_PUNCTUATION))

# Ending of a singular -> endings of its plurals. Radiology keeps the Latin and Greek ones ("hila", "apices").
_PLURALS = (
    ("ax", ("axes", "aces")),
    ("ex", ("exes", "ices")),
    ("ix", ("ixes", "ices")),
    ("sis", ("ses",)),
    ("xis", ("xes",)),
    ("us", ("uses", "i")),
    ("um", ("ums", "a")),
    ("en", ("ens", "ina")),
    ("ss", ("sses",)),
    ("ch", ("ches",)),
    ("sh", ("shes",)),
    ("x", ("xes",)),
    ("y", ("ies", "ys")),
    ("a", ("as", "ae")),
    ("s", ("ses",)),
    ("", ("s",)),
)
_SINGULARS = (("ies", "y"), ("sses", "ss"), ("ss", "ss"), ("us", "us"), ("is", "is"), ("s", ""))


def tokenize(text: str) -> list[str]:
    """Lower-case words and the punctuation that can part two clauses, in order.

    Hyphens, periods and de-identification underscores part words and are dropped; a dash between blanks is
    "~", square brackets are round ones, ">" is "greater than".

    >>> tokenize("Left-sided T-spine, ___ SVC/RA junction.")
    ['left', 'sided', 't', 'spine', ',', 'svc', '/', 'ra', 'junction']
    """
    if _HAS_SIGN.search(text) is not None:
        text = _DASH.sub(" ~ ", text.translate(_SIGNS))
    if not text.isascii():
        return _WORD.findall(text.lower())
    text = text.encode("ascii").translate(_TO_TOKEN_BYTES).decode("ascii")
    for mark, apart in _SET_APART:
        if mark in text:
            text = text.replace(mark, apart)
    return text.split()


def words(text: str) -> frozenset[str]:
    """The words of a list that is written with blanks.

    >>> sorted(words("left right"))
    ['left', 'right']
    """
    return frozenset(text.split())


def phrases(text: str) -> frozenset[str]:
    """The phrases of a list that is written with commas."""
    return frozenset(" ".join(phrase.split()) for phrase in text.split(","))


def is_punctuation(token: str) -> bool:
    """Whether a token of `tokenize` is a punctuation mark."""
    return token in _PUNCTUATION


def fold(term: str) -> tuple[str, ...]:
    """The tokens by which two spellings of one term are the same term ("T-Spine" and "t spine")."""
    return tuple(tokenize(term))


def inflections(words: tuple[str, ...], singular: bool = True) -> tuple[tuple[str, ...], ...]:
    """A term and the forms it takes when its last word changes number.

    Args:
        words: the folded term, at least one token.
        singular: also the form without a plural ending ("lungs" -> "lung").

    Returns:
        Distinct folded forms, the term itself first.

    >>> inflections(("lung", "apex"))
    (('lung', 'apex'), ('lung', 'apexes'), ('lung', 'apices'))
    """
    stem, last = words[:-1], words[-1]
    forms = [last]
    for ending, plurals in _PLURALS:
        if last.endswith(ending):
            root = last[: len(last) - len(ending)]
            forms.extend(root + plural for plural in plurals)
            break
    if singular and len(last) > 3:
        for ending, replacement in _SINGULARS:
            if last.endswith(ending):
                forms.append(last[: len(last) - len(ending)] + replacement)
                break
    return tuple((*stem, form) for form in dict.fromkeys(forms))
