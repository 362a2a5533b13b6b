"""Whether a mention is present, absent, possible or historical: which triggers reach it.

A pre-trigger reaches forward to the end of its clause, a post-trigger backward to its start. A negation also
stops at the next finding where the words around that one affirm it: "no pneumothorax, small left effusion",
"no cavitation within the mass".
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from itertools import pairwise

from dataset_scripts.mining.tokens import words
from dataset_scripts.mining.triggers import Trigger, find_triggers

Span = tuple[int, int]

PRESENT, ABSENT, POSSIBLE, HISTORICAL = "present", "absent", "possible", "historical"
STATUSES = (PRESENT, ABSENT, POSSIBLE, HISTORICAL)

_SPACED = frozenset({"or", "nor"})
_COORDINATORS = frozenset({"and", "&"})
_MARKS = frozenset({",", "(", ")", ";", ":", "~"})
_SEGMENT_ENDS = _MARKS | _SPACED | _COORDINATORS | frozenset({"but", "with", "however"})
_FINITE_VERBS = words("""
    is are was were has have had show shows demonstrates demonstrate reveals reveal remains remain appears
    appear persists persist
""")
_ARTICLES = words("""
    a an the some there is are also only however and
""")
# Words in front of a finding that say it is there, even in a list that "or" goes on with.
_AFFIRMING = words("""
    small mild mildly moderate moderately trace minimal minimally tiny slight slightly stable unchanged
    persistent persisting residual known improved improving worsening worsened worse chronic old healed
    increased increasing decreased decreasing resolving redemonstrated again bilateral bibasilar biapical
    multiple several few scattered status postoperative calcified borderline subtle
""")
_DEVICE = "device"  # stands for the words in front of a device that has none
# Words that say so where no "or" follows: reports deny "large effusions" too.
_LEANING = words("""
    left right large severe extensive massive marked new dense patchy linear bandlike streaky diffuse hazy
    prominent enlarged moderately significant both rul rml rll lul lll interval probable possible likely
    tortuous low
""") | {_DEVICE}

_INSIDE = frozenset(
    {"within", "inside", "involving", "surrounding", "around", "about", "throughout", "affecting"}
)
_BESIDE = (
    words("""
    in of along at to from adjacent near through
""")
    | _INSIDE
)
_DEFINITE = words("""
    the this that these those its known left right his her
""")
# What a finding may have or lack: to deny it of a finding does not deny the finding.
_ATTRIBUTES = words("""
    displacement angulation cavitation cavitations calcification calcifications enhancement extension
    loculation loculations comminution spiculation fat bronchogram septation bronchograms septations
    layering tension necrosis invasion component impaction effect retropulsion distraction migration
    fragmentation malalignment kinking leak
""")
_REACHING = ("pre_negated", "pre_uncertain", "pre_historical", "post_negated", "post_uncertain")
_NEAREST = 4  # triggers; the first may be part of the mention, or reach one mention alone
_WINDOW = 60  # tokens that are looked at for the end of a list
_VERSUS = frozenset({"versus", "vs"})
_ADJECTIVES = frozenset({"resolved", "absent", "excluded"})
_NEXT_ONLY = frozenset({"prior", "previous", "non"})


def assert_status(
    tokens: Sequence[str],
    spans: Sequence[Span],
    subjects: Sequence[Span] = (),
    findings: Collection[Span] | None = None,
    devices: Collection[Span] = (),
) -> list[str]:
    """Say of each mention whether its sentence affirms, denies, doubts or dates it.

    Args:
        tokens: one sentence, from `tokens.tokenize`.
        spans: (start, end) of the mentions of findings, token numbers, in order, ``start < end``.
        subjects: (start, end) of the anatomies that the sentence names, in order.
        findings: those of the spans that name a finding, not only "abnormality"; all by default.
        devices: those of them that name a device, which a list of denied findings hardly goes on with.

    Returns:
        "present", "absent", "possible" or "historical" for each span; denial wins over time, and that over
        doubt.

    Raises:
        ValueError: a span is empty or lies outside the sentence.

    Example:
        >>> assert_status("no effusion , but possible atelectasis".split(), [(1, 2), (5, 6)])
        ['absent', 'possible']
    """
    for start, end in spans:
        if not 0 <= start < end <= len(tokens):
            raise ValueError(
                f"Span ({start}, {end}) is empty or outside the sentence of {len(tokens)} tokens"
            )
    if not spans:
        return []
    return StatusFinder(tokens, find_triggers(tokens), spans, subjects, findings, devices).statuses()


class StatusFinder:
    """The triggers of one sentence and what they reach.

    Args:
        tokens: the sentence.
        triggers: from `triggers.find_triggers`.
        spans, subjects, findings, devices: as of `assert_status`.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        triggers: Sequence[Trigger],
        spans: Sequence[Span],
        subjects: Sequence[Span] = (),
        findings: Collection[Span] | None = None,
        devices: Collection[Span] = (),
    ) -> None:
        self._tokens, self._spans, self._subjects = tokens, spans, subjects
        self._findings = frozenset(spans if findings is None else findings)
        self._devices = frozenset(devices)
        self._starts = [start for start, _ in spans]
        self.attributes: set[Span] = set()
        """Mentions that are denied of another finding: the cavitation in "no cavitation within the mass"."""
        self._triggers = triggers
        self._borders = _Borders(tokens, triggers)
        self._reach = {kind: self._reaches(kind) for kind in _REACHING}

    def statuses(self) -> list[str]:
        """The status of each span."""
        return [self.status(span) for span in self._spans]

    def status(self, span: Span) -> str:
        """The status of any span of the sentence."""
        kinds = {
            kind.split("_", 1)[1]
            for kind, reaches in self._reach.items()
            if any(_governs(kind, trigger, border, span) for trigger, border in _nearest(kind, reaches, span))
        }
        for kind, status in (("negated", ABSENT), ("historical", HISTORICAL), ("uncertain", POSSIBLE)):
            if kind in kinds:
                return status
        return PRESENT

    def _reaches(self, kind: str) -> list[tuple[Trigger, int]]:
        """The triggers of a kind, each with the border of what it reaches."""
        own = [trigger for trigger in self._triggers if trigger.kind == kind]
        if kind.startswith("post_"):
            if kind == "post_uncertain":  # "A versus B" doubts both
                own += [trigger for trigger in self._triggers if self._tokens[trigger.start] in _VERSUS]
                own.sort(key=lambda trigger: trigger.start)
            return [(trigger, self._borders.backward(trigger)) for trigger in own]
        found = []
        if kind == "pre_negated":  # "Resolved effusion": with nothing before it, it speaks of what follows
            found = [(trigger, self._behind_next(trigger.end)) for trigger in self._opening("post_negated")]
        for trigger in own:
            border = self._borders.forward(trigger)
            if self._tokens[trigger.start] in _NEXT_ONLY:
                border = min(border, self._behind_next(trigger.end))
            elif kind == "pre_negated":
                border = min(border, self._borders.next_negation(trigger))
                border = self._where_affirmed(trigger, border)
            found.append((trigger, border))
        return sorted(found, key=lambda reach: reach[0].start)

    def _opening(self, kind: str) -> list[Trigger]:
        """The triggers of a kind, adjectives, before which the clause names nothing."""
        return [
            trigger
            for trigger in self._triggers
            if trigger.kind == kind
            and self._tokens[trigger.start] in _ADJECTIVES
            and not any(self._borders.backward(trigger) < end <= trigger.start for _, end in self._spans)
        ]

    def _behind_next(self, place: int) -> int:
        """The end of the next mention."""
        number = bisect_left(self._starts, place)
        return self._spans[number][1] if number < len(self._spans) else len(self._tokens)

    def _where_affirmed(self, trigger: Trigger, border: int) -> int:
        """Where a negation stops: before the first finding that the words around it affirm."""
        for place in range(trigger.end, min(trigger.end + 4, border - 1)):
            if self._tokens[place] in _ATTRIBUTES and self._tokens[place + 1] in _BESIDE:
                return self._stop_inside(trigger, place + 1, border)
        first, last = bisect_left(self._starts, trigger.end), bisect_left(self._starts, border)
        listed = self._spans[first:last]
        for before, span in pairwise(listed):
            between = self._tokens[before[1] : span[0]]
            mark = next((k for k, token in enumerate(between) if token in _SEGMENT_ENDS), None)
            if mark is not None:
                if self._affirms(before[1] + mark, span, border):
                    return before[1] + mark
            elif before in self._findings and _is_inside(between):
                return self._stop_inside(trigger, before[1], border)
        return self._predicate(trigger, border)

    def _stop_inside(self, trigger: Trigger, place: int, border: int) -> int:
        """Stop at a place; what is denied before it is an attribute of the finding behind it."""
        if any(place <= start < border for start, _ in self._findings):
            self.attributes.update(span for span in self._spans if trigger.end <= span[0] < place)
        return place

    def _affirms(self, mark: int, span: Span, border: int) -> bool:
        """Whether the part of the sentence behind a mark says that its finding is there."""
        words = [token for token in self._tokens[mark : span[0]] if token not in _ARTICLES | _MARKS]
        if not words and span in self._devices and self._tokens[mark] == ",":
            words = [_DEVICE]
        if not words or words[0] in _SPACED:
            return False
        rest = self._tokens[span[1] : min(border, span[1] + _WINDOW)]
        # A list that ends in ", or" is denied as a whole, and so is one with "or" whose cue only leans.
        continues = any(token in _SPACED for token in rest)
        ends_list = any(a == "," and b in _SPACED for a, b in pairwise(rest))
        if any(word in _AFFIRMING for word in words[:3]):
            return not ends_list
        return any(word in _LEANING for word in words[:3]) and not continues

    def _predicate(self, trigger: Trigger, border: int) -> int:
        """Where, behind a comma, an anatomy and what it is open a clause of their own: ", heart enlarged"."""
        for start, end in self._subjects:
            if not trigger.end < start < border or self._tokens[start - 1] not in {",", "and"}:
                continue
            said = any(first == end or self._is_copula(end, first) for first in self._starts if first >= end)
            listed = not _SPACED.isdisjoint(self._tokens[start:border])
            if said and not listed and any(trigger.end <= first < start for first in self._starts):
                return start
        return border

    def _is_copula(self, start: int, stop: int) -> bool:
        """Whether only a verb and its adverbs stand between two places."""
        between = self._tokens[start:stop]
        return 0 < len(between) <= 3 and between[0] in _FINITE_VERBS


class _Borders:
    """Where clauses end and begin, each kind of place in order, so that one look-up finds the next."""

    def __init__(self, tokens: Sequence[str], triggers: Sequence[Trigger]) -> None:
        self._tokens = tokens
        self._ends = [t.start for t in triggers if t.kind == "end" or tokens[t.start] == "status"]
        self._negations = [t.start for t in triggers if t.kind == "pre_negated"]
        self._commas = [
            place
            for place, token in enumerate(tokens)
            if token in ",(" and not (token == "," and tokens[place + 1 : place + 2] == ["or"])
        ]
        self._closing = [place for place, token in enumerate(tokens) if token == ")"]
        self._starts = [t.end for t in triggers if t.kind in ("end", "post_negated", "post_uncertain")]
        self._verbs = [place + 1 for place, token in enumerate(tokens) if token in _FINITE_VERBS]

    def forward(self, trigger: Trigger) -> int:
        """Where the clause after a pre-trigger ends."""
        places = [self._ends]
        if trigger.kind != "pre_negated":
            # "Possible A, B": a comma ends what is only possible, "or" does not. A negation starts anew.
            places += [self._commas, self._negations]
        if "(" in self._tokens[: trigger.start]:
            places.append(self._closing)
        found = (place[n] for place in places if (n := bisect_left(place, trigger.end)) < len(place))
        return min(found, default=len(self._tokens))

    def next_negation(self, trigger: Trigger) -> int:
        """Where the next negation starts, which reaches on by itself."""
        number = bisect_left(self._negations, trigger.end)
        return self._negations[number] if number < len(self._negations) else len(self._tokens)

    def backward(self, trigger: Trigger) -> int:
        """Where the clause before a post-trigger starts: after the last verb, end or trigger."""
        places = (self._starts, self._verbs)
        return max((place[n - 1] for place in places if (n := bisect_right(place, trigger.start))), default=0)


def _nearest(kind: str, reaches: list[tuple[Trigger, int]], span: Span) -> list[tuple[Trigger, int]]:
    """The triggers next to a mention on the side that they reach from."""
    if kind.startswith("pre_"):
        number = bisect_left(reaches, span[0], key=lambda reach: reach[0].start)
        return reaches[max(0, number - _NEAREST) : number]
    number = bisect_left(reaches, span[0], key=lambda reach: reach[0].start)
    return reaches[number : number + _NEAREST]


def _governs(kind: str, trigger: Trigger, border: int, span: Span) -> bool:
    """Whether a trigger governs a mention; not where it is a part of the mention itself."""
    start, end = span
    if kind.startswith("pre_"):
        return trigger.start < start and trigger.end < end and start < border
    return trigger.end > end and trigger.start >= start and border < end


def _is_inside(between: Sequence[str]) -> bool:
    """Whether what stands before these words lies in what stands behind them: "within the mass"."""
    first = next((token for token in between[:2] if token in _BESIDE), None)
    return first is not None and (first in _INSIDE or not _DEFINITE.isdisjoint(between))
