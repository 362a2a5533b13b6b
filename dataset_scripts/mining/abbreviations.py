"""Abbreviations that depend on their context: the tokens of a sentence with them written out.

Those that always mean the same ("RUL", "PTX", "GGO") are synonyms in `ontology.yaml` and `vocabulary.yaml`.
"""

from collections.abc import Sequence

from dataset_scripts.mining.tokens import words

# Written with a slash, which is a token of its own.
_SLASHED = {
    ("b", "l"): ("bilateral",),
    ("w", "o"): ("without",),
    ("s", "p"): ("status", "post"),
    ("r", "o"): ("rule", "out"),
    ("c", "w"): ("consistent", "with"),
    ("h", "o"): ("history", "of"),
    ("d", "t"): ("due", "to"),
    ("c", "o"): ("complaint", "of"),
    ("2", "2"): ("due", "to"),
}
_SIDES = {"r": "right", "l": "left"}
_SPINES = frozenset({"spine", "spines"})  # "L spine" is lumbar
# "Bi-basilar" is one word; what follows "bi" where it stands alone.
_BILATERAL = words("""
    basilar basal apical hilar lateral laterally perihilar pleural ventricular
""")
# LAD is lymphadenopathy near the first and the coronary artery near the second; alone it is lymphadenopathy.
_NODAL = words("""
    hilar bihilar mediastinal axillary supraclavicular infraclavicular paratracheal subcarinal cervical
    retroperitoneal mesenteric inguinal abdominal pelvic thoracic
""")
_CORONARY = words("""
    coronary stent stents calcification calcifications calcified artery rca cx lcx circumflex proximal
    distal territory plaque plaques cabg lmca
""")
_MARKERS = words("""
    r l bi lad / non wo sp pna a
""")


def expand(tokens: list[str]) -> list[str]:
    """Write out the abbreviations of a sentence.

    Args:
        tokens: from `tokens.tokenize`.

    Returns:
        The tokens; the same list where there is nothing to write out.

    >>> expand(["r", "effusion", "and", "b", "/", "l", "hilar", "lad"])
    ['right', 'effusion', 'and', 'bilateral', 'hilar', 'lymphadenopathy']
    """
    if _MARKERS.isdisjoint(tokens):
        return tokens
    out: list[str] = []
    place = 0
    while place < len(tokens):
        words, used = _written_out(tokens, place)
        out.extend(words)
        place += used
    return out


def _written_out(tokens: list[str], place: int) -> tuple[Sequence[str], int]:
    """What stands for the tokens from a place on, and how many of them it stands for."""
    token = tokens[place]
    if tokens[place + 1 : place + 2] == ["/"]:
        slashed = _SLASHED.get((token, tokens[place + 2] if place + 2 < len(tokens) else ""))
        if slashed is not None:
            return slashed, 3
        if token == "w":
            return ("with",), 2
    if token in _SIDES and not _is_spine(tokens, place):
        return (_SIDES[token],), 1
    following = tokens[place + 1] if place + 1 < len(tokens) else ""
    if token == "bi" and following in _BILATERAL:
        return ("bi" + following,), 2
    if token == "non" and following.isalpha():
        return ("non" + following,), 2
    if token == "lad" and _is_nodal(tokens, place):
        return ("lymphadenopathy",), 1
    return (token,), 1


def _is_spine(tokens: list[str], place: int) -> bool:
    return tokens[place] == "l" and place + 1 < len(tokens) and tokens[place + 1] in _SPINES


def _is_nodal(tokens: list[str], place: int) -> bool:
    """Whether LAD stands for lymphadenopathy here."""
    if not _NODAL.isdisjoint(tokens[max(0, place - 5) : place]):
        return True
    return _CORONARY.isdisjoint(tokens)
