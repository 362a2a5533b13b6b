"""build.json: what a dataset was built from, with which counts, and who may have it."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_scripts.building.layout import FACTS
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.sources.base import Sharing


@dataclass(frozen=True)
class BuildInfo:
    """The facts of a build.

    Attributes:
        name, version: of the builder, and of RadIR.
        options: of the builder; "PATH" stands for what lies on the machine it ran on.
        scorer: name and parameters of what found the entities. ontology: SHA-256 of the anatomies.
        licence, homepage, sharing, label_origin: of the source.
        images, studies, subjects: split -> number.
        findings: anatomy -> number of studies with findings there.
        unique_entities: behind all relevances.
        skipped: reason -> number of source records left out.
    """

    name: str
    version: str
    options: dict[str, Any]
    scorer: dict[str, Any]
    ontology: str
    licence: str
    homepage: str
    sharing: Sharing
    label_origin: str
    images: dict[str, int]
    studies: dict[str, int]
    subjects: dict[str, int]
    findings: dict[str, int]
    unique_entities: int
    skipped: dict[str, int]

    @property
    def command(self) -> str:
        """The command that builds it."""
        words = ["radir build", self.name]
        for option, value in self.options.items():
            if value is not None:
                words.append(f"--{option.replace('_', '-')} {value}")
        return " ".join([*words, f"--scorer {self.scorer['name']}"])

    def write(self, folder: Path) -> None:
        """Write build.json into a folder."""
        with atomic_path(folder / FACTS) as path:
            path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "BuildInfo":
        """Read a folder's build.json.

        Raises:
            ValueError: there is none, or it is of another version.
        """
        path = folder / FACTS
        if not path.is_file():
            what = f"has no {FACTS}, so this version did not build it" if folder.is_dir() else "is no folder"
            raise ValueError(f"{folder} {what}: give a folder that `radir build` wrote")
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            return cls(**facts | {"sharing": Sharing(facts["sharing"])})
        except (json.JSONDecodeError, TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path} does not hold the facts of a build ({error}); build again") from error
