"""Whether a mention is affirmed, negated or uncertain: trigger phrases and their scopes, like ConText.

After Harkema et al. 2009 (ConText) and Chapman et al. 2001 (NegEx): a pre-trigger reaches forward to the end
of its clause, a post-trigger backward to its start; a pseudo-trigger looks like a trigger and is none;
termination terms end a clause. The trigger lists are our own, written for radiology reports.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]

AFFIRMED, NEGATED, UNCERTAIN = "affirmed", "negated", "uncertain"

_ADVERB = r"(?:(?:definite(?:ly)?|clearly|previously|well|longer|currently|significantly|really) )?"
_SEEN = (
    r"(?:seen|identified|visuali[sz]ed|observed|detected|noted|found|present|appreciated|demonstrated|evident|"
    r"apparent|visible|shown|discernible|distinguished|encountered|selected|included|suspected|confirmed)"
)
_CHANGE_WORD = r"(?:significant|interval|substantial|appreciable|definite|marked|major|obvious|relevant|real)"
_CHANGE = r"(?:change|increase|decrease|progression)s?"
_CHANGED = r"(?:changed|increased|decreased|progressed|improved)"
_SHOW = r"(?:show|demonstrate|reveal|have|display|suggest|see|identify|detect|appreciate|exhibit|contain)"
_SIGNS = r"(?:evidence|signs?|findings?|indication|suggestion|suspicion|features?)"
_CANNOT = r"(?:cannot|can not|can't|could not)"
_EXCLUDED = r"(?:excluded|ruled out)"
_MAY = r"(?:may|might|could|can|would)"
_BE = r"(?:is|are|was|were)"
_NEW_SUBJECT = r"(?:the|there|this|it|s?he|they)"

# Kind and patterns. Where two start at the same place the earlier wins, so the longer and the exceptions come
# first.
_TRIGGERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "pseudo",  # looks like a negation, is none
        (
            rf"(?:no|without(?: any)?) (?:{_CHANGE_WORD} )*{_CHANGE}(?: (?:in|of))?",
            rf"not (?:significantly |appreciably |substantially )?{_CHANGED}",
            r"not (?:only|necessarily|certain(?:ly)?|previously (?:seen|identified|present|noted))",
            r"no (?:prior|previous|comparison|old)(?: \w+)? (?:stud(?:y|ies)|exam(?:ination)?s?|films?)",
            r"(?:non ?|not )diagnostic|no doubt|not resolved|without difficulty|no further",
        ),
    ),
    (
        "post_uncertain",
        (
            rf"{_CANNOT} (?:be )?(?:\w+ )?{_EXCLUDED}",
            rf"{_BE} (?:difficult|hard) to (?:exclude|rule out)",
            rf"(?:(?:{_BE}|has|have) )?not (?:been )?(?:\w+ )?{_EXCLUDED}",
        ),
    ),
    (
        "pre_uncertain",
        (
            rf"(?:{_CANNOT}|not|difficult to|hard to|impossible to) (?:\w+ )?(?:exclude|rule out)",
            r"(?:to|please) (?:exclude|rule out)|rule out|r ?/ ?o|evaluate for|assess for",
        ),
    ),
    (
        "post_negated",
        (
            rf"(?:{_BE} )?(?:not|no longer|never) (?:been )?{_ADVERB}(?:be )?{_SEEN}",
            rf"(?:cannot|can not|could not|has not|have not) (?:be|been) {_ADVERB}{_SEEN}",
            r"(?:has|have|had|is|are) (?:\w+ )?(?:resolved|cleared|disappeared)|resolved",
            rf"{_BE} (?:{_EXCLUDED}|absent|negative|unlikely|(?:felt|considered) (?:to be )?unlikely)",
            r"(?:absent|unlikely)(?= ?$|[.,;])|(?:has|have) (?:been )?removed",
        ),
    ),
    (
        "pre_negated",
        (
            rf"(?:do|does|did|{_BE}|has|have)(?: not|n't) {_ADVERB}(?:any )?{_SHOW}(?:ed|n)?",
            rf"fail(?:s|ed)? to {_SHOW}|not consistent with|inconsistent with|not compatible with",
            rf"no (?:\w+ ){{0,3}}?{_SIGNS} (?:of|for|to suggest)",
            r"(?:negative|low (?:suspicion|probability|likelihood)) (?:\w+ ){0,3}?for",
            rf"without (?:\w+ )?{_SIGNS} (?:of|for)",
            r"(?:free|clear|absence|lack|devoid|resolution|clearing|removal) of|den(?:y|ies|ied|ying)",
            r"rather than|instead of|as opposed to|ruled out for|unlikely to (?:be|represent)|neither|nor",
            r"no longer|without|never|not|no|cannot",
        ),
    ),
    (
        "post_uncertain",
        (
            rf"{_BE} (?:(?:also|still) )?(?:possible|suspected|question(?:ed|able)|likely|probable)",
            rf"{_BE} (?:a )?(?:consideration|in the differential|favou?red)",
            r"(?:may|might|could) be (?:present|considered)",
        ),
    ),
    (
        "pre_uncertain",
        (
            rf"{_MAY} (?:\w+ )?(?:represent|reflect|indicate|be|suggest|relate|correspond|have)",
            r"suggest(?:s|ed|ive|ing|ion)?(?: of)?|suspicious for|concerning for|concern for|worrisome for",
            r"possib(?:le|ly|ility)(?: of)?|probabl[ey]|(?:most )?likely|presum(?:ed|ably)|perhaps|maybe",
            r"question(?:able|ed)?(?: of)?|suspect(?:ed)?|suspicion (?:of|for)",
            r"differential (?:diagnosis )?includes?|versus|vs|equivocal|borderline for|favou?r(?:s|ed|ing)?",
        ),
    ),
    (
        "end",  # of a clause
        (
            r"but|however|although|though|except|aside from|apart from|other than|nevertheless|yet|still",
            r"besides|which|who|whose|because|since|due to|secondary to|as well as|otherwise|while|whereas",
            rf"(?:and|with) (?:{_NEW_SUBJECT}|an?)|there (?:{_BE}|has)|status post|s/p|consistent with",
            r"in the (?:setting|context|presence) of|compatible with|presents? with|being|with",
            rf", ?(?=(?:and )?(?:{_NEW_SUBJECT}|stable|unchanged|persistent|with|status)(?!\w))",
            r"[;:]|\.(?= |$)",
        ),
    ),
)


def _compile_triggers() -> re.Pattern[str]:
    """Return one pattern for all triggers; its group names end in their kinds."""
    patterns = [(kind, pattern) for kind, group in _TRIGGERS for pattern in group]
    named = [
        # A trigger is a whole word, unless it is punctuation.
        rf"(?P<t{i}_{kind}>(?:(?<!\w)(?=\w)|(?=[^\w\s]))(?:{pattern})(?:(?!\w)|(?<=[^\w])))"
        for i, (kind, pattern) in enumerate(patterns)
    ]
    return re.compile("|".join(named))


_TRIGGER = _compile_triggers()
_REACHING = ("pre_negated", "pre_uncertain", "post_negated", "post_uncertain")
_COMMA = re.compile(r",(?! ?or )")
_FINITE_VERB = re.compile(r"(?<!\w)(?:is|are|was|were|has|have|had|shows?|demonstrates?|reveals?)(?!\w)")


@dataclass(frozen=True)
class _Trigger:
    kind: str
    start: int
    end: int


def assert_status(sentence: str, spans: Sequence[Span]) -> list[str]:
    """Say of each mention in a sentence whether the sentence affirms or negates it, or leaves it uncertain.

    Args:
        sentence: one sentence.
        spans: (start, end) character offsets of the mentions, within the sentence, ``start < end``.

    Returns:
        "affirmed", "negated" or "uncertain" for each span; negation wins over uncertainty.

    Raises:
        ValueError: a span is empty or lies outside the sentence.

    Example:
        >>> assert_status("No effusion, but possible atelectasis.", [(3, 11), (26, 37)])
        ['negated', 'uncertain']
    """
    for start, end in spans:
        if not 0 <= start < end <= len(sentence):
            raise ValueError(
                f"Span ({start}, {end}) is empty or outside the sentence of {len(sentence)} characters"
            )
    if not spans:
        return []
    text = _flatten(sentence)
    triggers = [_Trigger(str(m.lastgroup).split("_", 1)[1], *m.span()) for m in _TRIGGER.finditer(text)]
    borders = _Borders(triggers, text)
    scopes = {kind: _Scopes(kind, triggers, borders) for kind in _REACHING}
    return [_status(span, scopes) for span in spans]


def _flatten(sentence: str) -> str:
    """Lower the case and turn all white space and hyphens into blanks, character for character."""
    lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in sentence)
    return re.sub(r"[\s\-]", " ", lowered)


class _Borders:
    """Where clauses end and begin, each kind of place in order, so that one look-up finds the next."""

    def __init__(self, triggers: list[_Trigger], text: str) -> None:
        self.ends = [t.start for t in triggers if t.kind == "end"]
        self.negations = [t.start for t in triggers if t.kind == "pre_negated"]
        self.commas = [m.start() for m in _COMMA.finditer(text)]
        self.starts = [t.end for t in triggers if t.kind in ("end", "post_negated", "post_uncertain")]
        self.verbs = [m.end() for m in _FINITE_VERB.finditer(text)]
        self.length = len(text)

    def forward_end(self, trigger: _Trigger) -> int:
        """Where the clause after a pre-trigger ends."""
        places = [self.ends]
        if trigger.kind == "pre_uncertain":
            # "Possible A, B": a comma ends what is only possible, "or" does not. A negation starts anew.
            places += [self.commas, self.negations]
        found = (place[n] for place in places if (n := bisect_left(place, trigger.end)) < len(place))
        return min(found, default=self.length)

    def backward_start(self, trigger: _Trigger) -> int:
        """Where the clause before a post-trigger starts: after the last verb, end or trigger."""
        places = (self.starts, self.verbs)
        return max((place[n - 1] for place in places if (n := bisect_right(place, trigger.start))), default=0)


class _Scopes:
    """The triggers of one kind and what they govern: forward for a pre-trigger, backward for a post-trigger.

    Triggers do not overlap, and later ones reach to later borders. Of all that might govern a span only the
    nearest need be looked at.
    """

    def __init__(self, kind: str, triggers: list[_Trigger], borders: _Borders) -> None:
        own = [t for t in triggers if t.kind == kind]
        self._is_forward = kind.startswith("pre_")
        self._starts, self._ends = [t.start for t in own], [t.end for t in own]
        self._borders = [
            borders.forward_end(t) if self._is_forward else borders.backward_start(t) for t in own
        ]

    def govern(self, span: Span) -> bool:
        """Whether any of them governs a mention, those apart that are a part of the mention itself."""
        start, end = span
        if self._is_forward:  # the last one that starts before the mention and ends within it or before it
            number = bisect_left(self._starts, start) - 1
            if number >= 0 and self._ends[number] >= end:
                number -= 1
            return number >= 0 and self._borders[number] > start
        # the first one that starts within the mention or behind it, and ends behind it
        number = max(bisect_right(self._starts, start), bisect_right(self._ends, end))
        return number < len(self._starts) and self._borders[number] < end


def _status(span: Span, scopes: dict[str, _Scopes]) -> str:
    kinds = [kind for kind, of_kind in scopes.items() if of_kind.govern(span)]
    if any(kind.endswith("negated") for kind in kinds):
        return NEGATED
    return UNCERTAIN if kinds else AFFIRMED
