"""`radir score` and `radir discover`: what can be asked of texts alone."""

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radir.commands.options import (
    AsJson,
    Encoder,
    Ner,
    RelevanceName,
    ScorerName,
    WhichCorpus,
    WhichRelevance,
    WhichScorer,
    corpus_of,
    make_scorer,
    print_json,
)


class AffinityName(StrEnum):
    """RaTEScore's matrices of type weights."""

    LONG = "long"
    SHORT = "short"


def score(
    candidates: Annotated[Path, typer.Argument(help="One text a line.")],
    references: Annotated[Path, typer.Argument(help="One text a line.")],
    scorer: WhichScorer = ScorerName.LEXICAL,
    ner: Ner = None,
    encoder: Encoder = None,
    relevance: WhichRelevance = RelevanceName.PAPER,
    corpus: WhichCorpus = None,
    affinity: Annotated[
        AffinityName | None,
        typer.Option(help="paper: long, for reports, is the default; short is for short texts."),
    ] = None,
    neg_weight: Annotated[
        float | None,
        typer.Option(help="paper: of contradictions; RaTEScore 0.6.0's by default, 0.3612 as in the paper."),
    ] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Every line with every line.")] = False,
    as_json: AsJson = False,
) -> None:
    """Relevance of two files of texts, line by line: RaTEScore, or by content."""
    from dataset_scripts.relevance.text_scores import score_files

    chosen = make_scorer(scorer, ner, encoder)
    counted = corpus_of(corpus, relevance, chosen)
    matrix = affinity.value if affinity else None
    options = (matrix, neg_weight, all_pairs, relevance.value, counted)
    scores = score_files(candidates, references, chosen, *options)
    if as_json:
        print_json({"relevance": relevance.value, "scores": scores})
        return
    for row in scores:
        typer.echo(" ".join(f"{value:.6f}" for value in (row if isinstance(row, list) else [row])))


def discover(
    radgraph: Annotated[
        list[Path] | None, typer.Option(help="RadGraph's JSON: files or folders; may be repeated.")
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="Reports to run the radgraph package on (extra radgraph).")
    ] = None,
    out: Annotated[Path, typer.Option(help="The CSV file to write.")] = Path("terms.csv"),
    min_count: Annotated[int, typer.Option(help="Leave out rarer terms.")] = 1,
    as_json: AsJson = False,
) -> None:
    """List the anatomy terms of a corpus by frequency, and which of them the ontology covers."""
    from dataset_scripts.mining import discovery
    from dataset_scripts.plumbing.outputs import claim

    if bool(radgraph) == (reports is not None):
        raise ValueError("give either --radgraph FILE_OR_DIR (RadGraph's JSON) or --reports FILE")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: give the name of the CSV file to write")
    with claim(out) as place:
        if reports is not None:
            documents = discovery.annotate(discovery.read_reports(reports), progress=not as_json)
            found = discovery.survey(documents, min_count=min_count)
        else:
            found = discovery.discover(radgraph or [], min_count=min_count, progress=not as_json)
        discovery.write_terms(found.terms, place)
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    typer.echo(
        f"{found.documents:,} reports, {found.mentions:,} mentions of anatomy, "
        f"{found.covered_share:.1%} covered; {out}: {len(found.terms):,} terms"
    )
