"""Rankers: vectors find their images, unfit files are refused with a sentence, references keep theirs."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from radir_eval.rankers.vectors import (
    ArrayRanking,
    OracleRanker,
    ParquetEmbeddings,
    RandomRanker,
    unit_rows,
)
from radir_eval.retrieval_split import RetrievalSplit


@pytest.fixture
def items(fake) -> RetrievalSplit:
    return RetrievalSplit(fake, "test")


def test_vectors_are_placed_by_id_whatever_the_order_of_the_file(
    items: RetrievalSplit, fake, tmp_path: Path
) -> None:
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
    items: RetrievalSplit,
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
def test_an_unfit_file_is_named(change, message: str, items: RetrievalSplit, vectors_file: Path) -> None:
    change(pd.read_parquet(vectors_file)).to_parquet(vectors_file)
    with pytest.raises(ValueError, match=message):
        ParquetEmbeddings(vectors_file).open(items)


def test_a_missing_file_and_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no file"):
        ParquetEmbeddings(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("id,vector")
    with pytest.raises(ValueError, match="cannot be read as a Parquet file"):
        ParquetEmbeddings(tmp_path / "text.parquet")


def test_equal_vectors_tie_exactly_and_zero_vectors_are_refused() -> None:
    vectors = np.repeat(np.random.default_rng(0).normal(size=(3, 257)).astype(np.float32), 7, axis=0)
    everyone = np.arange(len(vectors))
    scores = ArrayRanking(vectors).scores(None, everyone, everyone)
    assert len(np.unique(scores[0])) == 3
    with pytest.raises(ValueError, match="not zero"):
        ArrayRanking(np.zeros_like(vectors)).scores(None, everyone, everyone)


def test_the_random_ranking_follows_its_seed_and_the_anatomy(items: RetrievalSplit) -> None:
    everyone = np.arange(len(items))
    first, again, other = (RandomRanker(seed).open(items) for seed in (1, 1, 2))
    scores = first.scores("lung", everyone, everyone)
    np.testing.assert_array_equal(scores, again.scores("lung", everyone, everyone))
    assert not np.array_equal(scores, other.scores("lung", everyone, everyone))
    assert not np.array_equal(scores, first.scores("heart", everyone, everyone))


def test_the_oracle_puts_the_paired_report_first(items: RetrievalSplit) -> None:
    reports = items.first_of_studies()
    scores = OracleRanker().open(items).report_scores(np.arange(len(items)), reports)
    np.testing.assert_array_equal(items.study_numbers[reports[scores.argmax(axis=1)]], items.study_numbers)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float16(), 2)]
)
def test_any_kind_of_list_of_numbers_is_read(
    kind: pa.DataType, items: RetrievalSplit, tmp_path: Path
) -> None:
    vectors = [[1.0, row / 4] for row in range(len(items))]
    table = pa.table({"id": pa.array(items.image_ids.astype(str)), "vector": pa.array(vectors, kind)})
    pq.write_table(table, tmp_path / "v.parquet")
    found = ParquetEmbeddings(tmp_path / "v.parquet").open(items).image(None)
    np.testing.assert_array_equal(found, np.array(vectors, dtype=np.float32))


def test_a_column_that_holds_no_vectors_is_named(items: RetrievalSplit, tmp_path: Path) -> None:
    pd.DataFrame({"id": items.image_ids, "vector": 1.0}).to_parquet(tmp_path / "v.parquet")
    with pytest.raises(ValueError, match="double in the column vector"):
        ParquetEmbeddings(tmp_path / "v.parquet").open(items)


def test_candidates_that_are_kept_are_never_those_of_another_question(items: RetrievalSplit, fake) -> None:
    whole, by_anatomy = fake.knowing_vectors(0.1)
    ranking = ArrayRanking(whole, by_anatomy, reports=by_anatomy["lung"])
    some, others = np.arange(5), np.arange(5, 10)
    for _ in range(2):
        for anatomy, vectors in ((None, whole), ("heart", by_anatomy["heart"])):
            for candidates in (some, others):
                expected = unit_rows(vectors[:3]) @ unit_rows(vectors[candidates]).T
                np.testing.assert_allclose(ranking.scores(anatomy, np.arange(3), candidates), expected)
        expected = unit_rows(whole[:3]) @ unit_rows(by_anatomy["lung"][others]).T
        np.testing.assert_allclose(ranking.report_scores(np.arange(3), others), expected)


def test_fingerprints_follow_the_content_and_not_the_name(
    items: RetrievalSplit, vectors_file: Path, tmp_path: Path
) -> None:
    first = ParquetEmbeddings(vectors_file, name="a")
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(vectors_file.read_bytes())
    assert ParquetEmbeddings(copy).fingerprint() == first.fingerprint()
    pd.read_parquet(vectors_file).iloc[::-1].to_parquet(copy)
    others = [ParquetEmbeddings(copy), RandomRanker(0), RandomRanker(1), OracleRanker()]
    texts = [first.fingerprint(), *(source.fingerprint() for source in others)]
    assert len(set(texts)) == len(texts)
    assert RandomRanker(1, name="other").fingerprint() == RandomRanker(1).fingerprint()


def _pairs(count: int) -> list[list[float]]:
    return [[1.0, 2.0] for _ in range(count)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (lambda ids: {"vector": [["a", "b"]] * len(ids)}, "list<.*string> in the column vector"),
        (lambda ids: {"vector": [[[1.0]]] * len(ids)}, "list<.*list<.*> in the column vector"),
        (lambda ids: {"vector": [None, *_pairs(len(ids) - 1)]}, "1 rows without a vector"),
        (lambda ids: {"vector": [[0.0, 0.0], *_pairs(len(ids) - 1)]}, "a vector of zeros as holistic"),
        (lambda ids: {"id": [{"a": name} for name in ids]}, "struct<.*> in the column id, not names"),
        (lambda ids: {"id": [None, *ids[1:]]}, "a row without id"),
        (lambda ids: {"id": [name.encode() for name in ids]}, "binary in the column id"),
        (lambda ids: {"anatomy": [["lung"]] * len(ids)}, "in the column anatomy, not names"),
        (lambda ids: {"anatomy": [1] * len(ids)}, "names anatomies that .* does not have: 1"),
    ],
)
def test_columns_of_other_kinds_are_named(
    fake: Any, tmp_path: Path, columns: Callable[[list[str]], dict[str, list]], message: str
) -> None:
    ids = fake.studies("test")["image_id"][:]
    path = tmp_path / "vectors.parquet"
    pq.write_table(pa.table({"id": ids, "vector": _pairs(len(ids)), **columns(ids)}), path)
    with pytest.raises(ValueError, match=rf"vectors\.parquet .*{message}"):
        ParquetEmbeddings(path).open(RetrievalSplit(fake, "test"))


def test_a_damaged_file_is_named(vectors_file: Path, fake: Any) -> None:
    content = bytearray(vectors_file.read_bytes())
    content[4:2000] = b"\x55" * 1996
    vectors_file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"radir-like\.parquet cannot be read as a Parquet file"):
        ParquetEmbeddings(vectors_file).open(RetrievalSplit(fake, "test"))
