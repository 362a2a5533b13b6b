"""How a finding has changed since an earlier study: new, better, worse, same or gone."""

from collections.abc import Sequence

from dataset_scripts.mining.tokens import words
from dataset_scripts.mining.triggers import Trigger

CHANGES = ("new", "better", "worse", "same", "gone")

_CHANGE = {
    word: change
    for change, listed in (
        ("new", "new newly developed developing development appeared"),
        (
            "better",
            "improved improving improvement decreased decreasing decrease smaller less lesser reduced",
        ),
        (
            "better",
            "reduction diminished diminishing regressed regression resolving clearing receding receded",
        ),
        ("better", "shrunk better"),
        (
            "worse",
            "worse worsened worsening increased increasing increase progressed progression progressing",
        ),
        ("worse", "progressive larger enlarging growing grown bigger deteriorated greater"),
        (
            "same",
            "unchanged stable persistent persists persist persisting again redemonstrated similar constant",
        ),
        ("same", "static unaltered ongoing continued residual remains remain unresolved"),
        ("gone", "resolved cleared disappeared gone vanished subsided resolution"),
    )
    for word in listed.split()
}
_EARLIER = words("""
    prior priors previous previously earlier before old comparison then
""")
_SEEN = frozenset(
    {"seen", "absent", "present", "visualized", "identified", "noted", "evident", "visible", "there"}
)
_PARTLY = frozenset(
    {"partial", "partially", "partly", "incomplete", "incompletely", "near", "nearly", "almost"}
)
_MOSTLY = frozenset({"mostly", "largely", "slowly", "gradually", "minimally", "some"})
_SIZES = words("""
    large big severe extensive prominent marked massive huge sizable
""")
# "Greater on the left" and "remains clear" say nothing of time.
_NO_CUE_BEFORE = {
    "greater": ("than", "on", "in", "at"),
    "less": ("than", "likely"),
    "remains": (),
    "remain": (),
}


def find_changes(tokens: Sequence[str], triggers: Sequence[Trigger]) -> list[tuple[int, str]]:
    """The words of a sentence that tell of a change.

    Args:
        tokens: the sentence.
        triggers: of `triggers.find_triggers`; those that deny a change mean "same", "not seen before" is new.

    Returns:
        (token number, one of `CHANGES`) in order.

    >>> from dataset_scripts.mining.triggers import find_triggers
    >>> words = "no interval change in the small effusion , new consolidation".split()
    >>> find_changes(words, find_triggers(words))
    [(0, 'same'), (8, 'new')]
    """
    found: dict[int, str] = {}
    covered: set[int] = set()
    for trigger in triggers:
        if trigger.kind == "pseudo":
            covered.update(range(trigger.start, trigger.end))
            change = _of_pseudo(tokens[trigger.start : trigger.end])
            if change:
                found[trigger.start] = change
    for place, token in enumerate(tokens):
        if token in _CHANGE and place not in covered and not _is_no_cue(tokens, place):
            found[place] = _CHANGE[token]
    return sorted(found.items())


def _of_pseudo(words: Sequence[str]) -> str:
    """What a phrase that only looks like a negation says of change; "" where it says nothing."""
    if not _PARTLY.isdisjoint(words) or not _MOSTLY.isdisjoint(words):
        return "better"
    if not _EARLIER.isdisjoint(words):
        return "new" if not _SEEN.isdisjoint(words) else ""
    if "longer" in words:
        return "better" if not _SIZES.isdisjoint(words) else "worse"
    return "same" if words[0] != "not" or words[-1] not in {"only", "necessarily"} else ""


def _is_no_cue(tokens: Sequence[str], place: int) -> bool:
    followers = _NO_CUE_BEFORE.get(tokens[place])
    if followers is None:
        return False
    return not followers or tokens[place + 1 : place + 2] == [] or tokens[place + 1] in followers
