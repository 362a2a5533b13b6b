"""Gold labels: equal to a loop, unknown ones no candidates, conditions where there are, from all sources."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from radir_eval.labels.label_figures import score_labels
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import ArrayRanking, OracleRanker, RandomRanker
from radir_eval.retrieval_split import RetrievalSplit
from sklearn.metrics import average_precision_score

from dataset_scripts.building.build import build_dataset
from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.sources.base import Source
from dataset_scripts.sources.ctrate.source import LABEL_ANATOMIES, CTRateSource
from dataset_scripts.sources.mimic.source import MimicSource
from tests.made_up.ctrate import MadeUpVolume, ctrate_tree
from tests.made_up.mimic import USABLE, mimic_tree, phantom_contents
from tests.made_up.open_i import built_open_i

PROTOCOL = Protocol(bootstrap_draws=20, randomisations=9, min_queries=5)


def score_gold(items: RetrievalSplit, rankings: dict[str, Any], protocol: Protocol) -> dict[str, Any]:
    """The figures by gold label of each model."""
    models = score_labels(items, rankings, protocol)["models"]
    return {name: block["gold_precision"] for name, block in models.items() if "gold_precision" in block}


def test_precision_and_map_equal_a_loop_over_the_positive_images(helpers: SimpleNamespace) -> None:
    dataset = helpers.FakeDataset()
    items = RetrievalSplit(dataset, "test")
    whole, by_anatomy = dataset.knowing_vectors(0.3)
    rankings = {"radir": ArrayRanking(whole, by_anatomy), "clip": ArrayRanking(whole)}
    found = score_gold(items, rankings, PROTOCOL)
    values = np.array([dataset.severity[study, "heart"] >= 2 for study in items.study_ids])
    for mode, anatomy in (("holistic", None), ("conditioned", "heart")):
        shares, averages = [], []
        for query in np.flatnonzero(values):
            others = np.flatnonzero(items.subjects != items.subjects[query])
            scores = rankings["radir"].scores(anatomy, np.array([query]), others)[0]
            assert len(set(scores)) == len(scores)
            shares.append(values[others[np.argsort(-scores)[:5]]].mean())
            averages.append(average_precision_score(values[others], scores))
        block = found["radir"]["labels"]["heart abnormal"]
        assert block[mode]["precision"] == pytest.approx(np.mean(shares))
        assert block[mode]["average_precision"] == pytest.approx(np.mean(averages))
    assert "conditioned" not in found["clip"]["labels"]["heart abnormal"]
    macro = found["radir"]["macro"]
    for metric in ("precision", "average_precision"):
        assert macro["conditioned"][metric] > macro["holistic"][metric]
    assert found["radir"]["origin"] == "Labels: made up."


def test_the_macro_is_the_mean_over_labels_and_intervals_hold_the_values(fake) -> None:
    items = RetrievalSplit(fake, "test")
    block = score_gold(items, {"random": RandomRanker().open(items)}, PROTOCOL)["random"]
    for metric, bounds in (("precision", "ci95"), ("average_precision", "average_precision_ci95")):
        values = [label["holistic"][metric] for label in block["labels"].values()]
        assert block["macro"]["holistic"][metric] == pytest.approx(np.mean(values))
        for part in (block["macro"], *block["labels"].values()):
            low, high = part["holistic"][bounds]
            assert low <= part["holistic"][metric] <= high


def test_with_equal_scores_everything_is_at_its_chance_level(fake) -> None:
    items = RetrievalSplit(fake, "test")
    ranking = ArrayRanking(np.ones((len(items), 3), dtype=np.float32))
    for block in score_gold(items, {"flat": ranking}, PROTOCOL)["flat"]["labels"].values():
        assert block["holistic"]["precision"] == pytest.approx(block["chance"])
        assert block["holistic"]["average_precision"] == pytest.approx(block["chance_average_precision"])


@pytest.mark.parametrize(("own", "subject"), [(True, True), (True, False), (False, False)])
def test_chance_counts_the_candidates_that_the_protocol_allows(
    own: bool, subject: bool, fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = RetrievalSplit(fake, "test")
    monkeypatch.setattr(items, "subjects", np.where(items.study_numbers == 4, 7, items.subjects))
    items.subjects[0] = 3  # the first of a study's two images is another patient's: a damaged table
    protocol = Protocol(bootstrap_draws=5, min_queries=5, exclude_self=own, exclude_same_subject=subject)
    block = score_gold(items, {"random": RandomRanker().open(items)}, protocol)["random"]
    label = np.array([fake.severity[study, "heart"] >= 2 for study in items.study_ids])
    everyone = np.arange(len(items))
    allowed = ~items.excluded(everyone, everyone, own, subject)
    expected = [(allowed[query] & label).sum() / allowed[query].sum() for query in np.flatnonzero(label)]
    assert block["labels"]["heart abnormal"]["chance"] == pytest.approx(np.mean(expected))


def test_precision_is_that_of_the_metric_also_where_scores_tie(fake) -> None:
    items = RetrievalSplit(fake, "test")
    ranking = OracleRanker().open(items)  # four severities: nearly all scores tie
    found = score_gold(items, {"oracle": ranking}, PROTOCOL)["oracle"]["labels"]["left pleura abnormal"]
    label = np.array([fake.severity[study, "left pleura"] >= 2 for study in items.study_ids], dtype=float)
    queries, everyone = np.flatnonzero(label), np.arange(len(items))
    excluded = items.excluded(queries, everyone, True, True)
    scores = ranking.scores(None, queries, everyone)
    expected = [
        expected_precision(*row, 5) for row in zip(scores, label[None] * ~excluded, ~excluded, strict=True)
    ]
    assert found["holistic"]["precision"] == pytest.approx(np.mean(expected))


def expected_precision(scores: np.ndarray, right: np.ndarray, allowed: np.ndarray, k: int) -> float:
    """Precision@k of one query over random orders of equal scores, a group of equal scores at a time."""
    gain, place = 0.0, 0
    for score in sorted(set(scores[allowed]), reverse=True):
        group = allowed & (scores == score)
        taken = min(group.sum(), k - place)
        gain, place = gain + taken * right[group].mean(), place + taken
    return gain / place


def test_blocks_change_nothing(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    items = RetrievalSplit(fake, "test")
    whole, by_anatomy = fake.knowing_vectors(0.3)
    rankings = {"radir": ArrayRanking(whole, by_anatomy)}
    expected = score_gold(items, rankings, PROTOCOL)
    monkeypatch.setattr("radir_eval.tasks._BLOCK_CELLS", 100)
    assert score_gold(items, rankings, PROTOCOL) == expected


def test_uncertain_labels_are_neither_queries_nor_candidates(helpers: SimpleNamespace, monkeypatch) -> None:
    dataset = helpers.FakeDataset()
    ids = [f"s{number:04d}" for number in range(60)]
    values = [1] * 20 + [-1] * 40  # all that is certain is positive
    table = pd.DataFrame({"study_id": ids, "label": "sure", "value": values})
    monkeypatch.setattr(dataset, "labels", lambda: table)
    items = RetrievalSplit(dataset, "test")
    block = score_gold(items, {"random": RandomRanker().open(items)}, PROTOCOL)["random"]["labels"]["sure"]
    assert block["chance"] == block["holistic"]["precision"] == 1.0
    assert block["chance_average_precision"] == block["holistic"]["average_precision"] == 1.0
    assert (block["n_queries"], block["n_without_correct"]) == (22, 0)


def test_a_query_alone_with_its_label_has_no_average_precision(helpers: SimpleNamespace, monkeypatch) -> None:
    dataset = helpers.FakeDataset()
    # Studies 2 and 3, the only ones with the label, are one patient's: no candidates of each other.
    table = pd.DataFrame(
        {"study_id": [f"s{number:04d}" for number in range(60)], "label": "rare", "value": 0}
    )
    table.loc[[2, 3], "value"] = 1
    monkeypatch.setattr(dataset, "labels", lambda: table)
    items, protocol = RetrievalSplit(dataset, "test"), Protocol(bootstrap_draws=20, min_queries=1)
    block = score_gold(items, {"random": RandomRanker().open(items)}, protocol)["random"]["labels"]["rare"]
    assert (block["n_queries"], block["n_without_correct"]) == (2, 2)
    assert block["holistic"]["precision"] == 0.0
    assert block["holistic"]["average_precision"] is None


def test_without_labels_there_is_nothing(helpers: SimpleNamespace) -> None:
    dataset = helpers.FakeDataset(labelled=False)
    items = RetrievalSplit(dataset, "test")
    assert score_gold(items, {"random": RandomRanker().open(items)}, PROTOCOL) == {}


def test_a_label_of_an_unknown_anatomy_is_refused(helpers: SimpleNamespace, monkeypatch) -> None:
    dataset = helpers.FakeDataset()
    table = dataset.labels().assign(anatomy="tail")
    monkeypatch.setattr(dataset, "labels", lambda: table)
    with pytest.raises(ValueError, match="tail"):
        score_gold(RetrievalSplit(dataset, "test"), {}, PROTOCOL)


def built(source: Source, folder: Path) -> BuiltDataset:
    build_dataset(source, folder, LexicalExtractor(), processes=1, progress=False)
    return BuiltDataset.open(folder)


def test_the_gold_labels_of_open_i_reach_the_built_folder_and_are_scored(tmp_path: Path) -> None:
    data = BuiltDataset.open(built_open_i(tmp_path))
    table = data.labels()
    assert table is not None
    assert dict(table.groupby("label")["anatomy"].first()) == {"Cardiomegaly": "heart", "Effusion": "pleura"}
    given = pd.read_csv(tmp_path / "source" / "gold_labels.csv", dtype={"uid": str}).set_index("uid")
    for label, rows in table.groupby("label"):
        assert (given.loc[rows["study_id"], label].to_numpy() == rows["value"].to_numpy()).all()
    items = RetrievalSplit(data, "train")
    block = score_gold(items, {"random": RandomRanker().open(items)}, PROTOCOL)["random"]
    assert set(block["labels"]) == {"Cardiomegaly", "Effusion"}
    assert block["labels"]["Effusion"]["conditioned"]["average_precision"] is not None
    assert block["origin"].startswith("Labels: set by people")


def test_the_chexpert_columns_of_mimic_reach_the_built_folder(tmp_path: Path) -> None:
    tree = mimic_tree(tmp_path / "mimic", phantom_contents())
    data = built(MimicSource(tree.root), tmp_path / "built")
    table = data.labels()
    assert table is not None
    labelled = {tree.study[case] for case in USABLE if case != "wet read"}
    assert set(table["study_id"]) == labelled
    assert table.drop_duplicates(["label", "value", "anatomy"])[
        ["label", "value", "anatomy"]
    ].to_numpy().tolist() == [
        ["Atelectasis", 0, "lungs"],
        ["Cardiomegaly", 1, "heart"],
        ["Edema", -1, "lungs"],
    ]
    assert "by a program" in data.facts.label_origin


def test_the_18_labels_of_ctrate_reach_the_built_folder(tmp_path: Path) -> None:
    volumes = [MadeUpVolume(f"{split}_{n}_a_1") for split in ("train", "valid") for n in (1, 2)]
    root = ctrate_tree(tmp_path / "ctrate", volumes)
    for split in ("train", "valid"):
        path = root / "dataset" / "multi_abnormality_labels" / f"{split}_predicted_labels.csv"
        rows = [[f"{split}_{n}_a_1.nii.gz", *(int(n == 1) for _ in LABEL_ANATOMIES)] for n in (1, 2)]
        pd.DataFrame(rows, columns=["VolumeName", *LABEL_ANATOMIES]).to_csv(path, index=False)
    data = built(CTRateSource(root), tmp_path / "built")
    table = data.labels()
    assert table is not None
    assert dict(table.groupby("label")["anatomy"].first()) == LABEL_ANATOMIES
    assert dict(table.groupby("study_id")["value"].mean()) == {
        f"{split}_{n}_a": float(n == 1) for split in ("train", "valid") for n in (1, 2)
    }
    assert "by a text classifier" in data.facts.label_origin


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(value=[7, *table["value"][1:]]), "1 gold labels are none of 1 .* 7 of"),
        (lambda table: table.assign(value=["x", *table["value"][1:]]), "the first is 'x'"),
        (lambda table: pd.concat([table, table[:2]]), "2 gold labels stand twice"),
    ],
)
def test_labels_that_mean_nothing_are_refused(
    helpers: SimpleNamespace,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = helpers.FakeDataset()
    labels = change(dataset.labels())
    monkeypatch.setattr(dataset, "labels", lambda: labels)
    items = RetrievalSplit(dataset, "test")
    with pytest.raises(ValueError, match=message):
        score_gold(items, {"random": RandomRanker().open(items)}, Protocol(bootstrap_draws=10))
