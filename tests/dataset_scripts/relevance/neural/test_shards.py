"""Promises of the shards: as without them, resumed, shared by processes, never mixed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dataset_scripts.relevance.entities import Entity
from dataset_scripts.relevance.neural.extractor import RateScoreExtractor
from dataset_scripts.relevance.neural.shards import (
    EMBEDDINGS,
    ENTITIES,
    SENTENCES,
    ShardedExtractor,
    Share,
)
from dataset_scripts.relevance.store.store import EntityStore
from radir.score_shards import corpus, main
from tests.made_up.open_i import SENTENCES as WORDING
from tests.made_up.open_i import built_open_i, findings
from tests.made_up.rate_models import save_encoder, save_ner

pytest.importorskip("medspacy")

TEXTS = [*(findings(number) for number in range(12)), "", "No effusion. The heart is small.", "No effusion."]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    words = sorted({word.strip(".") for texts in WORDING.values() for text in texts for word in text.split()})
    return save_ner(folder / "ner", 0, words=words), save_encoder(folder / "encoder", 0, words=words)


@pytest.fixture
def scorer(models: tuple[Path, Path]) -> RateScoreExtractor:
    return RateScoreExtractor(*models, device="cpu")


def shards(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / kind).glob("[!.]*.arrow"))


def words_of(found: list[list[Entity]]) -> list[str]:
    return [entity.text for entities in found for entity in entities]


class Watched:
    """Notes what a scorer computes; stops it before a given call, as a lost machine would."""

    def __init__(
        self, scorer: RateScoreExtractor, monkeypatch: pytest.MonkeyPatch, stop_before: int | None = None
    ):
        self.seen: dict[str, list[str]] = {"split": [], "recognise": [], "embed": []}
        self.left = stop_before
        for name in self.seen:
            monkeypatch.setattr(scorer, name, self._wrap(name, getattr(scorer, name)))

    def _wrap(self, name, method):
        def call(items: list[str]):
            if self.left == 0:
                raise KeyboardInterrupt
            if self.left is not None:
                self.left -= 1
            self.seen[name] += items
            return method(items)

        return call


def test_results_are_those_without_shards(scorer: RateScoreExtractor, tmp_path: Path) -> None:
    sharded = ShardedExtractor(scorer, tmp_path / "shards", shard_size=4)
    found = sharded.extract(TEXTS)
    assert found == scorer.extract(TEXTS)
    words = words_of(found)
    assert len(words) > 20
    assert np.abs(sharded.embed(words) - scorer.embed(words)).max() < 1e-6
    assert (sharded.name, sharded.parameters) == (scorer.name, scorer.parameters)
    assert sharded.extract([]) == []
    assert sharded.embed([]).shape == (0, 32)


def test_a_second_run_computes_nothing_and_loads_no_model(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ShardedExtractor(RateScoreExtractor(*models, device="cpu"), tmp_path, shard_size=5)
    found = first.extract(TEXTS)
    vectors = first.embed(words_of(found))
    scorer = RateScoreExtractor(*models, device="cpu")
    watched = Watched(scorer, monkeypatch)
    again = ShardedExtractor(scorer, tmp_path, shard_size=5)
    assert again.extract(TEXTS[::-1]) == found[::-1]  # in any order
    assert (again.embed(words_of(found)) == vectors).all()
    assert watched.seen == {"split": [], "recognise": [], "embed": []}


@pytest.mark.parametrize("stop_before", [1, 3, 5, 6, 7])
def test_an_interrupted_run_goes_on_and_redoes_no_finished_shard(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_before: int
) -> None:
    whole = ShardedExtractor(RateScoreExtractor(*models, device="cpu"), tmp_path / "whole", shard_size=4)
    expected = whole.extract(TEXTS)
    vectors = whole.embed(words_of(expected))
    broken = RateScoreExtractor(*models, device="cpu")
    before = Watched(broken, monkeypatch, stop_before)
    stopped = ShardedExtractor(broken, tmp_path / "shards", shard_size=4)
    with pytest.raises(KeyboardInterrupt):
        stopped.embed(words_of(stopped.extract(TEXTS)))
    resumed_scorer = RateScoreExtractor(*models, device="cpu")
    after = Watched(resumed_scorer, monkeypatch)
    resumed = ShardedExtractor(resumed_scorer, tmp_path / "shards", shard_size=4)
    assert resumed.extract(TEXTS) == expected
    assert (resumed.embed(words_of(expected)) == vectors).all()
    for name, items in after.seen.items():
        assert not set(items) & set(before.seen[name])
        assert len(items) == len(set(items))
    for kind in (SENTENCES, ENTITIES, EMBEDDINGS):
        assert [p.name for p in shards(tmp_path / "shards", kind)] == [
            p.name for p in shards(tmp_path / "whole", kind)
        ]
        assert not list((tmp_path / "shards" / kind).glob(".*"))


def test_a_changed_corpus_computes_only_what_is_new(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ShardedExtractor(RateScoreExtractor(*models, device="cpu"), tmp_path, shard_size=4)
    first.embed(words_of(first.extract(TEXTS)))
    scorer = RateScoreExtractor(*models, device="cpu")
    watched = Watched(scorer, monkeypatch)
    changed = ["A new small lung.", *TEXTS]
    sharded = ShardedExtractor(scorer, tmp_path, shard_size=4)
    found = sharded.extract(changed)
    assert watched.seen["split"] == watched.seen["recognise"] == ["A new small lung."]
    plain = RateScoreExtractor(*models, device="cpu")
    assert found == plain.extract(changed)
    words = words_of(found)
    assert np.abs(sharded.embed(words) - plain.embed(words)).max() < 1e-6
    assert set(watched.seen["embed"]) <= set(words_of(found[:1]))


def test_shards_of_another_model_are_refused(
    models: tuple[Path, Path], scorer: RateScoreExtractor, tmp_path: Path
) -> None:
    ShardedExtractor(scorer, tmp_path / "shards").extract(TEXTS[:2])
    other = RateScoreExtractor(models[0], save_encoder(tmp_path / "other", 5), device="cpu")
    with pytest.raises(ValueError, match="another folder"):
        ShardedExtractor(other, tmp_path / "shards")
    with pytest.raises(ValueError, match="something else than shards"):
        ShardedExtractor(scorer, tmp_path)


def test_a_broken_shard_is_named(scorer: RateScoreExtractor, tmp_path: Path) -> None:
    ShardedExtractor(scorer, tmp_path).extract(TEXTS)
    path = shards(tmp_path, ENTITIES)[0]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"{path.name} cannot be read"):
        ShardedExtractor(scorer, tmp_path).extract(TEXTS)


def test_each_process_computes_its_share_alone(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes in turn: what the second waits for is there already."""
    scorers = [RateScoreExtractor(*models, device="cpu") for _ in range(2)]
    watched = [Watched(scorer, monkeypatch) for scorer in scorers]
    halves = [
        ShardedExtractor(scorer, tmp_path, Share(rank, 2), shard_size=4)
        for rank, scorer in enumerate(scorers)
    ]
    monkeypatch.setattr("dataset_scripts.relevance.neural.shards._wait", lambda path, share: path)
    with pytest.raises(ValueError, match="cannot be read"):
        halves[0].extract(TEXTS)  # nobody to wait for: it stops at the first shard of the other
    halves[1].extract(TEXTS[:0])
    unique = sorted(set(TEXTS))
    assert watched[0].seen["split"] == [t for i, t in enumerate(unique) if i // 4 % 2 == 0]
    assert watched[1].seen["split"] == []


def test_two_processes_write_what_one_writes(
    models: tuple[Path, Path], scorer: RateScoreExtractor, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    command = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    command += [
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
        "-m",
        "radir.score_shards",
    ]
    command += [str(tmp_path / "texts.txt"), str(tmp_path / "two"), "--shard-size", "4"]
    command += ["--ner", str(models[0]), "--encoder", str(models[1])]
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *command],
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "of process 1" in done.stderr  # both took part
    one = ShardedExtractor(scorer, tmp_path / "one", shard_size=4)
    one.embed(words_of(one.extract(TEXTS)))
    for kind in (SENTENCES, ENTITIES, EMBEDDINGS):
        mine, theirs = shards(tmp_path / "one", kind), shards(tmp_path / "two", kind)
        assert [p.name for p in mine] == [p.name for p in theirs]
        assert len(mine) > 1
        for a, b in zip(mine, theirs, strict=True):
            left, right = (pa.ipc.open_file(str(path)).read_all() for path in (a, b))
            if kind == EMBEDDINGS:
                assert np.allclose(left["value"].to_pylist(), right["value"].to_pylist(), atol=1e-6)
            else:
                assert left.equals(right)


def test_the_shards_of_a_dataset_serve_its_store(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command computes for a built dataset is all that a build with ratescore needs."""
    built = built_open_i(tmp_path / "data", studies=8)
    main([str(built), str(tmp_path / "shards"), "--ner", str(models[0]), "--encoder", str(models[1])])
    texts = EntityStore.load(built / "entities").texts
    assert sorted(corpus(built)) == sorted({str(text) for text in texts})
    scorer = RateScoreExtractor(*models, device="cpu")
    watched = Watched(scorer, monkeypatch)
    records = [(str(i), "", str(text)) for i, text in enumerate(texts)]
    store = EntityStore.build(records, ShardedExtractor(scorer, tmp_path / "shards"))
    assert len(store.entity_texts) > 3
    assert watched.seen == {"split": [], "recognise": [], "embed": []}


def test_each_shard_is_read_once_however_many_batches_there_are(
    scorer: RateScoreExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = pa.ipc.open_file
    monkeypatch.setattr(
        "dataset_scripts.relevance.neural.shards.pa.memory_map",
        lambda path: opened.append(path) or pa.OSFile(path),
    )
    monkeypatch.setattr(
        "dataset_scripts.relevance.neural.shards.pa.ipc.open_file", lambda source: real(source)
    )
    sharded = ShardedExtractor(scorer, tmp_path, shard_size=2)
    found = [entities for text in TEXTS for entities in sharded.extract([text])]
    assert found == scorer.extract(TEXTS)
    assert sorted(opened) == sorted(set(opened)) != []


def test_bad_settings_are_refused(scorer: RateScoreExtractor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rank is 2 of 2"):
        Share(2, 2)
    with pytest.raises(ValueError, match="shard_size is 0"):
        ShardedExtractor(scorer, tmp_path, shard_size=0)
    with pytest.raises(ValueError, match="neither a built dataset nor a text file"):
        corpus(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), str(tmp_path / "x"), "--ner", str(tmp_path / "none")])
    assert stopped.value.code == 2


def test_leftovers_go_when_nobody_else_is_at_work(scorer: RateScoreExtractor, tmp_path: Path) -> None:
    first = ShardedExtractor(scorer, tmp_path, shard_size=4)
    first.extract(TEXTS)
    before = sorted(path for path in tmp_path.rglob("*"))
    litter = [tmp_path / SENTENCES / ".abc.0123456789ab.partial.arrow", tmp_path / ".x.0123456789ab.partial"]
    for path in litter:
        path.write_bytes(b"half")
    second = ShardedExtractor(scorer, tmp_path, shard_size=4)
    assert all(path.exists() for path in litter)  # perhaps of the first, which is at work
    del first, second
    last = ShardedExtractor(scorer, tmp_path, shard_size=4)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert last.extract(TEXTS) == scorer.extract(TEXTS)


def test_nothing_is_removed_from_a_folder_of_someone_else(scorer: RateScoreExtractor, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / ".x.0123456789ab.partial").write_text("more of it")
    with pytest.raises(ValueError, match="something else than shards"):
        ShardedExtractor(scorer, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ValueError, match="cannot be a folder of shards"):
        ShardedExtractor(scorer, tmp_path / "thesis.txt")


@pytest.mark.parametrize("content", [b"", b"no arrow"])
def test_an_empty_or_foreign_shard_is_named(
    scorer: RateScoreExtractor, tmp_path: Path, content: bytes
) -> None:
    ShardedExtractor(scorer, tmp_path).extract(TEXTS)
    path = shards(tmp_path, SENTENCES)[0]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} cannot be read"):
        ShardedExtractor(scorer, tmp_path).extract(TEXTS)


def test_the_command_names_a_text_file_that_it_cannot_read(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts.txt").write_bytes(b"\xff\xfe heart")
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                *map(
                    str,
                    (tmp_path / "texts.txt", tmp_path / "out", "--ner", models[0], "--encoder", models[1]),
                )
            ]
        )
    assert stopped.value.code == 2
    assert "texts.txt cannot be used" in capsys.readouterr().err
