"""Whether a mention is affirmed, negated or uncertain: trigger phrases and their scopes, like ConText.

After Harkema et al. 2009 (ConText) and Chapman et al. 2001 (NegEx): a pre-trigger reaches forward to the end
of its clause, a post-trigger backward to its start; a pseudo-trigger looks like a trigger and is none;
termination terms end a clause. The trigger lists are our own, written for radiology reports.
"""

import re
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
    text = _flatten(sentence)
    triggers = [_Trigger(str(m.lastgroup).split("_", 1)[1], *m.span()) for m in _TRIGGER.finditer(text)]
    scopes = [(t, _scope(t, triggers, text)) for t in triggers if t.kind not in ("pseudo", "end")]
    return [_status(span, scopes) for span in spans]


def _flatten(sentence: str) -> str:
    """Lower the case and turn all white space and hyphens into blanks, character for character."""
    lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in sentence)
    return re.sub(r"[\s\-]", " ", lowered)


def _scope(trigger: _Trigger, triggers: list[_Trigger], text: str) -> Span:
    """Return the part of the text that a trigger governs."""
    if trigger.kind.startswith("pre_"):
        return trigger.end, _forward_end(trigger, triggers, text)
    return _backward_start(trigger, triggers, text), trigger.start


def _forward_end(trigger: _Trigger, triggers: list[_Trigger], text: str) -> int:
    """Return where the clause after a pre-trigger ends."""
    ends = [t.start for t in triggers if t.kind == "end" and t.start >= trigger.end]
    if trigger.kind == "pre_uncertain":
        # "Possible A, B": a comma ends what is only possible, "or" does not. A negation starts anew.
        comma = re.search(r",(?! ?or )", text[trigger.end :])
        ends += [trigger.end + comma.start()] if comma else []
        ends += [t.start for t in triggers if t.kind == "pre_negated" and t.start >= trigger.end]
    return min(ends, default=len(text))


def _backward_start(trigger: _Trigger, triggers: list[_Trigger], text: str) -> int:
    """Return where the clause before a post-trigger starts: after the last verb, end or trigger."""
    starts = [
        t.end
        for t in triggers
        if t.kind in ("end", "post_negated", "post_uncertain") and t.end <= trigger.start
    ]
    starts += [m.end() for m in _FINITE_VERB.finditer(text, 0, trigger.start)]
    return max(starts, default=0)


def _status(span: Span, scopes: list[tuple[_Trigger, Span]]) -> str:
    kinds = {
        t.kind for t, (start, end) in scopes if span[0] < end and span[1] > start and not _within(span, t)
    }
    if any(kind.endswith("negated") for kind in kinds):
        return NEGATED
    return UNCERTAIN if kinds else AFFIRMED


def _within(span: Span, trigger: _Trigger) -> bool:
    """Whether the trigger is a part of the mention itself."""
    return span[0] <= trigger.start and trigger.end <= span[1]
