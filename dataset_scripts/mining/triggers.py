"""Trigger phrases: words that deny, doubt or date what a sentence mentions, and those that end their reach.

After Harkema et al. 2009 (ConText) and Chapman et al. 2001 (NegEx): a pre-trigger reaches forward, a
post-trigger backward; a pseudo-trigger looks like a trigger and is none; termination terms end a clause. The
lists are our own, written for radiology reports.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

_ADVERB = (
    r"(?:(?:definite(?:ly)?|clearly|previously|well|longer|currently|significantly|really|now|today|yet|"
    r"confidently|specifically) )?"
)
_SEEN = (
    r"(?:seen|identified|visuali[sz]ed|observed|detected|noted|found|present|appreciated|demonstrated"
    r"|evident|"
    r"apparent|visible|shown|discernible|distinguished|encountered|selected|included|suspected|confirmed|"
    r"appreciable|detectable|convincing|recogni[sz]ed|there)"
)
_CHANGE_WORD = (
    r"(?:significant|interval|substantial|appreciable|definite|marked|major|obvious|relevant|real|further|"
    r"convincing|discernible|overall|gross|notable|detectable|visible|clear|evidence of|large|great"
    r"|radiographic)"
)
# What happens to a finding that is there: to deny it does not deny the finding.
_CHANGE = (
    r"(?:changes?|increases?|decreases?|progression|improvement|worsening|resolution|clearing|regression|"
    r"deterioration|reduction|growth|diminution|evolution|migration|re-?expansion|recurrence of"
    r"|redistribution of)"
)
_CHANGED = (
    r"(?:changed|increased|decreased|progressed|improved|worsened|resolved|cleared|grown|diminished"
    r"|regressed|"
    r"altered|receded|re ?expanded|evolved|moved|shifted since|disappeared|gone away)"
)
_MUCH = (
    r"(?:significantly|appreciably|substantially|definitely|completely|fully|entirely|yet|markedly|totally"
    r"|much|"
    r"really|clearly|greatly|notably|obviously|been|as|materially)"
)
_SHOW = (
    r"(?:show|demonstrate|reveal|have|display|suggest|see|identify|detect|appreciate|exhibit|contain"
    r"|visuali[sz]e|"
    r"indicate|include)"
)
_SIGNS = r"(?:evidence|signs?|findings?|indication|suggestion|suspicion|features?|stigmata|manifestations?)"
_CANNOT = r"(?:cannot|can not|can t|could not|couldn t)"
_EXCLUDED = r"(?:excluded|ruled out|discounted)"
_MAY = r"(?:may|might|could|can|would)"
_BE = r"(?:is|are|was|were|be|been|being|remains?|appears?)"
_HAVE = r"(?:has|have|had)"
_NOT = r"(?:not|n t|isn t|aren t|wasn t|never)"
_NEW_SUBJECT = r"(?:the|there|this|it|s?he|they|these|those|that)"
_EARLIER = (
    r"(?:prior|priors|previous|previously|earlier|old|comparison|preceding|last|antecedent|recent|available|"
    r"pre ?operative|outside)"
)
_STUDY = (
    r"(?:stud(?:y|ies)|exam(?:ination)?s?|films?|images?|imaging|radiographs?|comparisons?|x ?rays?|cts?"
    r"|scans?|"
    r"cxrs?|priors?|views?|reports?|examination|radiography|mri|mammograms?|chest (?:x ray|radiograph|film"
    r"|ct))"
)
_BARE = (
    r"(?:none|absent|nil|no|negative|neg|not (?:present|seen|identified|detected|visuali[sz]ed|evident|noted|"
    r"appreciated|demonstrated|apparent|observed|found|visible)|excluded|ruled out|unlikely|resolved|denied|"
    r"without|n / a|no evidence(?: (?:of|for) (?:this|it|such|same|any))?)(?: (?:seen|identified|detected"
    r"|noted|present|evident|visuali[sz]ed|found|visible|now|today|currently))?"
)
_END_OF_PART = r"(?= [,;:)/(~]| ?$| and | with )"
_IN_PART = (
    r"(?:partial(?:ly)?|partly|incomplete(?:ly)?|near(?:ly)?|almost|mostly|largely|slowly|some|gradually|"
    r"minimally)"
)
_WHOLLY = rf"(?!{_IN_PART} )\w+ly"

# Kind and patterns. Where two start at the same place the earlier wins, so the longer and the exceptions come
# first.
_TRIGGERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "pseudo",  # looks like a negation, is none
        (
            rf"(?:no|without(?: any)?|not any|nor|neither) (?:{_CHANGE_WORD} )*{_CHANGE}(?: (?:in|of|to"
            rf"|from|since))?",
            rf"(?:no|without) (?:{_CHANGE_WORD} )*(?:interval|significant|further|subsequent) (?:enlargement|"
            r"development of worsening|extension|expansion|enlarging)(?: of)?",
            rf"(?:{_HAVE} |{_BE} )?{_NOT} (?:{_MUCH} )*{_CHANGED}",
            rf"(?:{_HAVE} |{_BE} )?(?:{_NOT}|never) (?:clearly |definitely |well )?{_SEEN} (?:on|in|at|from"
            rf"|during) (?:the |her |his |any |"
            rf"a |their |most )*{_EARLIER}",
            rf"(?:{_HAVE} |{_BE} )?(?:{_NOT}|never) (?:{_EARLIER} {_SEEN}|{_SEEN} (?:previously|before"
            rf"|earlier|priorly|then))",
            rf"(?:{_HAVE} |{_BE} )?(?:absent|nil|not there) (?:on|in|at) (?:the |her |his |any |their )*"
            rf"{_EARLIER}",
            r"not (?:only|necessarily|certain(?:ly)?|previously (?:seen|identified|present|noted))",
            rf"(?:no|without) (?:{_EARLIER} )*{_EARLIER}(?: (?:chest|relevant|similar|\w+ray))*(?: {_STUDY})+"
            r"(?: (?:\w+ ){0,2}?(?:for comparison|available|to compare))?",
            rf"(?:no|without) (?:{_EARLIER}|{_STUDY})(?: \w+){{0,3}}? (?:for comparison|available"
            rf"|to compare)",
            r"no priors?(?= [,;:.]| ?$)|no comparisons?(?= [,;:.]| ?$)",
            rf"(?:non ?|not )diagnostic|no doubt|without (?:difficulty|complications?)|no further {_STUDY}",
            rf"(?:{_HAVE} |{_BE} )?(?:been |now )?{_IN_PART}(?: complete(?:ly)?)? "
            r"(?:resolved|cleared|resolution|clearing|resolving)(?: of)?",
            r"(?:unresolved|un ?improved|unresolving|non ?resolving)",
            r"no longer (?:as )?(?:large|big|small|mild|moderate|severe|extensive|prominent|marked|tiny"
            r"|massive|dense|"
            r"conspicuous|sizeable|sizable|significant|huge)",
        ),
    ),
    (
        "post_uncertain",
        (
            rf"{_CANNOT} (?:be )?(?:\w+ )?(?:be )?{_EXCLUDED}",
            rf"{_BE} (?:difficult|hard|impossible) to (?:exclude|rule out)",
            rf"(?:(?:{_BE}|has|have) )?(?:not|n t|isn t|aren t) (?:been )?(?:\w+ )?{_EXCLUDED}",
            rf"{_BE} not (?:\w+ )?unlikely",
        ),
    ),
    (
        "pre_uncertain",
        (
            rf"(?:{_CANNOT}|not|difficult to|hard to|impossible to|unable to|do not|does not) (?:\w+ )?"
            r"(?:exclude|rule out)",
            r"(?:to|please) (?:exclude|rule out)|rule out|evaluate for|assess for|(?:exclude"
            r"|rule out)(?= \w+ ?$)",
        ),
    ),
    (
        "post_negated",
        (
            rf"[:?(,/~] (?:there (?:is|are) |is |are )?{_BARE}{_END_OF_PART}",
            rf"(?:{_BE} )?(?:{_NOT}|no longer|never) (?:been )?{_ADVERB}(?:be )?{_SEEN}(?! on {_EARLIER})",
            rf"(?:{_CANNOT}|has not|have not|hasn t|haven t) (?:be|been) {_ADVERB}{_SEEN}",
            rf"(?:{_HAVE}|{_BE}) (?:since |now |been |both |all |{_WHOLLY} )*(?:resolved|cleared|disappeared|"
            r"gone(?! (?:from|to|up|down|on|back) )|vanished|subsided|evacuated)|resolved|disappeared",
            rf"no longer{_END_OF_PART}",
            rf"(?:{_BE}|{_HAVE})(?: now| been| also| therefore| thus| both| all| {_WHOLLY})* (?:{_EXCLUDED}"
            rf"|absent|negative(?! for)|"
            r"nil|none|unlikely|(?:felt|considered|thought) (?:to be )?(?:very |highly )?unlikely"
            r"|very unlikely|"
            r"highly unlikely)",
            rf"(?:absent|unlikely|nil|none|excluded|ruled out|negative|neg){_END_OF_PART}",
            r"(?:has|have|had) (?:been )?(?:removed|withdrawn|pulled(?! back)|discontinued)"
            r"|(?:was|were|been) (?:removed|pulled(?! back)|discontinued)|removed(?= [,;:.)]| ?$)",
        ),
    ),
    (
        "pre_negated",
        (
            rf"(?:(?:do|does|did|{_BE}|has|have) not|(?:do|doe|did|is|are|was|were|has|have)(?:s|sn"
            rf"|n)? t) {_ADVERB}"
            rf"(?:any )?{_SHOW}(?:ed|n)?",
            rf"fail(?:s|ed)? to {_SHOW}|not (?:at all )?(?:consistent|compatible|in keeping) with"
            rf"|inconsistent with",
            rf"no (?:\w+ ){{0,3}}?{_SIGNS} (?:of|for|to suggest|suggesting|suggestive of|to indicate)",
            r"nothing (?:\w+ ){0,2}?(?:to suggest|to indicate|suggest\w*(?: of)?|suspicious for|of)"
            r"|no suspicion for",
            r"(?:negative|neg|low (?:suspicion|probability|likelihood)) (?:\w+ ){0,3}?for",
            rf"without (?:\w+ )?{_SIGNS} (?:of|for|to suggest)",
            r"(?:free|clear|absence|lack|devoid|void|(?:complete |interval |full )*(?:resolution|clearing)"
            r"|removal) of",
            r"den(?:y|ies|ied|ying)|exclud(?:es|ing) (?!\w+ to)|rul(?:es|ing) out|exclusion of",
            r"rather than|instead of|as opposed to|ruled out for|unlikely to (?:be|represent|reflect)"
            r"|neither|nor",
            r"unlikely(?: to)?|no longer (?:any )?(?:seen|visible|evident|present|identified)?"
            r"|without(?: any)?|never|"
            r"not|no|cannot|nil|non|isn t|aren t|wasn t|weren t|absent(?= \w)",
        ),
    ),
    (
        "post_uncertain",
        (
            rf"{_BE} (?:(?:also|still) )?(?:possible|suspected|question(?:ed|able)|likely|probable"
            rf"|equivocal|uncertain|"
            r"conceivable)",
            rf"{_BE} (?:a )?(?:consideration|in the differential|favou?red|possibilit(?:y|ies)|a concern)",
            r"(?:may|might|could) be (?:present|considered|developing|questioned)",
            r"(?:not|difficult to) (?:be )?(?:\w+ )?(?:entirely |completely )?(?:assess|evaluate)d?",
            r"(?:suspected|questioned|questionable|possible|probable|suspect)(?= [,;:)]| ?$)|\?(?= ?$"
            r"| [,;)])",
        ),
    ),
    (
        "pre_historical",
        (
            r"(?:past |prior |previous |known |remote |personal |clinical |medical |surgical )*(?:history"
            r"|hx)(?: of| significant for"
            r"| notable for| is significant for)?|status post|s p|treated|prior treated",
            r"(?:prior|previous)(?= (?!stud|exam|film|imag|radiograph|comparison|ct|x|chest|mri|scan"
            r"|report|one|day|cxr))",
        ),
    ),
    (
        "pre_uncertain",
        (
            rf"{_MAY} (?:\w+ )?(?:represent|reflect|indicate|be|suggest|relate|correspond|have|signify)",
            r"suggest(?:s|ed|ive|ing|ion)?(?: of)?|suspicious for|concern(?:ing)? for|worrisome for"
            r"|worry for",
            r"possib(?:le|ly|ility)(?: of)?|probabl[ey]|(?:most )?likely|presum(?:ed|ably|ptive)|perhaps"
            r"|maybe",
            r"question(?:able|ed)?(?: of)?|suspect(?:ed)?|suspicion (?:of|for)|query|potential(?:ly)?|\?",
            r"differential (?:diagnosis )?(?:includes?|considerations? includes?)|versus|vs|equivocal"
            r"|borderline for",
            r"favou?r(?:s|ed|ing)?(?: to represent)?|(?:raises?|raising) (?:the )?(?:possibility|question"
            r"|concern) (?:of|for)",
            r"(?:cannot|can not) (?:be )?differentiated? from|(?:as|if) clinically suspected",
        ),
    ),
    (
        "end",  # of a clause
        (
            r"but|however|although|though|except|aside from|apart from|other than|nevertheless|yet|still",
            r"besides|which|who|whose|because|since|due to|secondary to|as well as|otherwise|while|whereas",
            r"after|following|despite|given|compared|regardless|in spite of|on a background of"
            r"|in addition to|associated with",
            rf"(?:and|with) (?:{_NEW_SUBJECT}|an?)|there (?:{_BE}|has)|consistent with|in keeping with",
            r"in the (?:setting|context|presence) of|compatible with|presents? with|being|with",
            rf",(?= (?:and )?(?:{_NEW_SUBJECT}|stable|unchanged|persistent|with|status)(?!\w))",
            r"[;:]",
        ),
    ),
)


@dataclass(frozen=True)
class Trigger:
    """A trigger of a kind at tokens[start:end]."""

    kind: str
    start: int
    end: int


def _compile() -> re.Pattern[str]:
    """One pattern for all triggers; its group names end in their kinds."""
    patterns = [(kind, pattern) for kind, group in _TRIGGERS for pattern in group]
    named = [
        # A trigger is made of whole tokens.
        rf"(?P<t{i}_{kind}>(?:(?<=\s)|^)(?:{pattern})(?=\s|$))"
        for i, (kind, pattern) in enumerate(patterns)
    ]
    return re.compile("|".join(named))


_PATTERN = _compile()


def find_triggers(tokens: Sequence[str]) -> list[Trigger]:
    """The triggers of a sentence, in order, not overlapping."""
    text = " ".join(tokens)
    starts = []
    position = 0
    for token in tokens:
        starts.append(position)
        position += len(token) + 1
    found = []
    for match in _PATTERN.finditer(text):
        start, end = match.span()
        kind = str(match.lastgroup).split("_", 1)[1]
        found.append(Trigger(kind, bisect_left(starts, start), bisect_left(starts, end)))
    return found
