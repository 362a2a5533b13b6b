"""README.md and docs/: their code runs; the options, paths, modules, links and figures in them are right.

A document speaks to this test in comments that readers do not see, on a line of their own before a block:

    <!-- test: skip, REASON -->   the block cannot run here; that its modules are there is still checked
    <!-- test: run -->            the `radir` lines of a bash block run
    <!-- test: prints -->         the block prints the ```text block that follows, figures to four digits
    <!-- test: figures FILE -->   each number of the next table stands in that file, or in one of several;
                                  of a paragraph, each number with a decimal point

A ```python block runs, all of a document in one namespace. Each line of a ```bash block is parsed: `radir` by
its own parser, `accelerate launch` by the trainer's, benchmarks by the options that they declare. A ```text
block that follows is what was printed; it is compared only where `prints` says so.

Blocks run in a folder with what the documents name: a tiny phantom dataset, a model trained for some steps,
an index, the image query.png, and two files of texts.
"""

import configparser
import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EVERY = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
ROOMS = {
    *("modeling_radir", "dataset_scripts", "radir_training", "train_accelerate"),
    *("radir_eval", "radir_retrieval", "radir_search", "radir"),
}
IDIOMS = re.compile(
    r"\b(goes on|go on where|appears? whole|under (an|every) anatomy)\b|TODO\(|@@"  # private, or unfinished
    r"|\b(this|earlier|last|previous) (session|week|issue)s?\b|\bfirst try\b",  # of the work, not the product
    re.IGNORECASE,
)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
FILES = (".py", ".yaml", ".md", ".json", ".safetensors")

MODEL = """
projection_dim: 128
vision: {model_type: vit, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
         intermediate_size: 32, image_size: 32, patch_size: 8, num_channels: 1}
text: {model_type: bert, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}
fusion: {num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}
vocab_size: 400
max_tokens: 48
image_size: 32
stage1_steps: 2
stage2_steps: 2
batch_size: 8
stage2_batch_size: 8
anatomies_per_step: 3
train_vision: true
warmup_steps: 1
tracker: none
"""
TEXTS = {
    "candidates.txt": "Small left pleural effusion.\nThe heart is enlarged.\n",
    "references.txt": "Moderate left pleural effusion.\nNo cardiomegaly.\n",
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and lines, what the comment before it asks, what the block after shows."""

    document: Path
    line: int
    language: str
    code: str
    asks: tuple[str, ...]
    printed: str | None

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a document, in their order."""
    found: list[Block] = []
    asks: tuple[str, ...] = ()
    lines = iter(enumerate(document.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if comment := re.fullmatch(r"<!-- test: (.*) -->", line):
            asks = tuple(part.strip() for part in comment[1].split(","))
        elif fence := re.fullmatch(r"```(\w+)", line):
            code = []
            for _, inner in lines:
                if inner == "```":
                    break
                code.append(inner)
            text = "\n".join(code)
            if fence[1] == "text" and found and found[-1].printed is None:
                last = found[-1]
                found[-1] = Block(last.document, last.line, last.language, last.code, last.asks, text)
            else:
                found.append(Block(document, number, fence[1], text, asks, None))
            asks = ()
        elif line.strip() and not line.startswith("|"):
            asks = asks if asks and asks[0].startswith("figures") else ()
    return found


def lines_of(block: Block) -> list[str]:
    """The commands of a bash block, continued lines joined."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


COMMANDS = [
    (block, line)
    for document in DOCUMENTS
    for block in blocks(document)
    if block.language == "bash"
    for line in lines_of(block)
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the documents name: runs/, query.png, texts, the metric."""
    from dataset_scripts.building.built_dataset import BuiltDataset
    from radir_training.settings import load_config
    from train_accelerate import train

    folder = tmp_path_factory.mktemp("documents")
    data, model, index = (folder / "made" / name for name in ("data", "model", "index"))
    size = ("--count", 40, "--size", 64, "--processes", 1)
    radir("build", "phantom-cxr", *size, "--out", data)
    (folder / "made" / "tiny.yaml").write_text(MODEL)
    train(load_config([str(folder / "made/tiny.yaml"), "--dataset", str(data), "--output_dir", str(model)]))
    radir("index", "--model", model, "--dataset", data, "--split", "train", "--out", index)
    places = {
        data: ("runs/phantom-cxr", "runs/demo/phantom-cxr"),
        model: ("runs/radir-cxr", "runs/demo/radir-cxr-phantom", "runs/demo/clip-cxr-phantom"),
        index: ("runs/index", "runs/demo/index"),
        ROOT / "eval": ("eval",),
    }
    for target, names in places.items():
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(target)
    opened = BuiltDataset.open(data)
    opened.image(opened.studies("test")[0]).save(folder / "query.png")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    return folder


def radir(*arguments: object) -> None:
    """Run a `radir` command in this process."""
    app_command().main([str(part) for part in arguments], prog_name="radir", standalone_mode=False)


def app_command() -> Any:
    """The command line as a parser."""
    from radir.cli import app

    return typer.main.get_command(app)


# What the blocks do


def test_blocks_run_and_print_what_they_show(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one test, so that the world is made once however the tests are shared out."""
    monkeypatch.chdir(world)
    wrong: list[str] = []
    for document in DOCUMENTS:
        namespace: dict[str, Any] = {}
        for block in blocks(document):
            try:
                run(block, namespace)
            except Exception as error:  # whatever the code of a document raises
                wrong.append(f"{block}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def run(block: Block, namespace: dict[str, Any]) -> None:
    """Run what is to run of a block, and compare what it prints where that is promised."""
    if "skip" in block.asks:
        for module in re.findall(r"^(?:from|import) ([\w.]+)", block.code, re.MULTILINE):
            if module.split(".")[0] in ROOMS:
                importlib.import_module(module)
        return
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if block.language == "python":
            exec(compile("\n" * block.line + block.code, str(block.document), "exec"), namespace)
        elif "run" in block.asks:
            for line in lines_of(block):
                radir(*shlex.split(line)[1:])
    if "prints" in block.asks:
        check_same(out.getvalue(), block)


@pytest.mark.parametrize(("block", "line"), COMMANDS, ids=str)
def test_commands_parse(block: Block, line: str, tmp_path: Path) -> None:
    program, *arguments = shlex.split(line, comments=True)
    known = {"radir": parse_radir, "accelerate": parse_accelerate, "make": parse_make, "pip": parse_pip,
             "python": parse_python}  # fmt: skip
    assert program in known, f"{block}: the test does not know how to check {program}"
    known[program](arguments)


def check_same(printed: str, block: Block) -> None:
    number = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
    shown = block.printed or ""
    texts = [number.sub("#", text.strip()) for text in (printed, shown)]
    values = [list(map(float, number.findall(text))) for text in (printed, shown)]
    if not shown or texts[0] != texts[1] or values[0] != pytest.approx(values[1], rel=1e-4):
        raise ValueError(f"the document shows {shown!r}, printed was {printed!r}")


def parse_radir(arguments: list[str]) -> None:
    command, name, rest = app_command(), "radir", list(arguments)
    while hasattr(command, "commands"):
        assert rest, f"radir {' '.join(arguments)}: a subcommand is missing"
        name = rest.pop(0)
        context = command.make_context("radir", [name], resilient_parsing=True)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command radir {name}"
        command = found
    command.make_context(name, rest)


def parse_accelerate(arguments: list[str]) -> None:
    from accelerate.commands.launch import launch_command_parser

    from radir_training.settings import load_config

    given = launch_command_parser().parse_args(arguments[1:])
    script, rest = given.training_script, given.training_script_args
    if given.module:
        assert hasattr(importlib.import_module(script), "main"), f"{script} is no module with a main"
        return
    assert (ROOT / script).is_file(), script
    config, *options = rest
    if "--output_dir" not in options and "output_dir:" not in (ROOT / config).read_text():
        raise AssertionError(f"{' '.join(arguments)} says no output_dir")
    load_config([str(ROOT / config), *options])


def parse_make(arguments: list[str]) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert arguments[0] in targets


def parse_pip(arguments: list[str]) -> None:
    asked = re.findall(r"\[([\w,]+)\]", " ".join(arguments))
    assert {name for names in asked for name in names.split(",")} <= extras()


def parse_python(arguments: list[str]) -> None:
    script, *rest = arguments
    check_script(script, [part for part in rest if part.startswith("--")])


def check_script(script: str, options: list[str]) -> None:
    code = (ROOT / script).read_text(encoding="utf-8")
    for option in options:
        passed_on = "parse_known_args" in code  # to `radir build`
        assert f'"{option}"' in code or passed_on, f"{script} has no {option}"


def extras() -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return set(parser["options.extras_require"])


# What the prose names


def prose(document: Path) -> str:
    """A document without its blocks and comments."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def quoted(document: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(document))


@pytest.mark.parametrize("document", EVERY, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = prose(document)
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("document", EVERY, ids=lambda path: path.name)
def test_paths_exist(document: Path) -> None:
    rooms = ROOMS | {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "runs"}
    missing = [
        word
        for words in quoted(document)
        for word in words.split()
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", word) and "/" in word and word.split("/")[0] in rooms
        if not (ROOT / word).exists()
    ]
    assert not missing


@pytest.mark.parametrize("document", EVERY, ids=lambda path: path.name)
def test_modules_and_their_contents_exist(document: Path) -> None:
    missing = []
    for word in quoted(document):
        if re.fullmatch(r"\w+(\.\w+)+", word) and word.split(".")[0] in ROOMS and not word.endswith(FILES):
            try:
                resolve(word)
            except (ImportError, AttributeError) as error:
                missing.append(f"{word}: {error}")
    assert not missing


def resolve(name: str) -> Any:
    """The module, or what a module holds, that a dotted name stands for."""
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for position, part in enumerate(parts[1:], 1):
        if not hasattr(found, part):
            found = importlib.import_module(".".join(parts[: position + 1]))
        else:
            found = getattr(found, part)
    return found


@pytest.mark.parametrize("document", EVERY, ids=lambda path: path.name)
def test_options_exist(document: Path) -> None:
    known = set(options_of(app_command())) | trainer_options()
    known |= {
        "--help",
        "--name",
        "--num_cpu_threads_per_process",
    }  # --name: of any setting; the last: accelerate's
    known |= {option for path in (ROOT / "benchmarks").glob("*.py")
              for option in re.findall(r'"(--[\w-]+)"', path.read_text(encoding="utf-8"))}  # fmt: skip
    named = {option for words in quoted(document) for option in re.findall(r"(?<!\S)--[a-z][\w-]*", words)}
    assert named <= known, named - known


def options_of(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
    context = command.make_context("radir", [], resilient_parsing=True)
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from options_of(command.get_command(context, name))


def trainer_options() -> set[str]:
    from dataclasses import fields

    from radir_training.settings import TrainConfig

    return {f"--{field.name}" for field in fields(TrainConfig)}


@pytest.mark.parametrize("document", EVERY, ids=lambda path: path.name)
def test_benchmarks_are_there_with_their_results(document: Path) -> None:
    text = prose(document)
    for call in re.findall(r"`(?:python )?(benchmarks/\w+\.py[^`]*)`", text):
        script, *rest = call.split()
        check_script(script, [part for part in rest if part.startswith("--")])
    for result in re.findall(r"benchmarks/results/[\w-]+\.md", text):
        assert (ROOT / result).is_file(), result


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_figures_of_tables_stand_in_their_results(document: Path) -> None:
    lines = document.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        asked = re.fullmatch(r"<!-- test: figures (.*) -->", line)
        if asked:
            found = numbers_in(*(document.parent / name for name in asked[1].split()))
            rows = list(takewhile(str.strip, lines[number:]))
            assert any(map(figures_of, rows)), f"{document.name}:{number} promises figures"
            missing = {figure for row in rows for figure in figures_of(row) if figure not in found}
            assert not missing, f"{document.name}:{number}"


def figures_of(row: str) -> list[str]:
    """The numbers of a table's row, but for its first cell, which names it; of a text those with a point."""
    if not row.startswith("|"):
        return [each for each in NUMBER.findall(row) if "." in each]
    return [each for cell in row.split("|")[2:] for each in NUMBER.findall(re.sub(r"[\w@]+@|@\d+", "", cell))]


def numbers_in(*results: Path) -> set[str]:
    """The numbers of files, as they are, rounded, and in millions."""
    found = {each for path in results for each in NUMBER.findall(path.read_text(encoding="utf-8"))}
    values = [float(each.replace(",", "")) for each in found]
    rounded = {f"{value:.{digits}f}" for value in values for digits in (0, 1, 2)}
    return found | rounded | {f"{value / 1e6:.1f}" for value in values}


# How it is written


def sentences(document: Path) -> list[str]:
    """The sentences of a document's prose: no tables, headings, code or addresses."""
    lines = [line for line in prose(document).splitlines() if not line.startswith(("|", "#", "!["))]
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", "\n".join(lines))
    text = re.sub(r"`[^`]*`", "X", text)
    parts = re.split(r"(?<=[.!?:])\s+|\n\s*\n|\n- ", text)
    return [part for part in parts if len(part.split()) > 2]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_sentences_are_short(document: Path) -> None:
    lengths = [len(sentence.split()) for sentence in sentences(document)]
    assert lengths
    assert sum(lengths) / len(lengths) < 20


def test_the_readme_fits_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 140


@pytest.mark.parametrize("document", EVERY, ids=lambda path: path.name)
def test_the_words_are_the_fields(document: Path) -> None:
    text = " ".join(document.read_text(encoding="utf-8").split())
    assert not [found[0] for found in IDIOMS.finditer(text)]


def test_the_citation_is_complete() -> None:
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license", "references"} <= set(citation)
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    assert citation["version"] == parser["metadata"]["version"]
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
