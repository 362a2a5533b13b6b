"""Tables and page: one file without a network, the results' figures, who may see it, escaped, readable."""

import html
import json
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import radir_eval.report.page
from PIL import Image
from radir_eval.benchmark import Protocol, evaluate_models
from radir_eval.rankers.vectors import OracleRanker, ParquetEmbeddings, RandomRanker
from radir_eval.report.page import render, sharing_notice, write_report
from radir_eval.report.pictures import thumbnail
from radir_eval.retrieval_split import RetrievalSplit
from radir_eval.tables.paper_tables import all_tables, summary_table
from radir_eval.tables.table import Cell, above_chance, marked, percent, with_ranges

from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.relevance.entities import Entity
from dataset_scripts.relevance.explain import explain
from dataset_scripts.relevance.store.store import EntityStore
from dataset_scripts.sources.base import Sharing


class MarkupExtractor:
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
    training = {study for study, _, _ in records}
    dataset.engine = RelevanceEngine(EntityStore.build(records, MarkupExtractor(), training=training))
    radir = helpers.write_vectors(out / "radir.parquet", dataset, *dataset.knowing_vectors(0.1))
    clip = helpers.write_vectors(out / "clip.parquet", dataset, dataset.knowing_vectors(0.3, 1)[0], {})
    sources = [ParquetEmbeddings(radir), ParquetEmbeddings(clip), RandomRanker(0), OracleRanker()]
    protocol = Protocol(bootstrap_draws=50, randomisations=99, min_queries=5)
    results = evaluate_models(dataset, "test", sources, protocol, out, progress=False)
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
    # The highest whose interval does not lie above chance is not marked, and no other one in its place.
    clear = above_chance([[0.4, 0.6], [0.3, 0.9], None], [0.3, 0.3, 0.3])
    assert clear == [True, False, True]
    assert not any(cell.best for cell in marked([0.5, 0.6, 0.1], [True] * 3, clear))
    assert above_chance([[None, None], [0.1, 0.2]], [0.5, None]) == [True, True]
    assert percent(None) == "-"
    cells = with_ranges([Cell("50.00", True), Cell("1"), Cell("2")], [[0.45, 0.5512], [None, None], None])
    assert [cell.interval for cell in cells] == ["45.0\N{EN DASH}55.1", "", ""]
    assert cells[0].best


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
    counts = [int(row[1].text) for row in table.rows[:-2]]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 5


class _Page(HTMLParser):
    """What a page loads and names, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.captions = self.tables = 0
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert tag not in ("script", "link", "iframe", "object")
        assert not any(name.startswith("on") for name in values)
        self.links += [values[name] or "" for name in ("src", "href", "srcset") if name in values]
        self.ids += [values["id"] or ""] if "id" in values else []
        self.images += [values] if tag == "img" else []
        self.tables += tag == "table"
        self.captions += tag == "caption"
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere(run: SimpleNamespace) -> None:
    page = _Page(run.page)
    assert any(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert all(link.startswith(("data:image/jpeg", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in run.page
    for outside in ("http:", "https:", "//", "@import", "@font-face", "url("):
        assert outside not in re.sub(r'"data:[^"]*"', "", run.page)


def test_every_image_and_table_has_words_for_those_who_do_not_see_it(run: SimpleNamespace) -> None:
    page = _Page(run.page)
    assert all((image["alt"] or "").strip() for image in page.images)
    assert page.captions == page.tables > 5
    assert re.search(r'<svg role="img" aria-label="Recall@3 of each model', run.page)


def test_equal_results_give_equal_bytes(run: SimpleNamespace, tmp_path: Path) -> None:
    for name in ("results.json", "examples.json", "heat_maps.json"):
        shutil.copy(run.out / name, tmp_path)
    assert write_report(run.dataset, tmp_path).read_text(encoding="utf-8") == run.page


def test_tables_show_values_with_their_intervals(run: SimpleNamespace) -> None:
    block = run.results["models"]["radir"]["conditional"]["lung"]
    low, high = block["recall_ci95"]["3"]
    shown = f"{100 * low:.1f}\N{EN DASH}{100 * high:.1f}"
    assert f'class="best">{percent(block["recall"]["3"])}<small>{shown}</small>' in run.page


def test_more_columns_than_a_page_holds_become_a_table_for_each_cut_off(run: SimpleNamespace) -> None:
    title = "<caption>Conditional image retrieval by anatomy"
    assert run.page.count(title) == 1  # 16 columns
    models = {**run.results["models"], "random again": run.results["models"]["random"]}
    page = render({**run.results, "models": models}, [], [], RetrievalSplit(run.dataset, "test"))
    parts = [part.split("<section")[0].split("<h2>")[0] for part in page.split(title)[1:]]
    cuts = ["Recall@3", "Recall@5", "Recall@10"]
    assert [part.split("</caption>")[0] for part in parts] == [f" (Table 3), {cut}" for cut in cuts]
    assert [part.count('scope="row"') for part in parts] == [7, 7, 7]
    assert [part.count('scope="colgroup"') for part in parts] == [1, 1, 1]
    assert [part.count("#Correct: queries") for part in parts] == [0, 0, 1]


def test_the_plots_draw_every_model_and_every_anatomy(run: SimpleNamespace) -> None:
    points = re.findall(r"<title>([^<,]+), ([^<:]+): ([\d.]+), [\d,]+ training studies</title>", run.page)
    expected = {
        (model, anatomy, percent(block["conditional"][anatomy]["recall"]["3"]))
        for model, block in run.results["models"].items()
        for anatomy in run.results["anatomies"]
    }
    assert set(points) == expected
    assert len(points) == len(expected) == 20
    gains = re.findall(r'<span class="value">(\S+) <small>', run.page)
    rows = [
        100 * row["difference"]
        for row in run.results["conditional_comparisons"]
        if row["scope"] == "anatomies" and row["metric"] == "recall@3"
    ]
    assert gains == [f"{value:+.2f}" if value else "0.00" for value in sorted(rows, reverse=True)]
    assert "random ahead" not in run.page


def test_report_text_is_escaped(run: SimpleNamespace) -> None:
    assert "<b>clear" not in run.page
    assert "&lt;b&gt;clear &amp; bright&lt;/b&gt;" in run.page


@pytest.mark.parametrize(
    ("sharing", "words"),
    [
        (Sharing.RESTRICTED, "their licence (cc-by-nc-nd-4.0) does not allow passing them on"),
        (
            Sharing.CREDENTIALED,
            "only people with signed access to the source may hold them (cc-by-nc-nd-4.0)",
        ),
    ],
)
def test_a_page_that_must_not_be_shared_says_so_at_its_head(
    run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, sharing: Sharing, words: str
) -> None:
    assert "Do not share" not in run.page
    facts = SimpleNamespace(**{**vars(run.dataset.facts), "sharing": sharing, "licence": "cc-by-nc-nd-4.0"})
    monkeypatch.setattr(run.dataset, "facts", facts)
    page = render(run.results, [], [], RetrievalSplit(run.dataset, "test"))
    head = page.split("</header>")[0]
    assert "Do not share this page: it holds images and report text of fake-cxr" in head
    assert words in head
    assert page.count("Do not share this page") == 2  # at the end, too


def test_a_page_of_data_of_unknown_origin_is_not_to_be_shared(run: SimpleNamespace) -> None:
    class Unknown(type(run.dataset)):  # type: ignore[misc]
        @property
        def facts(self) -> None:
            raise ValueError("another version built it")

    dataset = Unknown.__new__(Unknown)
    assert "Do not share this page before you know who may see it" in sharing_notice(dataset)


def test_heat_maps_stand_beside_the_model_that_drew_them(run: SimpleNamespace) -> None:
    examples = json.loads((run.out / "examples.json").read_text())
    uri = thumbnail(Image.new("RGB", (8, 8)))
    first = examples[0]
    row = {"anatomy": first["anatomy"], "model": "clip", "query_id": first["query_id"], "image_id": "x<y"}
    heat_maps = [{**row, "query": uri, "hit": uri, "wide": False}]
    page = render(run.results, examples, heat_maps, RetrievalSplit(run.dataset, "test"))
    assert "integrated gradients" in page
    assert "integrated gradients" not in run.page
    (alone,) = re.findall(
        r'<ol class="hits"[^>]*by (\w+)">(?:(?!<ol class="hits").)*Heat-map over', page, re.S
    )
    assert alone == "clip"
    assert "x&lt;y" in page


def test_a_volume_that_is_gone_leaves_a_place_that_says_so(
    run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(row: Any) -> None:
        raise ValueError("the file is missing")

    monkeypatch.setattr(run.dataset, "image", missing)
    monkeypatch.setattr(run.dataset, "holds_volumes", True)
    examples = json.loads((run.out / "examples.json").read_text())[:1]
    page = render(run.results, examples, [], RetrievalSplit(run.dataset, "test"))
    assert page.count(">cannot be read</div>") == 11  # the query and five hits of two models
    assert "lung window" in page


def test_letters_and_marks_stand_out_from_their_ground_in_light_and_dark() -> None:
    style = (Path(radir_eval.report.page.__file__).parent / "templates" / "page.css.j2").read_text(
        encoding="utf-8"
    )
    themes = re.findall(r":root \{\s(.*?)\}", style, re.S)[:2]
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", theme))
        for ground in ("page", "card", "best"):
            for name in ("ink", "soft", "accent"):
                assert _contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for name in ("hit", "miss"):
            assert _contrast(colours[name], colours["card"]) >= 4.5
        assert _contrast(colours["warn-ink"], colours["warn"]) >= 4.5
        for name in ("edge", *(f"m{number}" for number in range(6))):
            assert _contrast(colours[name], colours["card"]) >= 3, name


def _contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.1, 1 to 21."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_hit_says_why_in_the_words_of_its_explanation(run: SimpleNamespace) -> None:
    examples = json.loads((run.out / "examples.json").read_text())
    items = RetrievalSplit(run.dataset, "test")
    place = {image_id: number for number, image_id in enumerate(items.image_ids)}
    shown = re.findall(
        r'<details class="why"><summary>why (\w+ \S+)</summary><ul>(.*?)</ul>', run.page, re.DOTALL
    )
    shown = [(title, re.findall(r"<li>(.*?)</li>", links)) for title, links in shown]
    expected = []
    for example in examples:
        rows = items.rows(example["anatomy"])
        for hit in (hit for hits in example["models"].values() for hit in hits):
            pair = (rows[place[example["query_id"]]], rows[place[hit["image_id"]]])
            for name in items.relevances:
                engine = run.dataset.engine_for(name)
                found = explain(engine.store, engine.formula, *map(int, pair))
                if name == "paper":
                    assert found.score == pytest.approx(hit["relevance"], abs=1e-5)
                links = [str(link) for link in found.links()] or [found.line()]
                expected.append((f"{name} {found.score:.2f}", links))
    assert [(title, [html.unescape(link) for link in links]) for title, links in shown] == expected
    words = "".join(link for _, links in expected for link in links)
    assert all(sign in words for sign in ("=", "~", "≠", "contradicts"))
    assert "<u>" in words
    assert "<u>" not in run.page


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
