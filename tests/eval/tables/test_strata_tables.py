"""Tables beside the paper's: strata first in the report, chance shown, no bold below it; old results open."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from radir_eval.benchmark import Protocol, evaluate_models
from radir_eval.rankers.vectors import OracleRanker, ParquetEmbeddings, RandomRanker
from radir_eval.report.page import write_report
from radir_eval.results_folder import RESULTS
from radir_eval.retrieval_split import CONTENT
from radir_eval.tables.paper_tables import all_tables
from radir_eval.tables.strata_tables import dropped, strata_tables
from radir_eval.tables.table import percent

TITLES = [
    "Strata and skill",
    "Labels",
    "Conditional, by stratum and by content",
    "Recall by level of the ontology",
    "Paired differences beside the paper's figures",
]


@pytest.fixture(scope="module")
def run(helpers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    out = tmp_path_factory.mktemp("strata")
    dataset = helpers.FakeDataset()
    radir = helpers.write_vectors(out / "radir.parquet", dataset, *dataset.knowing_vectors(0.1))
    noise = np.random.default_rng(3).normal(size=(66, 8)).astype(np.float32)
    blind = helpers.write_vectors(out / "blind.parquet", dataset, noise, {})
    rankers = [
        *(ParquetEmbeddings(radir), ParquetEmbeddings(blind), RandomRanker(0)),
        *(OracleRanker(), OracleRanker(relevance=CONTENT)),
    ]
    protocol = Protocol(bootstrap_draws=50, randomisations=99, min_queries=5)
    results = evaluate_models(dataset, "test", rankers, protocol, out, progress=False)
    tables = {table.title: table for table in strata_tables(results)}
    return SimpleNamespace(dataset=dataset, results=results, tables=tables, out=out, blind=noise)


def test_the_overview_shows_skill_by_stratum(run: SimpleNamespace) -> None:
    assert list(run.tables) == TITLES
    table = run.tables["Strata and skill"]
    row = dict(zip(table.heads, table.rows[0], strict=True))
    skill = run.results["models"]["radir"]["abnormal"]["skill"]
    assert row["Content skill"].text == percent(skill["content_ndcg"]["10"])
    assert row["Abnormal skill@3"].text == percent(skill["recall"]["3"])
    assert row["Content skill"].best
    assert row["Content skill"].interval
    assert not any(cell.best for row in table.rows[1:] for cell in row)


def test_what_the_threshold_drops_is_said(run: SimpleNamespace) -> None:
    about = run.results["strata"]["abnormal"]
    said = f"{about['n_without_correct']:,} of {about['n_queries']:,} abnormal queries"
    assert said in dropped(run.results)
    assert said in run.tables["Strata and skill"].note
    assert said in (run.out / "tables.md").read_text(encoding="utf-8")


def test_a_model_that_chance_beats_is_never_bold(run: SimpleNamespace) -> None:
    models = {name: block for name, block in run.results["models"].items() if name != "radir"}
    models["twin"] = models["blind"]  # so that there is a best of two
    blind = {**run.results, "models": models, "further_comparisons": []}
    overview, labels, *_ = strata_tables(blind)
    for table in (overview, labels):
        for row in table.rows:
            for cell in row:
                if cell.best:
                    low = float(cell.interval.split("\N{EN DASH}")[0])
                    assert low > (0 if table is overview else float(row[4].text))


def test_markdown_shows_these_intervals(run: SimpleNamespace) -> None:
    text = (run.out / "tables.md").read_text(encoding="utf-8")
    for title in TITLES:
        assert f"## {title}" in text
    cell = run.tables["Strata and skill"].rows[0][1]
    assert f"**{cell.text}** ({cell.interval})" in text


def test_differences_name_what_was_compared(run: SimpleNamespace) -> None:
    rows = [[cell.text for cell in row] for row in run.tables[TITLES[-1]].rows]
    assert {row[2] for row in rows} == {"radir minus blind"}
    assert rows[0][0] == "Content skill"
    assert rows[0][3] == "radir"


def earlier(results: dict[str, Any]) -> dict[str, Any]:
    """The same as an earlier version wrote it."""
    old = json.loads(json.dumps(results))
    for key in ("strata", "relevances", "notes", "further_comparisons"):
        del old[key]
    for block in old["models"].values():
        for key in ("content", "abnormal", "normal", "skill", "levels", "gold"):
            block.pop(key, None)
        for name, task in block.items():
            if isinstance(task, dict) and name != "gold_precision":
                for one in (task, *(inner for inner in task.values() if isinstance(inner, dict))):
                    for metric in ("chance_recall", "chance_ndcg"):
                        one.pop(metric, None)
    return old


def test_results_of_an_earlier_version_still_make_tables(run: SimpleNamespace) -> None:
    old = earlier(run.results)
    assert strata_tables(old) == []
    assert dropped(old) == ""
    titles = [table.title for table in all_tables(old)]
    assert titles == [table.title for table in all_tables(run.results) if table.title not in TITLES]


def test_the_report_shows_the_strata_first_and_opens_earlier_results(
    run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The made-up store has no entities to explain a hit by.
    monkeypatch.setattr("radir_eval.report.page.contact_sheets", lambda *_: [])
    page = write_report(run.dataset, run.out).read_text(encoding="utf-8")
    assert 0 < page.index('<section id="strata">') < page.index('<section id="summary">')
    assert page.index("<h2>Strata and skill</h2>") < page.index("<h2>Summary</h2>")
    assert page.count("<h2>Strata and skill</h2>") == 1
    results = run.out / RESULTS
    written = results.read_text()
    try:
        results.write_text(json.dumps(earlier(run.results)))
        assert '<section id="strata">' not in write_report(run.dataset, run.out).read_text(encoding="utf-8")
    finally:
        results.write_text(written)
