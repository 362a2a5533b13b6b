"""Laterality: on which side the mentions of a sentence lie ("small effusion on the left").

A side's word goes with the mentions of its own clause: with those after it where it stands in front of a noun
("left pleural effusion"), with those before it where it stands alone ("effusion on the left"), with both
after a preposition ("effusion at the left base"). The bare plural of a structure that comes in a pair names
both of it ("the costophrenic angles are sharp").
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataset_scripts.mining.mentions import Mention
from dataset_scripts.mining.ontology import Anatomy, Ontology
from dataset_scripts.mining.tokens import fold, inflections, is_punctuation, words

LEFT, RIGHT = 1, 2
BOTH = LEFT | RIGHT

_HARD_MARKS = frozenset(",;:()") | frozenset(
    ["but", "however", "while", "whereas", "although", "though", "without", "no", "which", "there", "except"]
)
_COORDINATORS = frozenset({"and", "or", "&", "/"})
_JOINING = _COORDINATORS | {","}
_DETERMINERS = frozenset({"the", "a", "an", "no", "is", "are", "there", "also"})
# What these introduce is another thing than what stands before them.
_BARRIERS = words("""
    with after following post despite from since due secondary
""")
_PREPOSITIONS = words("""
    in at within of along on over near to into involving overlying across throughout
""")
# Words after which a side's word does not belong to a noun that follows.
_FUNCTION_WORDS = (
    words("""
    is are was were than side which as has
""")
    | _HARD_MARKS
    | _COORDINATORS
    | _BARRIERS
    | _PREPOSITIONS
)
# "In the lower lobes, more on the right" weighs the two sides and leaves none out.
_COMPARING = words("""
    greater more most mostly mainly worse larger prominent especially particularly predominantly
    predominant
""")
_ORDINALS = words("""
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth through to anterior
    posterior lateral
""")
# A side's word behind these is where something has moved to, or how the patient lies, and no place.
_SHIFTS = words("""
    shift shifts shifted shifting deviation deviated deviates deviate displacement displaced rotated
    rotation rotates tilted tilt turned pulled pushed retracted retraction curvature convex convexity
    concave bowed bowing directed pointing oriented leaning lying obliqued oblique scoliosis
    dextroscoliosis levoscoliosis curve
""")
_TOWARDS = words("""
    to towards toward the patient s slightly mildly somewhat into
""")
# In front of these it names a view or a movement.
_VIEWS = words("""
    decubitus oblique obliqued shift rotation deviation tilt convex convexity curvature anterior posterior
    lateral side scoliosis sided convexed
""")
_SIDED = frozenset({"side", "sided"})
_AMBIGUOUS = frozenset({"anterior", "posterior", "lateral"}) | _SIDED  # "left lateral rib"
_OF_VIEW = words("""
    view views projection projections film films radiograph radiographs image images decubitus oblique
    obliques position up down chest shift rotation deviation tilt curvature scoliosis displacement
    convexity
""")
# Of these one side has several too, so that their plural does not mean both.
_SEVERAL_A_SIDE = frozenset({"segments", "surfaces"})


@dataclass(slots=True)
class _Element:
    """A side's own word (mention None) or a mention, at tokens[start:end].

    `sides` is 0 where a mention is of no side; `spoken` is whether a side's word stands in the element,
    `conjunct` whether its noun stands further on: the "upper" of "upper and lower lobes".
    """

    start: int
    end: int
    sides: int
    mention: int | None
    spoken: bool
    conjunct: bool = False


class SideFinder:
    """Finds the side of each mention from the side words and the left and right anatomies of an ontology.

    Args:
        ontology: whose `side_words`, `left` and `right` to use.
    """

    def __init__(self, ontology: Ontology) -> None:
        self._words = {
            token: sides
            for key, sides in (("left", LEFT), ("right", RIGHT), ("both", BOTH))
            for word in ontology.side_words[key]
            for token in fold(word)
        }
        numbers = {name: number for number, name in enumerate(ontology.names)}
        sided_anatomies: dict[int, int] = {}
        self._children: dict[int, tuple[tuple[int, int], ...]] = {}
        for number, anatomy in enumerate(ontology):
            sided = ((LEFT, anatomy.left), (RIGHT, anatomy.right))
            children = tuple((side, numbers[name]) for side, name in sided if name is not None)
            sided_anatomies.update({child: side for side, child in children})
            if children:
                self._children[number] = children
        self._anatomy_sides = dict(sided_anatomies)
        # What is part of a side's anatomy lies on that side too: the lingula is on the left.
        for number, anatomy in enumerate(ontology):
            for whole in ontology.ancestors(anatomy.name):
                if numbers[whole] in sided_anatomies:
                    self._anatomy_sides[number] = (
                        self._anatomy_sides.get(number, 0) | sided_anatomies[numbers[whole]]
                    )
        self._plurals = frozenset(form for anatomy in ontology for form in _pair_plurals(ontology, anatomy))
        self._openers = self._words.keys() | _words_of_both(ontology, sided_anatomies)
        self._telling = self._openers | {form[-1] for form in self._plurals}

    def has_side(self, tokens: Sequence[str]) -> bool:
        """Whether any word of the sentence may name a side, if only as the plural of a pair."""
        return not self._telling.isdisjoint(tokens)

    def children(self, number: int, sides: int) -> list[int]:
        """The left and right anatomies of anatomy `number` on these sides."""
        return [child for side, child in self._children.get(number, ()) if side & sides]

    def side_of(self, number: int) -> int:
        """The sides that an anatomy lies on by itself: LEFT of "left pleura" and of the lingula."""
        return self._anatomy_sides.get(number, 0)

    def find(self, tokens: Sequence[str], mentions: Sequence[Mention]) -> list[int]:
        """The sides of each mention.

        Args:
            tokens: the sentence.
            mentions: its mentions, in order.

        Returns:
            LEFT | RIGHT bits for each mention, 0 where the sentence names no side for it.
        """
        sides = [0] * len(mentions)
        if not self._openers.isdisjoint(tokens):
            for clause in _clauses(tokens, self._elements(tokens, mentions)):
                _assign(tokens, clause, sides)
        self._complete_pairs(tokens, mentions, sides)
        return sides

    def _complete_pairs(self, tokens: Sequence[str], mentions: Sequence[Mention], sides: list[int]) -> None:
        """Give both sides to the bare plurals of pairs ("lung bases"), in place."""
        spoken = any(self._words.get(token, BOTH) != BOTH for token in tokens)
        said = [place for place, token in enumerate(tokens) if token in self._words]
        compared = [place for place, token in enumerate(tokens) if token in _COMPARING]
        tail: Sequence[str] = ()  # of the plural that the mention at hand is coordinated with
        for number in range(len(mentions) - 1, -1, -1):
            mention = mentions[number]
            coordinated = mention.start > 0 and tokens[mention.start - 1] in _JOINING
            words = tuple(tokens[mention.start : mention.end])
            # Also at the end of a longer term, "flattened hemidiaphragms".
            plural = any(words[k:] in self._plurals for k in range(len(words)))
            conjunct = any((*words, *tail[k:]) in self._plurals for k in range(len(tail)))
            if not plural and not conjunct:
                tail = tail if coordinated else ()
                continue
            tail = (words[1:] if plural else tail) if coordinated else ()
            # "Right upper and lower lobes" is a plural of two names, not of a pair.
            of_two_names = spoken and (coordinated or conjunct)
            if _is_compared(mention.end, said, compared) if sides[number] else not of_two_names:
                sides[number] = BOTH

    def _elements(self, tokens: Sequence[str], mentions: Sequence[Mention]) -> list[_Element]:
        elements: list[_Element] = []
        position = 0
        for number, mention in enumerate(mentions):
            elements.extend(self._side_words(tokens, position, mention.start))
            sides = 0
            for owner, _ in mention.owners:
                sides |= self._anatomy_sides.get(owner, 0)
            spoken = not self._words.keys().isdisjoint(tokens[mention.start : mention.end])
            elements.append(_Element(mention.start, mention.end, sides, number, spoken, mention.is_conjunct))
            position = mention.end
        elements.extend(self._side_words(tokens, position, len(tokens)))
        return elements

    def _side_words(self, tokens: Sequence[str], start: int, end: int) -> list[_Element]:
        return [
            _Element(position, position + 1, self._words[tokens[position]], None, True)
            for position in range(start, end)
            if tokens[position] in self._words and not is_direction(tokens, position)
        ]


def is_direction(tokens: Sequence[str], place: int) -> bool:
    """Whether a side's word tells a direction or a view: "shifted to the right", "left lateral decubitus"."""
    start = place
    while start and tokens[start - 1] in _TOWARDS:
        start -= 1
    if start and tokens[start - 1] in _SHIFTS:
        return True
    following = tokens[place + 1 : place + 4]
    if not following or following[0] not in _VIEWS:
        return False
    if following[0] in _SIDED and following[1:2] == ["chest"]:  # "right-sided chest drain"
        return False
    return following[0] not in _AMBIGUOUS or not _OF_VIEW.isdisjoint(following[1:3])


def _is_compared(place: int, said: Sequence[int], compared: Sequence[int]) -> bool:
    """Whether the next side's word after a place only says on which side there is more.

    `said` and `compared` are the places of all sides' words, and of all words that compare, ascending.
    """
    next_said, next_compared = bisect_left(said, place), bisect_left(compared, place)
    if next_said == len(said) or next_compared == len(compared):
        return False
    return compared[next_compared] < said[next_said]


def _pair_plurals(ontology: Ontology, anatomy: Anatomy) -> Iterator[tuple[str, ...]]:
    """The plural forms of an anatomy's names, if it is one of a pair; ("lung", "bases") for one."""
    if not anatomy.pair or any(
        side is None or anatomy.name not in ontology.ancestors(side) for side in (anatomy.left, anatomy.right)
    ):
        return
    for term in (anatomy.name, *anatomy.synonyms, *anatomy.adjectives):
        words = fold(term)
        plurals = inflections(words, singular=False)
        if set(inflections(words)) - set(plurals):
            yield words  # has a singular, so is a plural: "lungs"
        else:
            yield from (form for form in plurals[1:] if form[-1] not in _SEVERAL_A_SIDE)


def _words_of_both(ontology: Ontology, sided: dict[int, int]) -> set[str]:
    """Single words that stand for anatomies of either side: "biapical"."""
    claims = Counter(
        (words[0], sided[number])
        for number, anatomy in enumerate(ontology)
        if number in sided
        for words in map(fold, anatomy.adjectives)
        if len(words) == 1
    )
    return {word for word, side in claims if side == LEFT and claims[word, RIGHT]}


def _clauses(tokens: Sequence[str], elements: list[_Element]) -> list[list[_Element]]:
    """Elements parted at clause borders; one without mentions ("..., mostly left") joins the last."""
    clauses: list[list[_Element]] = [[]]
    mentions = sides = False  # whether the last clause has any
    for element in elements:
        if mentions and _is_border(tokens, clauses[-1][-1], element, sides):
            clauses.append([])
            mentions = sides = False
        clauses[-1].append(element)
        mentions, sides = mentions or element.mention is not None, sides or bool(element.sides)
    joined: list[list[_Element]] = []
    for clause in clauses:
        if joined and all(element.mention is None for element in clause):
            joined[-1].extend(clause)
        else:
            joined.append(clause)
    return joined


def _is_border(tokens: Sequence[str], last: _Element, element: _Element, sided: bool) -> bool:
    """Whether a clause, `sided` or not so far, ends between its last element and the next one."""
    between = tokens[last.end : element.start]
    if last.mention is None and _is_numbering(between):
        return False  # "the left 4th, 5th and 6th ribs"
    if last.conjunct and not element.spoken and not _JOINING.isdisjoint(between):
        return False  # "the right upper, middle and lower lobes"
    if not _HARD_MARKS.isdisjoint(between):
        return True
    coordinator = next((k for k, token in enumerate(between) if token in _COORDINATORS), None)
    if coordinator is None:
        return False
    if not _DETERMINERS.isdisjoint(between[coordinator + 1 : coordinator + 2]):
        return True
    if not element.sides or not sided:
        return False
    # "in the left and right lower lobes" is one place,
    # "on the left and right basilar atelectasis" are two things.
    return not (last.mention is None and element.mention is None and len(between) == 1) or _is_alone(
        tokens, last
    )


def _is_numbering(tokens: Sequence[str]) -> bool:
    """Whether the tokens are a list of numbers, "4th, 5th and 6th"."""
    rest = [token for token in tokens if token not in _JOINING]
    return bool(rest) and all(token[0].isdigit() or token in _ORDINALS for token in rest)


def _is_alone(tokens: Sequence[str], element: _Element) -> bool:
    """Whether a side's word is a noun ("on the left") by what stands before it."""
    start = element.start
    if start and tokens[start - 1] == "the":
        start -= 1
    return start > 0 and tokens[start - 1] in ("on", "to")


def _follows_preposition(tokens: Sequence[str], element: _Element) -> bool:
    start = element.start
    while start and tokens[start - 1] in ("the", "a", "both"):
        start -= 1
    return start > 0 and tokens[start - 1] in _PREPOSITIONS


def _assign(tokens: Sequence[str], clause: list[_Element], sides: list[int]) -> None:
    """Give the mentions of one clause their sides, in place."""
    waiting: list[int] = []  # mentions so far that no side's word has claimed
    last: int | None = None
    active = 0  # the side that goes with the mentions to come
    only_beside = False  # whether "and" ends that
    position = 0
    while position < len(clause):
        element = clause[position]
        between = tokens[clause[position - 1].end : element.start] if position else ()
        if not _BARRIERS.isdisjoint(between):
            waiting = []
        if element.mention is not None and not element.sides:
            if only_beside and not _COORDINATORS.isdisjoint(between):
                active = 0
            sides[element.mention] = active
            last = element.mention
            if not active:
                waiting.append(element.mention)
            position += 1
            continue
        stop, found = position + 1, element.sides
        while element.mention is None and stop < len(clause) and clause[stop].mention is None:
            found |= clause[stop].sides
            stop += 1
        claims_back, claims_on = _reach(tokens, clause, position, stop)
        for mention in waiting if claims_back else ():
            sides[mention] = found
        if last is not None and not waiting and not claims_on:
            sides[last] |= found  # "Large right effusion, small on the left."
        if element.mention is not None:
            sides[element.mention] = found
            last = element.mention
        active = found if claims_on or not waiting else 0
        # "Bibasilar pleural thickening", but not "bibasilar atelectasis and effusion".
        only_beside = not element.spoken and not element.conjunct
        waiting = []
        position = stop


def _reach(tokens: Sequence[str], clause: list[_Element], start: int, stop: int) -> tuple[bool, bool]:
    """Whether the side of clause[start:stop] goes with the mentions before it, and with those after it."""
    element, last = clause[start], clause[stop - 1]
    if element.mention is not None:
        return _follows_preposition(tokens, element), True
    following = tokens[last.end] if last.end < len(tokens) else None
    if stop == len(clause):
        return True, False
    if following is None or following in _FUNCTION_WORDS or is_punctuation(following):
        return True, False
    compared = "than" in tokens[element.end : last.start]
    return compared or _follows_preposition(tokens, element), True
