"""Tables and page: figures as in results.json, the best marked, one file without a network, text escaped."""

import html
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.entities import Entity
from dataset_scripts.explain import explain
from dataset_scripts.relevance import RelevanceEngine
from dataset_scripts.store import EntityStore
from eval.benchmark import Protocol, evaluate_models
from eval.embeddings import OracleRanking, ParquetEmbeddings, RandomRanking
from eval.items import Items
from eval.report import thumbnail, write_report
from eval.tables import Cell, all_tables, marked, percent, summary_table


class MarkupScorer:
    """What a sentence says after "is" is its entity, with markup; entities of one spelling are equal."""

    name = "markup"
    parameters: dict[str, Any] = {}  # noqa: RUF012

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]:
        told = [re.findall(r"is (.+?)\.", text) for text in texts]
        return [[Entity(f"<u>{words}</u>", self._type(words)) for words in of] for of in told]

    def _type(self, words: str) -> str:
        return "NON-ABNORMALITY" if "clear" in words else "ABNORMALITY"

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray:
        angles = np.array([len(text) % 7 for text in entity_texts]) / 4
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def run(helpers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    out = tmp_path_factory.mktemp("report")
    dataset = helpers.FakeDataset()
    # The page explains relevance by the entities behind it, which the made-up store does not have.
    store = dataset.engine.store
    texts = [text.replace("clear", "<b>clear & bright</b>") for text in store.texts]
    records = [(*key, texts[row]) for key, row in store.keys.items()]
    dataset.engine = RelevanceEngine(EntityStore.build(records, MarkupScorer()))
    radir = helpers.write_vectors(out / "radir.parquet", dataset, *dataset.knowing_vectors(0.1))
    clip = helpers.write_vectors(out / "clip.parquet", dataset, dataset.knowing_vectors(0.3, 1)[0], {})
    sources = [ParquetEmbeddings(radir), ParquetEmbeddings(clip), RandomRanking(0), OracleRanking()]
    results = evaluate_models(
        dataset, "test", sources, Protocol(bootstrap_draws=50, min_queries=5), out, progress=False
    )
    page = write_report(dataset, out).read_text(encoding="utf-8")
    return SimpleNamespace(dataset=dataset, results=results, out=out, page=page)


def test_the_best_of_a_group_is_marked_and_references_never_are() -> None:
    assert marked([0.5, 0.700001, 1.0, 0.7], [True, True, False, True]) == [
        Cell("50.00"),
        Cell("70.00", True),
        Cell("100.00"),
        Cell("70.00", True),
    ]
    assert marked([0.5, 1.0], [True, False]) == [Cell("50.00"), Cell("100.00")]
    assert percent(None) == "-"


def test_tables_show_the_figures_of_the_results(run: SimpleNamespace) -> None:
    text = (run.out / "tables.md").read_text(encoding="utf-8")
    radir = run.results["models"]["radir"]
    first = next(line for line in text.splitlines() if line.startswith("| radir |"))
    for metric in ("recall", "ndcg"):
        for value in radir["image_to_image"][metric].values():
            assert percent(value) in first
    lung = next(line for line in text.splitlines() if line.startswith("| lung |"))
    assert f"**{percent(radir['conditional']['lung']['recall']['3'])}**" in lung
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    assert summary_table(run.results).count("\n") == 5


def test_tables_go_from_head_to_tail(run: SimpleNamespace) -> None:
    table = next(table for table in all_tables(run.results) if table.heads[0] == "Anatomy")
    counts = [int(row[1].text) for row in table.rows[:-1]]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 5


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        assert tag != "script"
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere(run: SimpleNamespace) -> None:
    parser = _Links()
    parser.feed(run.page)
    assert not parser.open
    assert any(link.startswith("data:image/jpeg;base64,") for link in parser.found)
    assert all(link.startswith(("data:", "#")) for link in parser.found)
    anchors = {link[1:] for link in parser.found if link.startswith("#")}
    assert anchors <= set(re.findall(r'id="(\w+)"', run.page))
    assert "http" not in run.page
    assert "@import" not in run.page
    assert "prefers-color-scheme: dark" in run.page
    assert "@media print" in run.page


def test_report_text_is_escaped_and_the_footer_warns(run: SimpleNamespace) -> None:
    assert "<b>clear" not in run.page
    assert "&lt;b&gt;clear &amp; bright&lt;/b&gt;" in run.page
    assert "do not share" in run.page


def test_every_hit_says_why_in_the_words_of_its_explanation(run: SimpleNamespace) -> None:
    examples = json.loads((run.out / "examples.json").read_text())
    engine, items = run.dataset.engine, Items(run.dataset, "test")
    place = {image_id: number for number, image_id in enumerate(items.image_ids)}
    shown = re.findall(
        r'<details class="why"><summary>why (\S+)</summary><ul>(.*?)</ul>', run.page, re.DOTALL
    )
    shown = [(number, re.findall(r"<li>(.*?)</li>", links)) for number, links in shown]
    expected = []
    for example in examples:
        rows = items.rows(example["anatomy"])
        for hit in (hit for hits in example["models"].values() for hit in hits):
            pair = (rows[place[example["query_id"]]], rows[place[hit["image_id"]]])
            found = explain(engine.store, engine.weights, *map(int, pair))
            assert found.score == pytest.approx(hit["relevance"], abs=1e-5)
            expected.append((f"{hit['relevance']:.2f}", [str(link) for link in found.links()]))
    assert [(number, [html.unescape(link) for link in links]) for number, links in shown] == expected
    words = "".join(link for _, links in expected for link in links)
    assert all(sign in words for sign in ("=", "~", "≠", "contradicts"))
    assert "<u>" in words
    assert "<u>" not in run.page


def test_examples_hold_no_words_and_spread_from_head_to_tail(run: SimpleNamespace) -> None:
    raw = (run.out / "examples.json").read_text()
    examples: list[dict[str, Any]] = json.loads(raw)
    assert "clear" not in raw
    assert {example["kind"] for example in examples} == {"best", "median", "worst"}
    assert {example["anatomy"] for example in examples} == set(run.results["anatomies"])
    for example in examples:
        assert set(example["models"]) == {"radir", "clip"}
        for hits in example["models"].values():
            assert len(hits) == 5
            assert all(hit["correct"] == (hit["relevance"] > 0.9) for hit in hits)
            assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_the_page_of_another_dataset_or_of_no_results_is_refused(
    run: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="radir evaluate"):
        write_report(run.dataset, tmp_path)
    results = {**run.results, "dataset": "another"}
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "examples.json").write_text("[]")
    with pytest.raises(ValueError, match="results of another"):
        write_report(run.dataset, tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "P", "F"])
def test_every_kind_of_image_gets_a_thumbnail(mode: str) -> None:
    grey = np.arange(300 * 200).reshape(300, 200) % 256
    image = (
        Image.fromarray((grey * 200).astype(np.uint16))
        if mode == "I;16"
        else Image.fromarray(grey.astype(np.uint8))
    )
    image = image if mode == "I;16" else image.convert(mode)
    assert (thumbnail(image) or "").startswith("data:image/jpeg;base64,")


def test_a_volume_has_no_thumbnail() -> None:
    assert thumbnail("volumes/v1.nii.gz") is None
