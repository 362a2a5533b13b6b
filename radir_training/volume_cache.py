"""Volumes made ready once: what a processor prepares, kept on disk and mapped into memory afterwards."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.sources.base import Sharing


class VolumeCache:
    """The volumes of a dataset in the int16 form of an image processor; each is resampled once.

    A file's name follows from all that decides its content: where the volume lies, its size and time of
    change, how it is to be read, and the processor's settings. So a file is never stale, and several
    processes may use one folder.

    Args:
        data: a dataset of volumes.
        processor: a RadIRCTImageProcessor.
        folder: where the files go, 2 bytes a voxel; files of other settings may lie there as well. It is made
            for this user alone where the data are not open: the volumes are those of the dataset.
    """

    def __init__(self, data: BuiltDataset, processor: Any, folder: Path) -> None:
        self._data, self._processor = data, processor
        settings = json.dumps(processor.to_dict(), sort_keys=True, default=str)
        self._mode = 0o777 if data.facts.sharing == Sharing.OPEN else 0o700
        self._folder = folder / hashlib.sha256(settings.encode()).hexdigest()[:16]

    def __call__(self, row: dict[str, Any]) -> np.ndarray:
        """The prepared volume of one row of the `studies`, (D, H, W) int16, mapped into memory.

        Raises:
            ValueError: the volume cannot be read.
        """
        path = self.path(row)
        if path.is_file():
            try:
                return self._processor.load_prepared(path)
            except ValueError:  # cut off when the machine stopped
                path.unlink(missing_ok=True)
        self._make_folder()
        self._processor.save_prepared(self._data.image(row), path)
        return self._processor.load_prepared(path)

    def _make_folder(self) -> None:
        self._folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=self._mode, exist_ok=True)

    def path(self, row: dict[str, Any]) -> Path:
        """Where the prepared volume of a row lies, or will lie."""
        source = self._data.path(row["image"]).absolute()
        try:
            found = source.stat()
        except OSError as error:
            raise ValueError(
                f"{source} cannot be read ({error.strerror}): build the dataset again"
            ) from error
        decides = (str(source), found.st_size, found.st_mtime_ns, self._data.geometry(row))
        return self._folder / f"{hashlib.sha256(repr(decides).encode()).hexdigest()[:24]}.npy"
