"""Files that are not what a command needs, and outputs that cannot be: a sentence that names them, and 2."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from radir import cli


class Code:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Broken files of all kinds, the usual lines in lines.txt, a folder and a link that leads nowhere."""
    folder = tmp_path_factory.mktemp("files")
    torch.save({"key": torch.zeros(300)}, folder / "small.pt")
    (folder / "cut.pt").write_bytes((folder / "small.pt").read_bytes()[:600])
    (folder / "code.pt").write_bytes(pickle.dumps(Code(folder / "RAN")))
    torch.save({"key": Code(folder / "RAN")}, folder / "code-inside.pt")
    torch.save({1: torch.zeros(3)}, folder / "numbers.pt")
    texts = {"lines.txt": "No effusion.\n", "more.txt": "a\nb\n", "empty.txt": "", "half.json": "{",
             "list.json": "[1]", "deep.json": "[" * 100_000, "wrong.json": '{"1": {"entities": 3}}',
             "span.json": '{"1": {"text": "x", "entities": {"1": [1]}}}', "words.pt": "words " * 90,
             "empty.pt": "", "empty.safetensors": "", "empty.csv": "", "other.csv": "a,b\n1,2\n"}  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name in ("bytes.txt", "bytes.json", "bytes.csv", "bytes.safetensors"):
        (folder / name).write_bytes(b"\xff\xfe\x00\x81" * 30)
    (folder / "folder").mkdir()
    (folder / "folder" / "mine.txt").write_text("mine")
    (folder / "link").symlink_to(folder / "folder")
    return folder


CHECKPOINTS = (
    *("cut.pt", "code.pt", "code-inside.pt", "numbers.pt", "words.pt", "empty.pt", "folder", "none.pt"),
    *("empty.safetensors", "bytes.safetensors", "small.pt"),
)
LINES = ("more.txt", "empty.txt", "bytes.txt", "folder", "none.txt")
RADGRAPH = ("half.json", "list.json", "deep.json", "wrong.json", "span.json", "bytes.json", "none.json")
CASES = {
    **{
        f"checkpoint {name}": ("convert-checkpoint {}/" + name + " --out {out}/new", name)
        for name in CHECKPOINTS
    },
    **{
        f"overrides {name}": ("convert-checkpoint {}/small.pt --config {}/" + name + " --out {out}/new", name)
        for name in ("half.json", "list.json", "deep.json", "bytes.json", "none.json")
    },
    **{
        f"converted to {name}": ("convert-checkpoint {}/small.pt --out {}/" + name, there)
        for name, there in (("lines.txt", "lines.txt"), ("folder", "folder"), ("link", "folder"))
    },
    **{f"exported to {name}": ("export --model {} --out {}/" + name, "") for name in ("lines.txt", "folder")},
    **{f"scored {name}": ("score {}/lines.txt {}/" + name, name) for name in LINES},
    **{
        f"discovered {name}": ("discover --radgraph {}/" + name + " --out {out}/terms.csv", name)
        for name in RADGRAPH
    },
    **{
        f"reports {name}": ("discover --reports {}/" + name + " --out {out}/terms.csv", name)
        for name in ("bytes.csv", "empty.csv", "other.csv", "bytes.txt", "empty.txt", "none.txt")
    },
    "terms to a folder": ("discover --radgraph {}/list.json --out {}/folder", "folder"),
    "terms below a file": ("discover --radgraph {}/list.json --out {}/lines.txt/terms.csv", "lines.txt"),
    "heat-map below a file": (
        "heat-map --model {} --image {}/lines.txt --anatomy heart --out {}/lines.txt/map.png",
        "lines.txt",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_ends_with_a_sentence_that_names_it_and_2(
    case: str,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, named = CASES[case]
    before = sorted(path.relative_to(files) for path in files.rglob("*"))
    arguments = [word.replace("{}", str(files)).replace("{out}", str(tmp_path)) for word in words.split()]
    monkeypatch.setattr("sys.argv", ["radir", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr().err
    assert stopped.value.code == 2, said
    assert "radir: " in said
    assert named in said
    assert "fault of RadIR" not in said
    assert sorted(path.relative_to(files) for path in files.rglob("*")) == before  # nothing ran, nothing left
    assert not list(tmp_path.iterdir())
