"""Every source builds a dataset, loads by its registered name with the same rows and says who may have it."""

import dataclasses
import itertools
import pickle
from pathlib import Path

import datasets
import pytest

from dataset_scripts.building.build import build_dataset
from dataset_scripts.building.build_info import BuildInfo
from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.sources.base import Sharing
from dataset_scripts.sources.registry import SOURCES
from modeling_radir.volumes import read_volume
from radir.publishing.push_dataset import push_dataset
from tests.made_up.ctrate import MadeUpVolume, ctrate_tree
from tests.made_up.mimic import mimic_tree, phantom_contents
from tests.made_up.open_i import findings, open_i_tree


def options(name: str, folder: Path) -> dict[str, object]:
    """A source's smallest useful settings, its tree made up in `folder`."""
    if name == "open-i":
        return {"source": open_i_tree(folder / "tree")}
    if name == "mimic-ir":
        tree = mimic_tree(folder / "tree", phantom_contents(), zipped=True, reports=folder / "reports")
        return {"source": tree.root, "reports": tree.reports, "size": 32}
    if name == "ctrate-ir":
        names = (f"{split}_{number}_a_1" for split in ("train", "valid") for number in range(1, 5))
        volumes = [
            MadeUpVolume(name, findings=findings(10 * number)) for number, name in enumerate(names, start=1)
        ]
        return {"source": ctrate_tree(folder / "tree", volumes)}
    if name == "phantom-ct":
        return {"count": 12, "slices": 20, "size": 36}
    return {"count": 12, "size": 64}


@pytest.fixture(scope="module", params=SOURCES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict, Path]:
    name, folder = request.param, tmp_path_factory.mktemp("sources")
    given = options(name, folder)
    build_dataset(SOURCES[name](**given), folder / "built", LexicalExtractor(), progress=False)
    return name, given, folder / "built"


def test_the_registered_name_gives_the_built_rows(built: tuple[str, dict, Path]) -> None:
    name, given, folder = built
    data_dir = {"data_dir": str(given["source"])} if "source" in given else {}
    others = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
    others.pop("source", None)
    for config in ("studies", "findings"):
        loaded = datasets.load_dataset(
            name.replace("-", "_"), config, cache_dir=str(folder.parent / "cache"), **data_dir, **others
        )
        from_folder = datasets.load_dataset(str(folder), config)
        assert set(loaded) == set(from_folder)
        for split in loaded:
            drop = ["image"] if config == "studies" else []
            assert (
                loaded[split].remove_columns(drop).to_list()
                == from_folder[split].remove_columns(drop).to_list()
            )


def test_a_source_travels_to_other_processes_and_names_its_tables(built: tuple[str, dict, Path]) -> None:
    name, given, _ = built
    source = SOURCES[name](**given)
    assert pickle.loads(pickle.dumps(source)) == source
    assert all(path.is_file() for path in source.tables())
    assert bool(source.tables()) == ("source" in given)


def test_every_option_has_a_help_text() -> None:
    for kind in SOURCES.values():
        for item in dataclasses.fields(kind):  # type: ignore[arg-type]
            assert len(item.metadata["help"]) > 10, (kind.name, item.name)


def test_sharing_follows_the_licence_and_no_path_is_recorded(built: tuple[str, dict, Path]) -> None:
    name, _, folder = built
    facts = BuildInfo.read(folder)
    expected = {
        "mimic-ir": Sharing.CREDENTIALED,
        "open-i": Sharing.RESTRICTED,
        "ctrate-ir": Sharing.RESTRICTED,
    }
    assert facts.sharing == expected.get(name, Sharing.OPEN)
    text = (folder / "build.json").read_text() + (folder / "README.md").read_text()
    assert str(folder.parent) not in text
    assert f"credentialed: {str(name == 'mimic-ir').lower()}" in text


def test_what_may_not_be_shared_is_refused_before_any_request(built: tuple[str, dict, Path]) -> None:
    _, _, folder = built
    if BuildInfo.read(folder).sharing != Sharing.OPEN:
        for words in ({}, {"private": True}, {"i_may_share": True}):
            with pytest.raises(ValueError, match="--identifiers-only"):
                push_dataset(folder, "user/name", progress=False, **words)


def test_volumes_open_in_hounsfield_units(built: tuple[str, dict, Path]) -> None:
    name, _, folder = built
    if not SOURCES[name].volumes:
        return
    data = BuiltDataset.open(folder)
    rows = itertools.chain.from_iterable(data.studies(split) for split in data.splits)
    for row in itertools.islice(rows, 4):
        geometry = data.geometry(row)
        hu = read_volume(data.path(row["image"]), **dataclasses.asdict(geometry)).hu
        assert hu.ndim == 3
        assert -1200 < hu.min() < -800
        assert 0 < hu.max() < 4000
