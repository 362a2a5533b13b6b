"""Entity spans from the labels of a token classifier, by the rules of RaTEScore 0.6.0.

The rules read each label together with the next one; the label predicted on [SEP] is the "next" of the last
token. They differ from common IOB decoding where a label follows another without an O between them.
"""

from collections.abc import Sequence

from dataset_scripts.relevance.entities import ENTITY_TYPES

OUTSIDE = "O"
LABELS = (OUTSIDE, *(f"{part}-{name}" for name in ENTITY_TYPES for part in "BI"))
"""The labels of a model whose entities are RaTEScore's: O, and B- and I- of each of ``ENTITY_TYPES``."""

SPECIAL_TOKENS = ("[CLS]", "[SEP]")  # whose own labels open and close nothing


def entity_spans(labels: Sequence[str], special: Sequence[bool]) -> list[tuple[int, int, str]]:
    """Return the entity spans of one sentence.

    - B before I opens a span; B before B or O is an entity of one token.
    - I before B or O closes the open span, if there is one.
    - Before a B, the token itself stays open as the start of a span, which a B that follows replaces.
    - A span that is open at the end reaches to the last token before [SEP], but only if no label before a B
      came since the last O: the package then drops it.

    A span's type is that of its B.

    Args:
        labels: of all tokens, the special ones included; each one of ``LABELS``.
        special: whether each token is one of ``SPECIAL_TOKENS``; labels beyond these serve only as "next".

    Returns:
        (first token, last token, type) of each span, in the order in which they close.

    Example:
        >>> entity_spans(["O", "B-ANATOMY", "I-ANATOMY", "B-DISEASE", "O"], [True, False, False, False, True])
        [(1, 2, 'ANATOMY'), (3, 3, 'DISEASE')]
    """
    spans: list[tuple[int, int, str]] = []
    start, kind = None, ""
    after_b = False  # a span end stands from before a B
    for i in range(min(len(special), len(labels) - 1)):
        label, following = labels[i], labels[i + 1][0]
        if special[i] or label == OUTSIDE:
            continue
        if label[0] == "B":
            start, kind = i, label[2:]
        if following != "I" and start is not None:
            spans.append((start, i, kind))
        if following == "B":
            start, kind, after_b = i, label[2:], True
        elif following == "O":
            start, after_b = None, False
    if start is not None and not after_b:
        spans.append((start, len(special) - 2, kind))
    return spans
