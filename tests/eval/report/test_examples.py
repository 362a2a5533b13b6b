"""Examples and their heat-maps: chosen head to tail without a word, drawn once, bounded, by who can draw."""

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from radir_eval.benchmark import Protocol, evaluate_models
from radir_eval.rankers.vectors import ArrayRanking, Ranker, Ranking
from radir_eval.results_folder import HEAT_MAPS, mark
from radir_eval.retrieval_split import RetrievalSplit

PROTOCOL = Protocol(bootstrap_draws=20, randomisations=19, min_queries=5)


class Drawing(Ranker):
    """A ranking by good vectors, which draws a picture of a side and a grey that name the images."""

    def __init__(self, dataset: Any, name: str = "radir", draws: bool = True, wide: bool = False) -> None:
        self.name, self._draws, self._wide = name, draws, wide
        self._vectors = dataset.knowing_vectors(0.1)
        self.asked: list[tuple[int, str, int | None]] = []

    def fingerprint(self) -> str:
        return f"{self.name}, draws {self._draws}"

    def open(self, items: RetrievalSplit) -> Ranking:
        return ArrayRanking(*self._vectors, heat_map=self._heat_map)

    def _heat_map(self, position: int, anatomy: str, hit: int | None) -> Image.Image | None:
        self.asked.append((position, anatomy, hit))
        size = (700, 200) if self._wide else (400, 300)
        return Image.new("RGB", size, (3 * position, 0, 0)) if self._draws else None


def evaluated(dataset: Any, sources: list[Ranker], out: Path, **options: Any) -> list[dict[str, Any]]:
    evaluate_models(dataset, "test", sources, PROTOCOL, out, progress=False, **options)
    return json.loads((out / HEAT_MAPS).read_text(encoding="utf-8"))


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))


@pytest.fixture(scope="module")
def run(helpers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    dataset, out = helpers.FakeDataset(), tmp_path_factory.mktemp("examples")
    sources = [Drawing(dataset, "clip", draws=False), Drawing(dataset)]
    drawn = evaluated(dataset, [*sources], out)
    examples = json.loads((out / "examples.json").read_text(encoding="utf-8"))
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return SimpleNamespace(
        dataset=dataset, out=out, drawn=drawn, examples=examples, results=results, sources=sources
    )


def test_examples_hold_no_words_and_spread_from_head_to_tail(run: SimpleNamespace) -> None:
    raw = (run.out / "examples.json").read_text()
    assert "clear" not in raw
    assert "data:" not in raw
    assert {example["kind"] for example in run.examples} == {"best", "median", "worst"}
    assert {example["anatomy"] for example in run.examples} == set(run.results["anatomies"])
    for example in run.examples:
        assert set(example["models"]) == {"clip", "radir"}
        for hits in example["models"].values():
            assert len(hits) == 5
            assert all(hit["correct"] == (hit["relevance"] > 0.9) for hit in hits)
            assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_each_example_has_the_heat_maps_of_its_query_and_first_hit(run: SimpleNamespace) -> None:
    items = RetrievalSplit(run.dataset, "test")
    place = {image_id: number for number, image_id in enumerate(items.image_ids)}
    expected = {(e["anatomy"], e["query_id"], e["models"]["radir"][0]["image_id"]) for e in run.examples}
    assert {(row["anatomy"], row["query_id"], row["image_id"]) for row in run.drawn} == expected
    for row in run.drawn:
        query, hit = place[row["query_id"]], place[row["image_id"]]
        assert row["model"] == "radir"  # the first one cannot draw
        assert (query, row["anatomy"], hit) in run.sources[1].asked
        assert (hit, row["anatomy"], query) in run.sources[1].asked
        for side, position in (("query", query), ("hit", hit)):
            picture = opened(row[side])
            assert picture.size == (200, 150)  # a small copy
            red = int(np.asarray(picture)[0, 0, 0])
            assert abs(red - 3 * position) <= 3  # a JPEG


def test_an_evaluation_that_goes_on_draws_nothing_twice(run: SimpleNamespace) -> None:
    before = (run.out / HEAT_MAPS).read_bytes()
    again = Drawing(run.dataset)
    evaluated(run.dataset, [Drawing(run.dataset, "clip", draws=False), again], run.out)
    assert again.asked == []
    assert (run.out / HEAT_MAPS).read_bytes() == before


def test_no_more_heat_maps_than_wanted_are_drawn_the_best_queries_first(
    run: SimpleNamespace, tmp_path: Path
) -> None:
    source = Drawing(run.dataset, wide=True)
    drawn = evaluated(run.dataset, [source], tmp_path, heat_maps=6)
    assert len(source.asked) == 6
    best = [e["query_id"] for e in run.examples if e["kind"] == "best"]
    assert [row["query_id"] for row in drawn] == best[:3]
    assert all(row["wide"] and opened(row["query"]).width == 700 for row in drawn)
    none = Drawing(run.dataset, "other")
    assert evaluated(run.dataset, [none], tmp_path, heat_maps=0) == []
    assert none.asked == []


def test_figures_are_written_before_anything_is_drawn_and_old_heat_maps_are_gone(
    run: SimpleNamespace, tmp_path: Path
) -> None:
    class Failing(Drawing):
        def _heat_map(self, position: int, anatomy: str, hit: int | None) -> Image.Image | None:
            raise RuntimeError("out of memory")

    (tmp_path / HEAT_MAPS).write_text('["of an earlier evaluation"]')
    mark(tmp_path)
    with pytest.raises(RuntimeError, match="out of memory"):
        evaluated(run.dataset, [Failing(run.dataset)], tmp_path)
    assert (tmp_path / "results.json").is_file()
    assert (tmp_path / "per_query.parquet").is_file()
    assert not (tmp_path / HEAT_MAPS).exists()
