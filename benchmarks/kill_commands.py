"""The commands that `kills.py` kills, on made-up inputs of a few dozen studies, and what each starts from."""

import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Words = list[object]


@dataclass(frozen=True)
class Command:
    """A command line, what it reads, and what lies at its output before.

    Attributes:
        run: (inputs, output) -> the words, the program first: radir, or a module of ours that has a `main`.
        inputs: makes what it reads, once, in a new folder.
        before: (inputs, output) -> command lines that write what lies at the output already; none by default.
        whole: the output appears at once: after a kill it is the old one, the new one or none. What others
            write (checkpoints, shards, results of models, generations of an index) grows first.
        ignored: folders inside the output whose content differs from run to run, and may.
        pushes: the result is on the Hub, and what lies at the output stays as it is.
        parent_only: kill the process alone and leave its workers to themselves.
    """

    run: Callable[[Path, Path], Words]
    inputs: Callable[[Path], None]
    before: Callable[[Path, Path], list[Words]] = lambda inputs, out: []
    whole: bool = True
    ignored: tuple[str, ...] = ()
    pushes: bool = False
    parent_only: bool = False


def call(words: Words) -> None:
    """Run a command line in this process, as the shell would."""
    program, *arguments = map(str, words)
    sys.argv = [program, *arguments]
    if program == "radir":
        from radir import cli

        cli.main()
    elif program == "train_accelerate":
        import train_accelerate

        sys.exit(train_accelerate.main(arguments))
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def _quietly(*words: object) -> None:
    """Run a command line that makes inputs; an exit code ends it all."""
    try:
        call(list(words))
    except SystemExit as ended:
        if ended.code:
            raise


def _nothing(inputs: Path) -> None:
    """Phantoms need no inputs."""


def _open_i(inputs: Path) -> None:
    from tests.made_up.open_i import open_i_tree

    open_i_tree(inputs / "tree", 24)


def _mimic(inputs: Path) -> None:
    from tests.made_up.mimic import mimic_tree, phantom_contents

    mimic_tree(inputs / "tree", phantom_contents(), zipped=True, reports=inputs / "reports")


def _ctrate(inputs: Path) -> None:
    from tests.made_up.ctrate import MadeUpVolume, ctrate_tree
    from tests.made_up.open_i import findings

    names = (f"{split}_{number}_a_1" for split in ("train", "valid") for number in range(1, 5))
    volumes = [MadeUpVolume(name, findings=findings(10 * n)) for n, name in enumerate(names, start=1)]
    ctrate_tree(inputs / "tree", volumes)


def _data(inputs: Path) -> None:
    """A built dataset, and settings of a tiny training."""
    from tests.made_up.open_i import TINY_TRAINING

    _quietly("radir", "build", "phantom-cxr", "--count", 30, "--size", 64, "--processes", 1, "--out",
             inputs / "data", "--json")  # fmt: skip
    (inputs / "tiny.yaml").write_text(f"{TINY_TRAINING}dataset: {inputs / 'data'}\n", encoding="utf-8")


def _model(inputs: Path) -> None:
    """Also a tiny model of it."""
    _data(inputs)
    _quietly("train_accelerate", inputs / "tiny.yaml", "--output_dir", inputs / "model")


def _rate_models(inputs: Path) -> None:
    """Texts, and RaTEScore's two models, tiny."""
    from tests.made_up.open_i import SENTENCES, findings
    from tests.made_up.rate_models import save_encoder, save_ner

    words = sorted(
        {word.strip(".") for texts in SENTENCES.values() for text in texts for word in text.split()}
    )
    save_ner(inputs / "ner", 0, words=words)
    save_encoder(inputs / "encoder", 0, words=words)
    (inputs / "texts.txt").write_text("\n".join(map(findings, range(20))), encoding="utf-8")


def _build(name: str, *options: object, tree: bool = True, processes: int = 1) -> Callable[..., Words]:
    def words(inputs: Path, out: Path) -> Words:
        source = ["--source", inputs / "tree"] if tree else []
        return ["radir", "build", name, *source, *options, "--processes", processes, "--out", out]

    return words


def _mimic_build(inputs: Path, out: Path) -> Words:
    return _build("mimic-ir", "--size", 32, "--reports", inputs / "reports")(inputs, out)


def _phantom(count: int, processes: int = 1) -> Callable[..., Words]:
    options = ("--count", count, "--size", 64)
    return _build("phantom-cxr", *options, tree=False, processes=processes)


def _train(inputs: Path, out: Path) -> Words:
    return ["train_accelerate", inputs / "tiny.yaml", "--output_dir", out]


def _evaluate(inputs: Path, out: Path, *models: object) -> Words:
    which = models or ("--model", inputs / "model", "--baseline", "random", "--baseline", "oracle")
    return ["radir", "evaluate", *which, "--dataset", inputs / "data", "--split", "train", "--out", out]


def _index(inputs: Path, out: Path, split: str = "train") -> Words:
    return ["radir", "index", "--model", inputs / "model", "--dataset", inputs / "data", "--split", split,
            "--out", out]  # fmt: skip


def _export_run(inputs: Path, out: Path, depth: int = 10) -> Words:
    return ["radir", "export-run", "--model", inputs / "model", "--baseline", "random", "--dataset",
            inputs / "data", "--split", "train", "--depth", depth, "--out", out]  # fmt: skip


def _shards(inputs: Path, out: Path) -> Words:
    return ["radir.score_shards", inputs / "texts.txt", out, "--ner", inputs / "ner", "--encoder",
            inputs / "encoder", "--shard-size", 8]  # fmt: skip


COMMANDS = {
    "build phantom-cxr": Command(_phantom(10), _nothing),
    "build phantom-cxr, 2 processes": Command(_phantom(300, 2), _nothing, parent_only=True),  # three blocks
    "build phantom-cxr over another": Command(
        _phantom(10), _nothing, lambda inputs, out: [_phantom(6)(inputs, out)]
    ),
    "build phantom-ct": Command(
        _build("phantom-ct", "--count", 12, "--slices", 20, "--size", 36, tree=False), _nothing
    ),
    "build open-i": Command(_build("open-i"), _open_i),
    "build mimic-ir": Command(_mimic_build, _mimic),
    "build ctrate-ir": Command(_build("ctrate-ir"), _ctrate),
    "train": Command(_train, _data, whole=False, ignored=("logs",)),
    "evaluate": Command(_evaluate, _model, whole=False),
    "evaluate, a model added": Command(
        _evaluate,
        _model,
        lambda inputs, out: [_evaluate(inputs, out, "--baseline", "random")],
        whole=False,
    ),
    "index": Command(_index, _model, whole=False),
    "index over another": Command(
        _index, _model, lambda inputs, out: [_index(inputs, out, "test")], whole=False
    ),
    "export-run": Command(_export_run, _model, whole=False),  # two folders, one after the other
    "export-run over another": Command(
        _export_run, _model, lambda inputs, out: [_export_run(inputs, out, 5)], whole=False
    ),
    "shards": Command(_shards, _rate_models, whole=False),
    "push a dataset": Command(
        lambda inputs, out: ["radir", "push", "--dataset", out, "--repo", "user/made-up"],
        _nothing,
        lambda inputs, out: [_phantom(10)(inputs, out)],
        pushes=True,
    ),
    "push a model": Command(
        lambda inputs, out: ["radir", "push", "--model", out, "--repo", "user/made-up"],
        _data,
        lambda inputs, out: [_train(inputs, out)],
        pushes=True,
        ignored=("logs",),
    ),
}
