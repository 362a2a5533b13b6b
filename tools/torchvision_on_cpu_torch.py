"""Let a CUDA build of torchvision be imported beside a CPU build of torch.

Package indexes may hold only CUDA builds of torchvision. Its compiled library cannot load on a CPU
torch, so the schemas of ``torchvision::nms`` and ``qnms``, to which torchvision attaches fake kernels
while it is imported, are missing and the import dies; timm and parts of transformers die with it.
`make` installs this module with a ``.pth`` file that imports it whenever the environment's interpreter
starts, so that subprocesses have it too. It costs nothing until torchvision is imported, and does
nothing where the compiled library loads.
"""

import importlib.machinery
import importlib.util
import pathlib
import sys

_schemas = None  # torch.library forgets the operators with this object


class _TorchvisionFinder:
    """Define the missing schemas once, right before torchvision is first imported."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "torchvision":
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec("torchvision")
        if spec is not None and spec.origin is not None:
            _define_schemas(pathlib.Path(spec.origin).parent)
        return spec


def _define_schemas(package: pathlib.Path) -> None:
    global _schemas
    import torch

    library = next(package.glob("_C*.so"), None)
    try:
        if library is None:
            raise OSError("torchvision has no compiled library")
        torch.ops.load_library(str(library))
    except OSError:
        _schemas = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            _schemas.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, _TorchvisionFinder)
