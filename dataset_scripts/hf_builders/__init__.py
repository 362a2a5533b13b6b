"""`load_dataset("mimic_ir", "findings", data_dir=...)`: our sources as names that `datasets` knows.

`builder` is the base of `open_i`, `mimic_ir`, `ctrate_ir`, `phantom_cxr` and `phantom_ct`.

datasets 4 and later runs no dataset scripts. The names among its packaged modules are the one way left for
code of our own behind `load_dataset`; this is private API, so setup.cfg bounds `datasets` and tests guard it.
"""

import pkgutil
from typing import Any

import datasets.load
from datasets.data_files import DataFilesDict
from datasets.load import DatasetModule, PackagedDatasetModuleFactory
from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

# One module a source, imported by `datasets` when its name is asked for: sources need more than mining does.
_MODULES = {
    module.name: f"{__name__}.{module.name}"
    for module in pkgutil.iter_modules(__path__)
    if module.name != "builder"
}


class _Factory(PackagedDatasetModuleFactory):
    """The stock factory, but for our names, whose data are neither globbed (minutes for MIMIC) nor counted.

    The stock constructor also reports to the Hub that a packaged name is loaded; ours says nothing to anyone.
    """

    def __init__(self, name: str, data_dir: str | None = None, **kwargs: Any) -> None:
        if name not in _MODULES:
            super().__init__(name, data_dir=data_dir, **kwargs)
        elif kwargs.get("data_files") is not None:
            raise ValueError(f"{name} takes no data_files: give the root of the local copy as data_dir")
        else:
            self.name, self.data_dir = name, data_dir

    def get_module(self) -> Any:
        if self.name not in _MODULES:
            return super().get_module()
        settings = {"data_files": DataFilesDict(), "data_dir": self.data_dir, "dataset_name": self.name}
        # the builder itself hashes its options and the source's tables
        return DatasetModule(_MODULES[self.name], "", settings)


def register() -> None:
    """Make `load_dataset` know the names of our sources, with underscores; a second call changes nothing."""
    if datasets.load.PackagedDatasetModuleFactory is _Factory:
        return
    _PACKAGED_DATASETS_MODULES.update({name: (module, "") for name, module in _MODULES.items()})
    datasets.load.PackagedDatasetModuleFactory = _Factory
