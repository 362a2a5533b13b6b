"""The rooms and their rules of import (docs/architecture.md), read from the code itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    **{name: ROOT / name for name in ("modeling_radir", "dataset_scripts", "radir_training", "radir_search")},
    "radir": ROOT / "radir",
    "radir_eval": ROOT / "eval" / "radir_eval",
    "radir_retrieval": ROOT / "eval" / "radir_retrieval",
}
# A room imports from the rooms named here alone, and from itself.
MAY_IMPORT = {
    "modeling_radir": set(),
    "radir_retrieval": set(),
    "dataset_scripts": {"modeling_radir"},  # inside functions, see below
    "radir_training": {"modeling_radir", "dataset_scripts"},
    "radir_search": {"modeling_radir", "dataset_scripts"},
    "radir_eval": {"modeling_radir", "dataset_scripts", "radir_retrieval"},
    "train_accelerate": {"modeling_radir", "dataset_scripts", "radir_training"},
    "radir": {*ROOMS, "train_accelerate"},
}
# Inside two rooms each part imports from parts of lower levels alone.
LEVELS = {
    "dataset_scripts": [
        {"plumbing"},
        {"mining"},
        {"relevance", "sources"},
        {"building"},
        {"hf_builders"},
    ],
    "radir_eval": [
        {"retrieval_split", "protocol", "fingerprint", "results_folder"},
        {"rankers", "judgement"},
        {"baselines", "task_cache"},
        {"tasks"},
        {"statistics", "export"},
        {"labels"},
        {"tables"},
        {"report"},
        {"benchmark"},
    ],
}
WITH_TORCH = (
    *("modeling_radir", "radir_training", "radir_eval", "radir_search", "train_accelerate", "radir"),
    *("dataset_scripts.relevance.neural", "dataset_scripts.relevance.engine.kernel_torch"),
)
MOST_FILES = 22  # Python files side by side
MOST_FLAT = 28  # in modeling_radir, whose files travel with a model: remote code has no sub-folders


def _modules() -> dict[str, Path]:
    """Module name -> file, of all rooms."""
    found = {"train_accelerate": ROOT / "train_accelerate.py"}
    for room, folder in ROOMS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([room, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = _modules()


def _imports(module: str) -> Iterator[tuple[str, bool]]:
    """(imported name, whether inside a function or for type checkers alone); ours by their longest name."""
    path = MODULES[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in later) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{name}.{alias.name}"
                yield (inner if inner in MODULES else name), id(node) in later


def _ours(module: str) -> Iterator[tuple[str, bool]]:
    yield from ((name, later) for name, later in _imports(module) if name in MODULES and name != module)


def _of_room(room: str) -> list[str]:
    return [module for module in MODULES if module.split(".")[0] == room]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_stands_below_it(room: str) -> None:
    wrong = [
        f"{module} -> {name}"
        for module in _of_room(room)
        for name, _ in _ours(module)
        if name.split(".")[0] not in {room, *MAY_IMPORT[room]}
    ]
    assert not wrong


def test_what_a_model_folder_carries_is_flat() -> None:
    """Remote code cannot import sub-packages: the files beside each other import each other alone."""
    wrong = [
        f"{module} -> {name}"
        for module in _of_room("modeling_radir")
        if MODULES[module].parent == ROOMS["modeling_radir"]
        for name, _ in _ours(module)
        if MODULES[name].parent != ROOMS["modeling_radir"]
    ]
    assert not wrong


def test_datasets_reach_for_image_readers_inside_functions_alone() -> None:
    wrong = [
        f"{module} -> {name}"
        for module in _of_room("dataset_scripts")
        for name, later in _ours(module)
        if name.startswith("modeling_radir") and not later
    ]
    assert not wrong


@pytest.mark.parametrize("room", LEVELS)
def test_the_parts_of_a_room_stand_in_the_order_of_the_data(room: str) -> None:
    level = {part: number for number, parts in enumerate(LEVELS[room]) for part in parts}
    for module in _of_room(room):
        part = module.split(".")[1:2]
        for name, _ in _ours(module):
            other = name.split(".")[1:2]
            if name.split(".")[0] != room or not part or not other or part == other:
                continue
            assert level[other[0]] < level[part[0]], f"{module} -> {name}"


def test_training_imports_of_the_datasets_what_is_built() -> None:
    names = [name for name, _ in _ours("train_accelerate") if name.startswith("dataset_scripts")]
    assert names
    assert all(name.startswith(("dataset_scripts.building", "dataset_scripts.plumbing")) for name in names)


def test_torch_is_imported_where_models_are() -> None:
    wrong = [
        module
        for module in MODULES
        if not module.startswith(WITH_TORCH)
        for name, later in _imports(module)
        if name.split(".")[0] in ("torch", "torchvision", "transformers") and not later
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: {name for name, _ in _ours(module)} for module in MODULES}
    while leaves := [module for module, below in graph.items() if not below & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph, f"circles among {sorted(graph)}"


def test_every_folder_tells_the_order_of_its_files() -> None:
    for folder in {path.parent for path in MODULES.values()} - {ROOT}:
        init = folder / "__init__.py"
        assert init.is_file(), f"{folder} has no __init__.py"
        told = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8")))
        assert told, f"{init} says nothing"
        parts = [path.stem for path in folder.glob("*.py") if path != init]
        parts += [path.parent.name for path in folder.glob("*/__init__.py")]
        untold = [part for part in parts if not re.search(rf"`([\w.]+\.)?{part}[`/.]", told)]
        assert not untold, f"{init} does not tell what {', '.join(untold)} are for"


def test_no_folder_is_a_long_flat_list() -> None:
    for folder in {path.parent for path in MODULES.values()}:
        most = MOST_FLAT if folder == ROOMS["modeling_radir"] else MOST_FILES
        assert len(list(folder.glob("*.py"))) <= most, folder
