"""report.html: one self-contained page of the results, with the retrieved images to look at.

Written from what `evaluate_models` left in its folder and the local dataset; nothing is ranked again and
nothing is loaded from a network. The page holds images and report text, and says so in its footer.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from dataset_scripts.atomic import atomic_path
from dataset_scripts.explain import explain
from dataset_scripts.folder import BuiltDataset
from eval.benchmark import EXAMPLES, RESULTS
from eval.items import Items
from eval.summary import MACRO
from eval.tables import TASK_TITLES, all_tables, introduction, percent, summary, with_interval
from eval.tasks import CONDITIONAL

REPORT = "report.html"
THUMBNAIL_PX = 160
_TEMPLATE = "report.html.j2"
_COLORS = 6  # classes m0 .. m5 of the template
_LINKS = 6  # matches of entities shown for a hit


def write_report(dataset: BuiltDataset, out: Path) -> Path:
    """Write report.html beside the results.

    Args:
        dataset: the dataset that was evaluated, for its images and texts.
        out: the folder that `evaluate_models` wrote.

    Returns:
        The path of the page.

    Raises:
        ValueError: the folder holds no results, or those of another dataset.
    """
    results, examples = (_read(Path(out) / name) for name in (RESULTS, EXAMPLES))
    if results["dataset"] != dataset.name:
        raise ValueError(
            f"{out} holds the results of {results['dataset']}, not of {dataset.name}: open that dataset"
        )
    page = render(results, examples, Items(dataset, results["split"]))
    target = Path(out) / REPORT
    with atomic_path(target) as path:
        path.write_text(page, encoding="utf-8")
    return target


def render(results: Mapping[str, Any], examples: Sequence[Mapping[str, Any]], items: Items) -> str:
    """The page as one string.

    Args:
        results: the content of results.json.
        examples: the content of examples.json.
        items: the split, for thumbnails and texts.

    Raises:
        ValueError: the examples name an image that the split does not have.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["percent"] = percent
    return environment.get_template(_TEMPLATE).render(
        results=results,
        introduction=introduction(results),
        colors=_colors(results),
        headline=_headline(results),
        summary=summary(results),
        tables=all_tables(results),
        bars=_bars(results),
        conditions=_conditions(results, examples, items),
        protocol={key: json.dumps(value) for key, value in results["protocol"].items()},
    )


def thumbnail(image: Any, size: int = THUMBNAIL_PX) -> str | None:
    """A JPEG of at most size x size pixels as a data URI; None for what is no image (a volume's path)."""
    if not isinstance(image, Image.Image):
        return None
    if image.mode not in ("L", "RGB"):
        pixels = np.asarray(
            image.convert("F")
        )  # 16-bit and float images have no fixed range: minimum to maximum
        spread = float(np.ptp(pixels)) or 1.0
        image = Image.fromarray(((pixels - pixels.min()) / spread * 255).astype(np.uint8))
    image = image.copy()
    image.thumbnail((size, size))
    encoded = io.BytesIO()
    image.save(encoded, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"{path} is missing: run `radir evaluate` into {path.parent} first")
    return json.loads(path.read_text(encoding="utf-8"))


def _headline(results: Mapping[str, Any]) -> list[str]:
    """One sentence for each pair of competing models and overall task, at the first cut-off."""
    sentences = []
    first_metric = {task: f"recall@{_first_k(results, task)}" for task in TASK_TITLES}
    for row in results["comparisons"]:
        references = [results["models"][row[side]]["reference"] for side in ("a", "b")]
        if any(references) or row["metric"] != first_metric[row["task"]] or row["difference"] is None:
            continue
        what = f"{row['metric'].capitalize()}, {TASK_TITLES[row['task']].lower()}"
        if row["better"] is None:
            sentences.append(f"{what}: no clear difference between {row['a']} and {row['b']}.")
            continue
        other = row["b"] if row["better"] == row["a"] else row["a"]
        bounds = row["ci95"] if row["difference"] > 0 else [-row["ci95"][1], -row["ci95"][0]]
        shown = with_interval(abs(row["difference"]), bounds)
        sentences.append(f"{what}: {row['better']} is ahead of {other} by {shown} points.")
    return sentences


def _first_k(results: Mapping[str, Any], task: str) -> int:
    ks = "ks_conditional" if task == MACRO else "ks_unconditional"
    return int(results["protocol"][ks][0])


def _colors(results: Mapping[str, Any]) -> dict[str, str]:
    """The colour class of each competing model; with more than six, colours come round again."""
    names = [name for name, block in results["models"].items() if not block["reference"]]
    return {name: f"m{index % _COLORS}" for index, name in enumerate(names)}


def _bars(results: Mapping[str, Any]) -> dict[str, Any]:
    """Recall at the first conditional cut-off of each anatomy in the averages, head to tail.

    A bar a competing model, an upright mark a reference.
    """
    k = str(results["protocol"]["ks_conditional"][0])
    rows = []
    for anatomy, about in results["anatomies"].items():
        row: dict[str, Any] = {
            "anatomy": anatomy,
            "region": about["region"],
            "train": about["n_train_studies"],
        }
        row |= {"bars": [], "ticks": []}
        for name, block in results["models"].items():
            value, (low, high) = (
                block[CONDITIONAL][anatomy]["recall"][k],
                block[CONDITIONAL][anatomy]["recall_ci95"][k],
            )
            kind = "ticks" if block["reference"] else "bars"
            row[kind].append({"model": name, "value": value, "low": low, "high": high})
        if about["in_average"]:
            rows.append(row)
    references = [name for name, block in results["models"].items() if block["reference"]]
    return {"k": k, "rows": rows, "references": references}


def _conditions(
    results: Mapping[str, Any], examples: Sequence[Mapping[str, Any]], items: Items
) -> list[dict[str, Any]]:
    """The contact sheets: condition -> queries -> models -> hits, with thumbnails and regional findings."""
    position = {image_id: index for index, image_id in enumerate(items.image_ids)}
    unknown = [e["query_id"] for e in examples if e["query_id"] not in position]
    if unknown:
        raise ValueError(
            f"the examples name image {unknown[0]}, which {items.dataset.name}/{items.split} lacks"
        )
    pictures: dict[str, str | None] = {}

    def show(image_id: str, anatomy: str) -> dict[str, Any]:
        if image_id not in pictures:
            pictures[image_id] = thumbnail(items.studies[position[image_id]]["image"])
        text = items.text(position[image_id], anatomy)
        return {"image_id": image_id, "picture": pictures[image_id], "text": text}

    sheets: dict[str, dict[str, Any]] = {}
    for example in examples:
        anatomy = example["anatomy"]
        about = results["anatomies"][anatomy]
        sheet = sheets.setdefault(anatomy, {"anatomy": anatomy, **about, "queries": []})
        query = position[example["query_id"]]
        models = {
            name: [
                {
                    **show(hit["image_id"], anatomy),
                    **hit,
                    "why": _why(items, anatomy, query, position[hit["image_id"]]),
                }
                for hit in hits
            ]
            for name, hits in example["models"].items()
        }
        sheet["queries"].append({**example, **show(example["query_id"], anatomy), "models": models})
    return list(sheets.values())


def _why(items: Items, anatomy: str, query: int, hit: int) -> list[str]:
    """What the relevance of a hit's text to the query's rests on, a match of two entities a line.

    Args:
        items: the split.
        anatomy: whose texts are compared.
        query, hit: positions of two images.

    Returns:
        The most telling matches first; empty where a study has no text for the anatomy.
    """
    rows = items.rows(anatomy)
    if min(rows[query], rows[hit]) < 0:
        return []
    engine = items.dataset.engine
    found = explain(engine.store, engine.weights, int(rows[query]), int(rows[hit]))
    links = [str(link) for link in found.links()]
    if not links:
        return [found.line()]
    left_out = len(links) - _LINKS
    return links[:_LINKS] + ([f"and {left_out} more"] if left_out > 0 else [])
