"""RaTEScore of 1,000 pairs of report texts, line by line: RadIR beside the package, with the same models.

    python benchmarks/score.py --open-i DIR > benchmarks/results/score.md

The models are made here, tiny and with random weights, the same folders for both; they are loaded before the
clock runs. So the figures are those of all work *around* the models (sentences, tokenising, spans, pairs, the
arithmetic); for the models' own share, the page counts the pieces that go through them. Seconds are CPU
seconds of one thread, the best of several runs.
"""

import argparse
import csv
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from loguru import logger
from machine import machine
from safetensors.torch import load_file, save_file

from dataset_scripts.relevance.entities import ENTITY_TYPES
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.neural.extractor import RateScoreExtractor
from dataset_scripts.relevance.text_scores import score_all_pairs, score_texts
from tests.made_up.rate_models import save_encoder, save_ner

PAIRS = 1_000
MANY = 1_000_000
TOLERANCE = 1e-5

PAGE = """# Scoring {pairs:,} pairs of Open-i findings, {machine}

`python benchmarks/score.py --open-i ../shared/data/open-i`

{pairs:,} findings sections as references, the next {pairs:,} as candidates, line by line; {unique:,} of the
{texts:,} texts are different. RaTEScore {package} and RadIR read the same two tiny models with random
weights (1 and 2 layers, 32 wide), loaded before the clock runs, on one CPU thread. CPU seconds, best of
{runs} (package) and {our_runs} (RadIR). Load of the machine before and after: {before:.1f}, {after:.1f}.

| | seconds | pairs a second | ratio |
| --- | ---: | ---: | ---: |
{table}

Largest difference of a score from the package's: {worst:.1e} over the {sound:,} pairs in which every entity
has one nearest match; {tied_worst:.1e} over the {tied:,} others, where entities of two types are equally near
and the package leaves the choice to torch.topk.

What these figures mean: with models this small most of the time is the work around them (sentences,
tokenising, calls), so the ratio is what batching and de-duplication save there, not what a user of the real
models (both of base size, 768 wide) sees. With those nearly all of the time is the models', and these are the
pieces that go through them:

| pieces | package | RadIR | ratio |
| --- | ---: | ---: | ---: |
| sentences through the NER | {sentences:,} | {unique_sentences:,} | {sentence_ratio:.1f} |
| entity texts through the encoder | {entities:,} | {unique_entities:,} | {entity_ratio:.1f} |
| calls of the encoder | {calls:,} | {our_calls:,} | {call_ratio:.0f} |

The entities are those of a random NER: other texts, in other numbers, than a trained one finds.

## The lexical scorer, without any model

| | seconds | pairs a second |
| --- | ---: | ---: |
{lexical}
"""


def main() -> None:
    """Measure and print the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--open-i", type=Path, required=True, help="folder with indiana_reports.csv")
    parser.add_argument("--runs", type=int, default=2, help="of the package")
    parser.add_argument("--our-runs", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logger.disable("PyRuSH")
    texts = read_findings(args.open_i)
    references, candidates = texts[:PAIRS], texts[PAIRS : 2 * PAIRS]
    before = os.getloadavg()[0]
    facts = compare(candidates, references, args.runs, args.our_runs)
    facts["lexical"] = lexical_table(candidates, references, texts, args.our_runs)
    facts |= {"pairs": PAIRS, "machine": machine(), "package": version("RaTEScore"), "texts": 2 * PAIRS}
    facts |= {"unique": len(set(references + candidates))}
    facts |= {"runs": args.runs, "our_runs": args.our_runs, "before": before, "after": os.getloadavg()[0]}
    sys.stdout.write(PAGE.format(**facts))


def read_findings(folder: Path) -> list[str]:
    """The findings sections that are not empty, in the file's order."""
    with (folder / "indiana_reports.csv").open(newline="", encoding="utf-8") as file:
        found = [row["findings"] for row in csv.DictReader(file) if row["findings"].strip()]
    if len(found) < 2 * PAIRS:
        raise SystemExit(f"{folder} has {len(found)} findings sections, {2 * PAIRS} are needed")
    return found


def compare(candidates: Sequence[str], references: Sequence[str], runs: int, our_runs: int) -> dict[str, Any]:
    """Score the pairs by the package and by RadIR; return what the page says of it."""
    from RaTEScore import RaTEScore

    with tempfile.TemporaryDirectory() as folder:
        ner, encoder = make_models(Path(folder), [*candidates, *references])
        scorer = RateScoreExtractor(ner=ner, encoder=encoder, device="cpu")
        score_texts(candidates[:2], references[:2], scorer)  # loads the models
        seconds_here, scores = best(lambda: score_texts(candidates, references, scorer), our_runs)
        rows = []
        for size in (1, 64):
            package = RaTEScore(bert_model=ner, eval_model=encoder, batch_size=size, use_gpu=False)
            seconds, theirs = best(partial(package.compute_score, list(candidates), list(references)), runs)
            name = f"package, batch_size={size}" + (", its default" if size == 1 else "")
            rows.append((name, seconds))
        facts = pieces(scorer, candidates, references)
        sound = untied(scorer, candidates, references)
    rows.append(("RadIR", seconds_here))
    table = [
        f"| {name} | {seconds:.2f} | {len(scores) / seconds:,.0f} | {rows[0][1] / seconds:.1f} |"
        for name, seconds in rows
    ]
    gaps = np.abs(scores - np.array(theirs))
    return facts | {
        "table": "\n".join(table),
        "worst": gaps[sound].max(),
        "sound": int(sound.sum()),
        "tied": int((~sound).sum()),
        "tied_worst": gaps[~sound].max(initial=0.0),
    }


def make_models(folder: Path, texts: Sequence[str]) -> tuple[str, str]:
    """A tiny NER and a tiny encoder that know the texts' words.

    Without attention, a word has the same label in every sentence: a trained NER seldom gives one text two
    types, one with random weights often, and equal entities of two types tie.
    """
    words = sorted({word for text in texts for word in re.findall("[A-Za-z]+", text)})
    ner = save_ner(folder / "ner", seed=1, words=words, layers=1)
    encoder = save_encoder(folder / "encoder", seed=2, words=words)
    tensors = load_file(ner / "model.safetensors")
    for name in (name for name in tensors if "attention.output.dense.weight" in name):
        tensors[name].zero_()
    save_file(tensors, ner / "model.safetensors", metadata={"format": "pt"})
    return str(ner), str(encoder)


def untied(scorer: RateScoreExtractor, candidates: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(n,) bool: pairs in which no entity has nearest matches, to 1e-5, of two types."""
    sides = []
    for texts in (candidates, references):
        found = scorer.extract(texts)
        vectors = scorer.embed([entity.text for text in found for entity in text]).astype(float)
        edges = np.cumsum([len(text) for text in found])[:-1]
        types = [np.array([ENTITY_TYPES.index(entity.type) for entity in text], int) for text in found]
        sides.append(list(zip(np.split(vectors, edges), types, strict=True)))
    return np.array([not _ties(*left, *right) for left, right in zip(*sides, strict=True)])


def _ties(left: np.ndarray, left_types: np.ndarray, right: np.ndarray, right_types: np.ndarray) -> bool:
    cosines = left @ right.T
    for nearness, others in ((cosines, right_types), (cosines.T, left_types)):
        near = nearness > nearness.max(axis=1, keepdims=True, initial=-1) - TOLERANCE
        if any(len(set(others[row])) > 1 for row in near):
            return True
    return False


def pieces(
    scorer: RateScoreExtractor, candidates: Sequence[str], references: Sequence[str]
) -> dict[str, Any]:
    """What goes through the models: all pieces in the package, different ones in RadIR."""
    texts = [*candidates, *references]
    sentences = [sentence for text in scorer.split(texts) for sentence in text]
    found = scorer.extract(texts)
    entities = [entity.text for text in found for entity in text]
    calls, our_calls = sum(map(bool, found)), -(-len(set(entities)) // 64)
    return {
        "sentences": len(sentences),
        "unique_sentences": len(set(sentences)),
        "sentence_ratio": len(sentences) / len(set(sentences)),
        "entities": len(entities),
        "unique_entities": len(set(entities)),
        "entity_ratio": len(entities) / len(set(entities)),
        "calls": calls,
        "our_calls": our_calls,
        "call_ratio": calls / our_calls,
    }


def lexical_table(
    candidates: Sequence[str], references: Sequence[str], texts: Sequence[str], runs: int
) -> str:
    """The speed of the lexical scorer: the same pairs, a million drawn pairs, and all with all."""
    rng = np.random.default_rng(0)
    drawn = [[texts[i] for i in rng.integers(0, len(texts), size=MANY)] for _ in range(2)]
    scorer = LexicalExtractor()
    score_texts(candidates[:2], references[:2], scorer)
    score_all_pairs(candidates[:2], references[:2], scorer)  # compiles the kernel
    jobs: dict[str, tuple[int, Callable[[], Any]]] = {
        f"{PAIRS:,} pairs, line by line": (PAIRS, lambda: score_texts(candidates, references, scorer)),
        f"{MANY:,} pairs drawn of all texts": (MANY, lambda: score_texts(drawn[0], drawn[1], scorer)),
        f"all {PAIRS:,} x {PAIRS:,}": (PAIRS**2, lambda: score_all_pairs(candidates, references, scorer)),
    }
    lines = []
    for name, (count, job) in jobs.items():
        seconds, _ = best(job, runs)
        lines.append(f"| {name} | {seconds:.2f} | {count / seconds:,.0f} |")
    return "\n".join(lines)


def best(job: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """The least CPU seconds of several runs, and what the last one returned."""
    taken = []
    for _ in range(runs):
        started = time.process_time()
        found = job()
        taken.append(time.process_time() - started)
    return min(taken), found


if __name__ == "__main__":
    main()
