"""The package as people install it: a wheel, in an environment of its own, outside of the checkout."""

import configparser
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("modeling_radir", "dataset_scripts", "radir_training", "radir_search", "radir", "eval")
_BUILD = ("build", "phantom-cxr", "--count", "20", "--size", "64", "--processes", "1", "--out", "data")
TOP_LEVEL = {
    *("modeling_radir", "dataset_scripts", "radir_training", "radir_eval", "radir_retrieval", "radir_search"),
    *("radir", "train_accelerate.py"),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the checkout: building leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (*ROOMS, "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "train_accelerate.py"):
        shutil.copy(ROOT / name, source / name)
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--wheel-dir", folder, source, cwd=folder)  # fmt: skip
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel, and sees the libraries of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    libraries = sysconfig.get_path("purelib")  # its own .pth files, and with them the checkout, are not read
    (site / "libraries.pth").write_text(f"{libraries}\n")
    if (Path(libraries) / "torchvision_on_cpu_torch.py").is_file():
        (site / "torchvision_on_cpu_torch.pth").write_text("import torchvision_on_cpu_torch\n")
    _run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    )
    return folder / "bin"


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if ".dist-info/" not in name]


def test_no_top_level_name_collides_with_a_users_own(wheel: Path) -> None:
    assert {name.split("/")[0] for name in _names(wheel)} == TOP_LEVEL


def test_every_file_of_the_rooms_is_in_the_wheel(wheel: Path) -> None:
    packed = set(_names(wheel))
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(ROOT).as_posix().removeprefix("eval/")
                assert name in packed, f"{name} is not in the wheel: add it to setup.cfg"


def test_the_installed_command_builds_a_dataset_beside_a_users_own_files(
    environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "eval.py").write_text("raise RuntimeError('not yours')\n")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("raise RuntimeError('not yours')\n")
    _run(environment / "radir", *_BUILD, cwd=tmp_path)
    assert (tmp_path / "data" / "README.md").is_file()
    code = "import radir_eval.benchmark, radir.commands.demo, train_accelerate; print(radir_eval.__file__)"
    where = _run(environment / "python", "-c", code, cwd=tmp_path)
    assert str(ROOT) not in where and "site-packages" in where


def test_importing_radir_imports_nothing_large(environment: Path, tmp_path: Path) -> None:
    code = "import sys, radir; print(*sys.modules)"
    loaded = set(_run(environment / "python", "-c", code, cwd=tmp_path).split())
    assert not loaded & {"torch", "numpy", "datasets", "transformers", "pandas", "typer"}


@pytest.mark.parametrize("words", [["--help"], ["evaluate", "--help"], ["push", "--help"]])
def test_help_needs_no_torch(environment: Path, tmp_path: Path, words: Sequence[str]) -> None:
    code = (
        "import sys\nfrom radir.cli import main\nsys.argv = ['radir', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [environment / "python", "-c", code, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert "Usage" in done.stdout
    assert not set(done.stderr.split()) & {"torch", "numpy", "datasets", "transformers", "pandas"}


def test_radir_offers_what_it_names(environment: Path, tmp_path: Path) -> None:
    code = "import radir\nfor name in radir.__all__: print(name, getattr(radir, name) is not None)"
    lines = _run(environment / "python", "-c", code, cwd=tmp_path).splitlines()
    assert len(lines) >= 8
    assert all(line.endswith("True") for line in lines)


def test_every_extra_is_part_of_all_or_says_otherwise() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    extras = settings["options.extras_require"]
    together = set(extras["all"].strip().removeprefix("radir[").removesuffix("]").split(","))
    assert together <= set(extras)
    assert {"build", "train", "search", "report"} <= together


_WITHOUT_EXTRAS = """
import sys
from radir.cli import main
missing = set(sys.argv[1].split(","))
class Without:
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in missing else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path if not isinstance(finder, type) or
                    finder.__module__.startswith("_frozen") or finder.__module__.startswith("importlib")]
sys.argv = ["radir", *sys.argv[2:]]
main()
"""
_OF_EXTRAS = (
    "torch,torchvision,transformers,timm,tokenizers,accelerate,tensorboard,safetensors,nibabel,pydicom,scipy,PIL,"
    "jinja2,matplotlib"
)


def test_scoring_texts_needs_no_extra_and_what_needs_one_says_which(
    environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts").write_text("No effusion.\n")
    command = [environment / "python", "-c", _WITHOUT_EXTRAS, _OF_EXTRAS]
    assert _run(*command, "score", "texts", "texts", cwd=tmp_path) == "1.000000\n"
    done = subprocess.run(
        [*command, "index", "--model", ".", "--images", ".", "--out", "index"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "this needs " in done.stderr and "pip install 'radir[" in done.stderr
