"""The README's picture: a held-out phantom, its nearest hits for one anatomy, and a heat-map.

python benchmarks/picture.py [--demo runs/demo] [--anatomy "left pleura"] [--out docs/pictures/demo.png]
"""

import argparse
import textwrap
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("agg")
from matplotlib import pyplot

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.plumbing.atomic import atomic_path
from modeling_radir.heat_maps.draw import draw_heat_map
from radir_search.query import search_image

HITS = 3
INCHES = 2.2  # the side of a picture
LETTERS = 36  # in a line of a title
SILENT = "(its report does not mention it)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), help="what `radir demo` wrote")
    parser.add_argument("--anatomy", default="left pleura")
    parser.add_argument("--finding", default="effusion", help="a word of the query's finding there")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/demo.png"))
    options = parser.parse_args()
    data, model = BuiltDataset(options.demo / "phantom-cxr"), options.demo / "radir-cxr-phantom"
    query = options.demo / "picture-query.png"
    told = _query(data, options.anatomy, options.finding, query)
    hits = search_image(options.demo / "index", query, options.anatomy, HITS)
    shown = [(Image.open(query), f"query: {told}")]
    shown += [(_image(data, "train", hit.image_id), f"{hit.rank}. {hit.findings or SILENT}") for hit in hits]
    shown.append((draw_heat_map(model, query, options.anatomy), f"heat-map: {options.anatomy}"))
    _draw(shown, options.out)
    query.unlink()


def _query(data: BuiltDataset, anatomy: str, word: str, path: Path) -> str:
    """Save the first held-out image with a finding there; return what its report says of the anatomy."""
    findings = data.findings("test")
    for row in data.studies("test"):
        text = findings.get(row["study_id"], {}).get(anatomy, "")
        if word in text and " no " not in f" {text.lower()}":
            data.image(row).save(path)
            return text
    raise ValueError(f"no held-out image shows {word} of the {anatomy}: name another --anatomy or --finding")


def _image(data: BuiltDataset, split: str, image_id: str) -> Image.Image:
    rows = data.studies(split)
    return data.image(rows[rows["image_id"].index(image_id)])


def _draw(shown: list[tuple[Image.Image, str]], out: Path) -> None:
    figure, axes = pyplot.subplots(1, len(shown), figsize=(INCHES * len(shown), INCHES + 0.3), dpi=80)
    for axis, (image, title) in zip(axes, shown, strict=True):
        axis.imshow(np.asarray(image), cmap="gray")
        axis.set_title(textwrap.fill(title, LETTERS), fontsize=7, loc="left")
        axis.axis("off")
    figure.tight_layout()
    with atomic_path(out) as path:
        figure.savefig(path, format="png", bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    main()
