"""`load_dataset` by a registered name gives what the built folder gives, straight from the tree."""

import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

import dataset_scripts
from tests.made_up.open_i import built_open_i, open_i_tree

CONFIGS = ("studies", "findings", "anatomies", "relevance", "labels")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_open_i(tmp_path_factory.mktemp("registered"))


def load(built: Path, config: str | None, **options: object) -> datasets.DatasetDict:
    cache = str(built.parent / "cache")
    return datasets.load_dataset(
        "open_i", config, data_dir=str(built.parent / "source"), cache_dir=cache, **options
    )


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_equals_that_of_the_built_folder(built: Path, config: str) -> None:
    straight, from_folder = load(built, config), datasets.load_dataset(str(built), config)
    assert set(straight) == set(from_folder)
    for split in straight:
        assert straight[split].column_names == from_folder[split].column_names
        if config == "studies":
            assert straight[split][0]["image"] == from_folder[split][0]["image"]
            straight[split] = straight[split].remove_columns("image")
            from_folder[split] = from_folder[split].remove_columns("image")
        assert straight[split].to_list() == from_folder[split].to_list()


def test_studies_are_the_default_and_options_are_the_sources(built: Path) -> None:
    assert "image" in load(built, None)["train"].column_names
    assert {row["view"] for row in load(built, None, views="lateral", split="train")} == {"lateral"}


def test_streaming_gives_the_same_rows(built: Path) -> None:
    rows = list(load(built, "findings", streaming=True)["test"])
    assert rows == load(built, "findings")["test"].to_list()


def test_a_changed_table_is_read_again(tmp_path: Path) -> None:
    tree = open_i_tree(tmp_path / "source", studies=20)

    def rows() -> int:
        loaded = datasets.load_dataset("open_i", data_dir=str(tree), cache_dir=str(tmp_path / "cache"))
        return sum(map(len, loaded.values()))

    assert rows() == 20
    table = tree / "indiana_projections.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith(("3,", "4,"))))
    assert rows() == 18


def test_images_that_came_later_are_read_on_request(tmp_path: Path) -> None:
    """A partial download grows without any table changing."""
    tree = open_i_tree(tmp_path / "source", studies=20)
    image = sorted((tree / "images").glob("*F*"))[0]
    pixels = image.read_bytes()
    image.unlink()

    def rows(**options: str) -> int:
        loaded = datasets.load_dataset(
            "open_i", data_dir=str(tree), cache_dir=str(tmp_path / "cache"), **options
        )
        return sum(map(len, loaded.values()))

    assert rows() == 19
    image.write_bytes(pixels)
    assert rows(download_mode="force_redownload") == 20


def test_the_tree_is_not_globbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the tree was globbed")

    monkeypatch.setattr(datasets.load, "get_data_patterns", refuse)
    monkeypatch.setattr(Path, "rglob", refuse)
    tree = open_i_tree(tmp_path / "source", studies=6)
    assert datasets.load_dataset("open_i", data_dir=str(tree), cache_dir=str(tmp_path / "cache"))


def test_a_source_without_a_tree_needs_no_data_dir(tmp_path: Path) -> None:
    loaded = datasets.load_dataset("phantom_cxr", count=8, size=64, cache_dir=str(tmp_path))
    assert sum(map(len, loaded.values())) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give its root as data_dir"),
        ({"data_dir": "/nowhere"}, "/nowhere is no folder"),
        ({"data_files": "x.csv"}, "takes no data_files"),
        ({"data_dir": ".", "vews": "all"}, "vews"),
    ],
)
def test_bad_arguments_are_refused_with_a_sentence(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        datasets.load_dataset("open_i", cache_dir=str(tmp_path), **arguments)


def test_the_stock_names_work_as_before(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    loaded = datasets.load_dataset(
        "csv", data_files=str(tmp_path / "table.csv"), cache_dir=str(tmp_path / "cache")
    )
    assert loaded["train"][0] == {"a": 1, "b": 2}


def test_registering_twice_changes_nothing() -> None:
    factory = datasets.load.PackagedDatasetModuleFactory
    dataset_scripts.register()
    assert datasets.load.PackagedDatasetModuleFactory is factory


def test_a_script_without_a_main_guard_can_load(built: Path, tmp_path: Path) -> None:
    """Worker processes would run such a script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import dataset_scripts\nfrom datasets import load_dataset\n"
        f"d = load_dataset('open_i', 'findings', data_dir={str(built.parent / 'source')!r}, "
        f"cache_dir={str(tmp_path / 'cache')!r}, split='test')\nprint(len(d))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert int(ran.stdout) == len(load(built, "findings")["test"])


def modes(folder: Path) -> set[str]:
    """Who but the owner may do something with the files below a folder."""
    return {oct(path.stat().st_mode & 0o077) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("options", [{}, {"streaming": True}])
def test_what_is_cached_of_a_source_that_is_not_open_is_for_its_user_alone(
    tmp_path: Path, options: dict
) -> None:
    tree = open_i_tree(tmp_path / "source", studies=8)
    (tmp_path / "cache").mkdir(mode=0o755)
    before = os.umask(0o022)
    try:
        for config in ("studies", "relevance"):
            loaded = datasets.load_dataset(
                "open_i", config, data_dir=str(tree), cache_dir=str(tmp_path / "cache"), **options
            )
            assert next(iter(loaded["train"]))
        assert os.umask(0o022) == 0o022  # as it was
    finally:
        os.umask(before)
    content = [path for path in (tmp_path / "cache").rglob("*.*") if path.suffix in (".arrow", ".parquet")]
    assert content
    assert {oct(path.stat().st_mode & 0o077) for path in content} == {"0o0"}
    assert {oct(path.stat().st_mode & 0o077) for path in (tmp_path / "cache" / "radir").iterdir()} == {"0o0"}
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o755  # which others may share


def test_what_is_cached_of_an_open_source_is_as_of_any_dataset(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        datasets.load_dataset("phantom_cxr", count=8, size=64, cache_dir=str(tmp_path))
    finally:
        os.umask(before)
    assert "0o44" in modes(tmp_path)


def test_copies_that_an_earlier_version_left_open_are_closed(tmp_path: Path) -> None:
    tree = open_i_tree(tmp_path / "source", studies=8)

    def load() -> Path:
        loaded = datasets.load_dataset("open_i", data_dir=str(tree), cache_dir=str(tmp_path / "cache"))
        return Path(loaded["train"].cache_files[0]["filename"]).parent

    folder = load()
    folder.chmod(0o755)
    assert load() == folder
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("config", ["studies", "relevance"])
def test_an_interrupted_load_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    tree = open_i_tree(tmp_path / "source", studies=8)

    def load() -> datasets.DatasetDict:
        return datasets.load_dataset("open_i", config, data_dir=str(tree), cache_dir=str(tmp_path / "cache"))

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dataset_scripts.building.build._write_anatomies", stop)
        with pytest.raises(KeyboardInterrupt):
            load()
    with monkeypatch.context() as patch:
        patch.setattr(
            "dataset_scripts.sources.open_i.OpenISource.read", stop
        )  # what is mined is not read again
        rows = load()
    assert sum(map(len, rows.values())) > 0
    left = [path.name for path in (tmp_path / "cache" / "radir").rglob(".*")]
    assert set(left) <= {".lock"}
