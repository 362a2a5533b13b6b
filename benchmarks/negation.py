"""Negation beside medspaCy's ConText on sentences with a marked condition and its status.

    python benchmarks/negation.py sentences.csv     # columns condition, sentence, status (affirmed | negated)

Both see the same sentence and the same span of the condition; "negated" is the positive class, and whatever a
method calls uncertain, historical or hypothetical counts as not negated. The condition is not masked.
NegEx's figures are those of its abstract (Chapman et al., J Biomed Inform 34:301-310, 2001,
doi:10.1006/jbin.2001.1029): other sentences, so they say what level to expect, not who wins.
"""

import argparse
import csv
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset_scripts.mining.abbreviations import expand
from dataset_scripts.mining.mentions import MentionFinder
from dataset_scripts.mining.ontology import default_ontology
from dataset_scripts.mining.status import ABSENT, assert_status
from dataset_scripts.mining.tokens import tokenize

# 1,235 findings and diseases in 1,000 sentences of discharge summaries, by the abstract: sensitivity 77.8%,
# specificity 94.5%, positive predictive value 84.5%.
NEGEX_2001 = {"affirmed": 0.945, "negated": 0.778, "precision": 0.845}

Judge = Callable[[str, tuple[int, int]], bool]


def read_cases(path: Path) -> tuple[list[tuple[str, tuple[int, int], bool]], int]:
    """Return (sentence, span, negated) of rows whose sentence has the condition, and the count of others."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = {"condition", "sentence", "status"} - set(rows[0] if rows else ())
    if missing:
        raise SystemExit(f"{path} lacks the columns {', '.join(sorted(missing))}")
    cases, dropped = [], 0
    for row in rows:
        sentence = " ".join(row["sentence"].split())
        condition = " ".join(row["condition"].split())
        # The marked mention is in capitals where the sentence has several.
        found = re.search(re.escape(condition.upper()), sentence) or re.search(
            re.escape(condition), sentence, re.IGNORECASE
        )
        if found is None:
            dropped += 1
            continue
        cases.append((sentence, found.span(), row["status"] == "negated"))
    return cases, dropped


FINDER = MentionFinder(default_ontology())


def radir(sentence: str, span: tuple[int, int]) -> bool:
    """Judge by ``dataset_scripts.mining.status``, beside the other findings of the sentence."""
    parts = [
        expand(tokenize(part)) for part in (sentence[: span[0]], sentence[slice(*span)], sentence[span[1] :])
    ]
    tokens = [token for part in parts for token in part]
    marked = (len(parts[0]), len(parts[0]) + len(parts[1]))
    mentions = FINDER.find_all(tokens)
    others = [(m.start, m.end) for m in mentions if m.term.sense is not None and m.term.sense.is_finding]
    others = [other for other in others if other[1] <= marked[0] or other[0] >= marked[1]]
    subjects = [(m.start, m.end) for m in mentions if m.term.sense is None and m.owners]
    spans = sorted([marked, *others])
    return assert_status(tokens, spans, subjects)[spans.index(marked)] == ABSENT


def medspacy_judge() -> Judge:
    """Return medspaCy's ConText with its own rules, as a judge."""
    import medspacy
    from loguru import logger

    logger.disable("PyRuSH")
    nlp = medspacy.load(medspacy_enable=["medspacy_pyrush", "medspacy_context"])
    context = nlp.get_pipe("medspacy_context")

    def judge(sentence: str, span: tuple[int, int]) -> bool:
        doc = nlp(sentence)
        target = doc.char_span(*span, label="CONDITION", alignment_mode="expand")
        doc.ents = (target,)
        context(doc)
        return bool(doc.ents[0]._.is_negated)

    return judge


def measure(judge: Judge, cases: list[tuple[str, tuple[int, int], bool]]) -> dict[str, float]:
    """Return the accuracy in all and per status, precision and F1 of negation, milliseconds a sentence.

    The accuracy of the negated is the recall (sensitivity) of negation, that of the affirmed its specificity.
    """
    started = time.perf_counter()
    said = [judge(sentence, span) for sentence, span, _ in cases]
    elapsed = time.perf_counter() - started
    true = [negated for _, _, negated in cases]
    hits = sum(s and t for s, t in zip(said, true, strict=True))
    precision = hits / max(1, sum(said))
    recall = hits / max(1, sum(true))
    return {
        "accuracy": sum(s == t for s, t in zip(said, true, strict=True)) / len(cases),
        "affirmed": sum(not s and not t for s, t in zip(said, true, strict=True)) / max(1, true.count(False)),
        "negated": recall,
        "precision": precision,
        "F1": 2 * precision * recall / max(1e-12, precision + recall),
        "ms/sentence": 1000 * elapsed / len(cases),
    }


def _cell(row: dict[str, float], name: str) -> str:
    return f"{row[name]:13.3f}" if name in row else f"{'-':>13}"


def main() -> None:
    """Print the table for both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sentences", type=Path, help="CSV with the columns condition, sentence, status")
    cases, dropped = read_cases(parser.parse_args().sentences)
    negated = sum(case[2] for case in cases)
    results = {
        "radir": measure(radir, cases),
        "medspaCy ConText": measure(medspacy_judge(), cases),
        "NegEx, as published": NEGEX_2001,
    }
    names = list(results["radir"])
    lines = [
        f"{len(cases)} sentences, {negated} negated; {dropped} rows without their condition left out",
        f"{'':20}" + "".join(f"{name:>13}" for name in names),
        *(f"{label:20}" + "".join(_cell(row, name) for name in names) for label, row in results.items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
