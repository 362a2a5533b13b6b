"""Gold tables: figures of results.json, chance beside them, each average over the same labels."""

from types import SimpleNamespace
from typing import Any

import pytest
from radir_eval.benchmark import evaluate_models
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import OracleRanker, ParquetEmbeddings
from radir_eval.tables.label_tables import gold_tables
from radir_eval.tables.paper_tables import markdown_tables


@pytest.fixture(scope="module")
def results(helpers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder, dataset = tmp_path_factory.mktemp("gold"), helpers.FakeDataset()
    labels = dataset.labels()
    labels["anatomy"] = labels["anatomy"].where(labels["label"] == "heart abnormal")  # the other has none
    dataset.labels = lambda: labels
    whole, by_anatomy = dataset.knowing_vectors(0.3)
    sources = [
        ParquetEmbeddings(helpers.write_vectors(folder / "radir.parquet", dataset, whole, by_anatomy)),
        ParquetEmbeddings(helpers.write_vectors(folder / "clip.parquet", dataset, whole, {})),
        OracleRanker(),
    ]
    return evaluate_models(dataset, "test", sources, Protocol(bootstrap_draws=20), folder, progress=False)


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


@pytest.mark.parametrize(
    ("place", "metric", "chance"),
    [(0, "precision", "chance"), (1, "average_precision", "chance_average_precision")],
)
def test_each_label_has_every_model_and_its_chance(
    place: int, metric: str, chance: str, results: dict[str, Any]
) -> None:
    table = gold_tables(results)[place]
    assert table.heads[3:] == ("radir", "radir, conditioned", "clip", "oracle", "oracle, conditioned")
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    blocks = {name: block["gold_precision"] for name, block in results["models"].items()}
    heart = blocks["radir"]["labels"]["heart abnormal"]
    assert rows["heart abnormal"][1:4] == [
        percent(value) for value in (heart[chance], heart["holistic"][metric], heart["conditioned"][metric])
    ]
    assert rows["left pleura abnormal"][3] == "-"  # a label without an anatomy has no condition
    macro = blocks["radir"]["macro"]
    assert rows["Average"][2:4] == [percent(macro["holistic"][metric]), "-"]
    with_anatomy = rows["Average of labels with an anatomy"]
    assert with_anatomy[2:4] == [percent(heart["holistic"][metric]), percent(heart["conditioned"][metric])]
    assert with_anatomy[4] == percent(blocks["clip"]["labels"]["heart abnormal"]["holistic"][metric])
    assert table.note.endswith("Labels: made up.")


def test_averages_come_with_their_intervals_and_references_stay_out(results: dict[str, Any]) -> None:
    rows = [[cell.text for cell in row] for row in gold_tables(results)[2].rows]
    assert [row[:2] for row in rows] == [
        [metric, model]
        for metric in ("Precision@5", "mAP")
        for model in ("radir", "radir, conditioned", "clip")
    ]
    block = results["models"]["clip"]["gold_precision"]["macro"]["holistic"]
    low, high = block["average_precision_ci95"]
    assert rows[-1][3] == f"{percent(block['average_precision'])} [{percent(low)}, {percent(high)}]"


def test_tables_md_has_them_and_without_labels_there_are_none(results: dict[str, Any]) -> None:
    assert "## mAP by gold label" in markdown_tables(results)
    models = {
        name: {key: value for key, value in block.items() if key != "gold_precision"}
        for name, block in results["models"].items()
    }
    assert gold_tables({**results, "models": models}) == []
