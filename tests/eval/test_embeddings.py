"""Sources: vectors find their images, unfit files are refused with a sentence, references keep theirs."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from eval.embeddings import OracleRanking, ParquetEmbeddings, RandomRanking, cosine
from eval.items import Items


@pytest.fixture
def items(fake) -> Items:
    return Items(fake, "test")


def test_vectors_are_placed_by_id_whatever_the_order_of_the_file(items: Items, fake, tmp_path: Path) -> None:
    ids = fake.studies("test")["image_id"][:]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 4)).astype(np.float32)
    order = np.random.default_rng(1).permutation(len(ids))
    frame = pd.DataFrame(
        {"id": [ids[i] for i in order] + ["another"], "vector": [*vectors[order].tolist(), [0.0] * 4]}
    )
    frame.to_parquet(tmp_path / "mine.parquet")
    ranking = ParquetEmbeddings(tmp_path / "mine.parquet").open(items)
    np.testing.assert_array_equal(ranking.image(None), vectors)
    np.testing.assert_array_equal(ranking.image("lung"), vectors)  # no condition in the file: holistic
    assert not ranking.conditional
    assert ranking.report() is None


def test_conditional_vectors_are_needed_only_where_the_study_has_findings(
    items: Items,
    fake,
    helpers: SimpleNamespace,
    tmp_path: Path,
) -> None:
    path = helpers.write_vectors(tmp_path / "v.parquet", fake, *fake.knowing_vectors(0.1))
    frame = pd.read_parquet(path)
    members = set(items.image_ids[items.members("trachea")])
    frame[(frame.anatomy != "trachea") | frame.id.isin(members)].to_parquet(path)
    ranking = ParquetEmbeddings(path).open(items)
    assert ranking.conditional
    assert ranking.covers("lung")
    assert not ranking.covers("trachea")
    where = items.members("trachea")
    assert np.isfinite(ranking.scores("trachea", where, where)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="vector"), "lacks the column"),
        (lambda f: f.iloc[1:], "lacks 1 of"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "one each"),
        (lambda f: f.assign(vector=[[1.0], *f.vector.tolist()[1:]]), "same length"),
        (lambda f: f.assign(vector=[[1.0, float("nan")], *f.vector.tolist()[1:]]), "not finite"),
        (lambda f: f.assign(anatomy=["tail", *f.anatomy.tolist()[1:]]), "does not have: tail"),
    ],
)
def test_an_unfit_file_is_named(change, message: str, items: Items, vectors_file: Path) -> None:
    change(pd.read_parquet(vectors_file)).to_parquet(vectors_file)
    with pytest.raises(ValueError, match=message):
        ParquetEmbeddings(vectors_file).open(items)


def test_a_missing_file_and_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no file"):
        ParquetEmbeddings(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("id,vector")
    with pytest.raises(ValueError, match="not a Parquet file"):
        ParquetEmbeddings(tmp_path / "text.parquet")


def test_equal_vectors_tie_exactly_and_zero_vectors_are_refused() -> None:
    vectors = np.repeat(np.random.default_rng(0).normal(size=(3, 257)).astype(np.float32), 7, axis=0)
    scores = cosine(vectors, vectors)
    assert len(np.unique(scores[0])) == 3
    with pytest.raises(ValueError, match="not zero"):
        cosine(vectors, np.zeros((1, 257), dtype=np.float32))


def test_the_random_ranking_follows_its_seed_and_the_anatomy(items: Items) -> None:
    everyone = np.arange(len(items))
    first, again, other = (RandomRanking(seed).open(items) for seed in (1, 1, 2))
    scores = first.scores("lung", everyone, everyone)
    np.testing.assert_array_equal(scores, again.scores("lung", everyone, everyone))
    assert not np.array_equal(scores, other.scores("lung", everyone, everyone))
    assert not np.array_equal(scores, first.scores("heart", everyone, everyone))


def test_the_oracle_puts_the_paired_report_first(items: Items) -> None:
    reports = items.first_of_studies()
    scores = OracleRanking().open(items).report_scores(np.arange(len(items)), reports)
    np.testing.assert_array_equal(items.study_numbers[reports[scores.argmax(axis=1)]], items.study_numbers)
