"""Contact sheets: the chosen queries with their hits, as pictures with texts, reasons and heat-maps."""

from collections.abc import Mapping, Sequence
from typing import Any

from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.relevance.explain import explain
from radir_eval.report.pictures import thumbnail
from radir_eval.retrieval_split import RetrievalSplit

QUERY_PX = 240
_LINKS = 6  # matches of entities shown for a hit

Example = Mapping[str, Any]


def contact_sheets(
    results: Mapping[str, Any],
    examples: Sequence[Example],
    heat_maps: Sequence[Mapping[str, Any]],
    items: RetrievalSplit,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Condition -> queries -> models -> hits, each with its picture and its text.

    Args:
        results: the content of results.json.
        examples: the content of examples.json.
        heat_maps: the content of heat_maps.json.
        items: the split.
        progress: show a progress bar over the queries.

    Raises:
        ValueError: the examples name an image that the split does not have.
    """
    pictures = _Pictures(items)
    drawn = {(row["anatomy"], row["query_id"], row["model"]): row for row in heat_maps}
    sheets: dict[str, dict[str, Any]] = {}
    for example in progress_bar(examples, desc="report", unit="query", shown=progress):
        anatomy, query = example["anatomy"], pictures.position(example["query_id"])
        sheet = sheets.setdefault(
            anatomy, {"anatomy": anatomy, **results["anatomies"][anatomy], "queries": []}
        )
        models = {
            name: {
                "hits": [_hit(hit, pictures, anatomy, query) for hit in hits],
                "heat": drawn.get((anatomy, example["query_id"], name)),
            }
            for name, hits in example["models"].items()
        }
        shown = {**example, **pictures.show(query, anatomy, QUERY_PX), "models": models}
        sheet["queries"].append(shown)
    return list(sheets.values())


class _Pictures:
    """The images of a split by name, each read once."""

    def __init__(self, items: RetrievalSplit) -> None:
        self.items = items
        self._positions = {image_id: index for index, image_id in enumerate(items.image_ids)}
        self._made: dict[tuple[int, int | None], str | None] = {}

    def position(self, image_id: str) -> int:
        if image_id not in self._positions:
            where = f"{self.items.dataset.name}/{self.items.split}"
            raise ValueError(
                f"the examples name image {image_id}, which {where} lacks: run `radir evaluate` again"
            )
        return self._positions[image_id]

    def show(self, position: int, anatomy: str, size: int | None = None) -> dict[str, Any]:
        """Name, picture (None where it cannot be read) and text about an anatomy."""
        key = (position, size)
        if key not in self._made:
            self._made[key] = self._read(position, size)
        return {
            "image_id": str(self.items.image_ids[position]),
            "picture": self._made[key],
            "text": self.items.text(position, anatomy),
        }

    def _read(self, position: int, size: int | None) -> str | None:
        try:
            image = self.items.image(position)
        except ValueError:  # a volume that is no longer there: the page says so in its place
            return None
        return thumbnail(image) if size is None else thumbnail(image, size)


def _hit(hit: Mapping[str, Any], pictures: _Pictures, anatomy: str, query: int) -> dict[str, Any]:
    position = pictures.position(hit["image_id"])
    whys = _whys(pictures.items, anatomy, query, position)
    return {**pictures.show(position, anatomy), **hit, "whys": whys}


def _whys(items: RetrievalSplit, anatomy: str, query: int, hit: int) -> list[dict[str, Any]]:
    """What each relevance of a hit's text to the query's rests on.

    Args:
        items: the split.
        anatomy: whose texts are compared.
        query, hit: positions of two images.

    Returns:
        For each relevance its "name", "score" and "matches", a match of two entities a line, the most telling
        first; empty where a study has no text for the anatomy.
    """
    rows = items.rows(anatomy)
    if min(rows[query], rows[hit]) < 0:
        return []
    whys = []
    for name in items.relevances:
        engine = items.dataset.engine_for(name)
        found = explain(engine.store, engine.formula, int(rows[query]), int(rows[hit]))
        links = [str(link) for link in found.links()] or [found.line()]
        left_out = len(links) - _LINKS
        matches = links[:_LINKS] + ([f"and {left_out} more"] if left_out > 0 else [])
        whys.append({"name": name, "score": found.score, "matches": matches})
    return whys
