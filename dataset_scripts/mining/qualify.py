"""What a clause says of its findings: their names by anatomy, degrees, qualities, places and changes."""

from bisect import bisect, bisect_left
from collections.abc import Collection, Sequence

from dataset_scripts.mining.clauses import Item
from dataset_scripts.mining.status import ABSENT
from dataset_scripts.mining.tokens import words
from dataset_scripts.mining.vocabulary import SIZE_WORDS, Vocabulary

COPULAS = words("""
    is are was were appears appear remains remain appearing measures now looks decreased increased
    improved worsened progressed diminished become becoming
""")
_SAYING = COPULAS | {":", "~", "?"}
_LOCATING = words("""
    in at within of along over on involving throughout to into across overlying near adjacent affecting
    inside around about through from for
""")
_PASSED_OVER = words("""
    the a both bilateral left right bilaterally his her either
""")
_PARTING = words("""
    with without , and or ; ( ~ causing suggesting
""")
_CAUSED = frozenset({"due", "secondary", "related", "attributable"})
_FORMERLY = words("""
    previously formerly initially from prior was were once earlier
""")
_OPPOSITE = {3: "small", 4: "small"}
"""Level of a degree that is denied ("no longer large") -> the degree that is meant."""

ENLARGED = "enlarged"
_DECREASED = "decreased"
_BORDERLINE = "upper limits of normal"


def name_attributes(clause: list[Item], anatomy_names: Sequence[str], vocabulary: Vocabulary) -> None:
    """Give an attribute the name it has on the nearest anatomy: "heart ... enlarged" is cardiomegaly.

    Args:
        clause: its items, in order, changed in place.
        anatomy_names: the ontology's names, by number.
        vocabulary: whose `special` names to use.
    """
    anatomies = [item for item in clause if item.mention.owners and item.role in ("anatomy", "attribute")]
    places = [item.start for item in anatomies]
    for number, item in enumerate(clause):
        if item.role == "degree" and _means_enlarged(clause, item):
            item.role, item.name = "attribute", ENLARGED
        if item.role != "attribute":
            continue
        after = bisect(places, item.start)
        beside = anatomies[max(0, after - 1) : after + 1]  # one before, one behind, in order
        nearest = sorted(beside, key=lambda a: (abs(a.start - item.start), -a.start))[:1]
        names = [anatomy_names[owner] for near in (*nearest, item) for owner, _ in near.mention.owners]
        special = next((s for n in names if (s := vocabulary.special.get((item.name, n)))), None)
        following = clause[number + 1] if number + 1 < len(clause) else None
        if special is None and item.name == _BORDERLINE and following is not None and following.is_finding:
            item.role, item.name = "degree", "borderline"
        elif special is None and item.name in (_DECREASED, ENLARGED) and _is_change(clause, item):
            item.role = "change"
        else:
            _rename(item, special or item.name, vocabulary)


def _means_enlarged(clause: list[Item], item: Item) -> bool:
    """Whether a degree is said of an organ alone: "the heart is large"."""
    return (
        item.name in SIZE_WORDS
        and any(other.role == "anatomy" for other in clause)
        and not any(other.is_finding or other.role in ("normal", "generic") for other in clause)
    )


def _is_change(clause: list[Item], item: Item) -> bool:
    """Whether "decreased" or "enlarged" is said of a finding: that is a change, and no finding."""
    return any(other.is_finding and other is not item for other in clause)


def _rename(item: Item, name: str, vocabulary: Vocabulary) -> None:
    """Make an attribute the finding of that name, with the degree that the name may begin with."""
    if name not in vocabulary.kinds:  # "borderline cardiomegaly"
        degree, name = name.split(maxsplit=1)
        item.degrees = [degree]
    item.role, item.name = vocabulary.kinds[name], name


def attach_modifiers(
    tokens: Sequence[str], clause: list[Item], skipped: Collection[int], vocabulary: Vocabulary
) -> None:
    """Give degrees and qualities to the finding they precede ("small effusion") or are said of.

    Args:
        tokens: the sentence.
        clause: its items, in order, changed in place.
        skipped: the tokens of phrases such as "no significant change", whose degree is no finding's.
        vocabulary: whose levels to order by.
    """
    pending: list[Item] = []
    last: Item | None = None
    said_of_last = False
    end = clause[0].start if clause else 0
    found: list[tuple[Item, list[Item]]] = []  # findings and their modifiers
    for item in clause:
        between = tokens[end : item.start]
        end = item.end
        if "or" in between:
            pending = []
        if not _SAYING.isdisjoint(between) or item.role == "change":
            pending, said_of_last = [], last is not None
        if item.role == "degree" and last is not None and tokens[item.end : item.end + 1] == ["now"]:
            said_of_last = True
        if item.role in ("degree", "quality"):
            if item.start not in skipped or "longer" in tokens[max(0, item.start - 3) : item.start]:
                pending.append(item)
        elif item.is_finding:
            found.append((item, pending))
            pending, last, said_of_last = [], item, False
        elif item.role == "normal":
            pending = []
    if last is not None and said_of_last:
        found[-1] = (last, found[-1][1] + pending)
    for finding, modifiers in found:
        _add(tokens, finding, modifiers, vocabulary)
        finding.degrees = sorted(set(finding.degrees), key=lambda m: (-vocabulary.levels[m], m))[:1]
        finding.qualities = sorted(set(finding.qualities))


def _add(tokens: Sequence[str], finding: Item, modifiers: list[Item], vocabulary: Vocabulary) -> None:
    """Add degrees and qualities to a finding; "previously moderate, now small" is small."""
    degrees = [item for item in modifiers if item.role == "degree"]
    current = [item for item in degrees if not _was(tokens, item, finding)]
    for item in current or degrees:
        before = tokens[max(0, item.start - 3) : item.start]
        if item.end > finding.start and ("not" in before or "longer" in before):
            opposite = _OPPOSITE.get(vocabulary.levels[item.name])
            finding.degrees.extend([opposite] if opposite else [])
        else:
            finding.degrees.append(item.name)
    finding.qualities.extend(item.name for item in modifiers if item.role == "quality")


def _was(tokens: Sequence[str], degree: Item, finding: Item) -> bool:
    """Whether a degree is that of an earlier time: "previously moderate", "moderate effusion previously"."""
    before = list(tokens[max(0, degree.start - 2) : degree.start])
    while "," in before:
        before = before[before.index(",") + 1 :]
    behind = tokens[finding.end : finding.end + 1] if degree.end <= finding.start else ()
    return not _FORMERLY.isdisjoint(before) or not _FORMERLY.isdisjoint(behind)


def attach_places(tokens: Sequence[str], clause: list[Item]) -> None:
    """Give findings the anatomies that their clause names for them, in place.

    "Left lower lobe consolidation" and "the heart is enlarged" name them in front, "consolidation in the left
    lower lobe" behind a preposition, for all the findings before it that have none.
    """
    findings = [item for item in clause if item.is_finding or item.role == "unknown"]
    starts = [item.start for item in findings]
    for place in (item for item in clause if item.role == "anatomy"):
        after = bisect_left(starts, place.start)
        if after and (after == len(findings) or _belongs_before(tokens, place, findings[after])):
            findings[after - 1].places.append(place)
            _share(tokens, findings[:after], place)
            if after < len(findings) and place.end == findings[after].start:
                findings[after].places.append(place)  # "calcification in the left upper lobe nodule"
        elif after < len(findings):
            findings[after].places.append(place)


def _belongs_before(tokens: Sequence[str], place: Item, following: Item) -> bool:
    """Whether an anatomy between two findings is the place of the first."""
    return is_located(tokens, place) or not _PARTING.isdisjoint(tokens[place.end : following.start])


def _share(tokens: Sequence[str], findings: list[Item], place: Item) -> None:
    """Give a place to the findings that are coordinated with the one it stands behind."""
    for number in range(len(findings) - 1, 0, -1):
        between = tokens[findings[number - 1].end : findings[number].start]
        if findings[number - 1].places or {"and", "or"}.isdisjoint(between) or not is_located(tokens, place):
            return
        findings[number - 1].places.append(place)


def is_located(tokens: Sequence[str], place: Item) -> bool:
    """Whether an anatomy is introduced as the place of what was named before it."""
    start = place.start
    while start and tokens[start - 1] in _PASSED_OVER:
        start -= 1
    if start > 1 and tokens[start - 1] == "to" and tokens[start - 2] in _CAUSED:
        return False
    return start > 0 and tokens[start - 1] in _LOCATING


def attach_changes(tokens: Sequence[str], clause: list[Item], changes: Sequence[tuple[int, str]]) -> None:
    """Give changes to the finding they precede or are said of, in place; denied findings only may be gone."""
    findings = [item for item in clause if item.is_finding]
    if not findings:
        return
    for place, change in changes:
        target = _changed(tokens, findings, place)
        if (change == "gone") == (target.status == ABSENT) and not (target.change and change == "same"):
            target.change = change


def _changed(tokens: Sequence[str], findings: list[Item], place: int) -> Item:
    """The finding that a change is said of."""
    after = next((item for item in findings if item.start > place), None)
    before = next((item for item in reversed(findings) if item.end <= place), None)
    if after is None or before is None:
        return after or before or findings[0]
    between = tokens[place + 1 : after.start]
    parted = not {",", "and", "with", "or"}.isdisjoint(between)
    return before if parted or not COPULAS.isdisjoint(tokens[before.end : place]) else after
