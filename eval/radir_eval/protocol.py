"""The protocol: every choice that a figure depends on, in one place; saved in results.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

_MOST = 1_000_000  # of cut-offs and of draws; more would not fit into memory


@dataclass(frozen=True)
class Protocol:
    """How retrieval is evaluated; the defaults are the paper's (section 5.2), made explicit.

    Raises:
        ValueError: a field is out of its range.
    """

    threshold: float = 0.9  # a candidate is correct if its relevance is above this
    strict: bool = True  # above (True) or at or above (False) the threshold
    exclude_self: bool = True  # an image is no candidate of itself
    exclude_same_subject: bool = True  # nor are other images of the same patient, where patients are known
    ks_unconditional: tuple[int, ...] = (5, 10, 50, 100)  # cut-offs of Table 1
    ks_conditional: tuple[int, ...] = (3, 5, 10)  # cut-offs of Tables 2 and 3
    min_queries: int = 10  # anatomies with fewer queries that have a correct candidate are not in averages
    max_per_anatomy: int | None = None  # at most so many images for each anatomy, drawn with the seed
    seed: int = 0  # of that draw, of the bootstrap and of the randomisation tests
    bootstrap_draws: int = 10_000  # resamples of the patients behind each 95% interval
    randomisations: int = 10_000  # random swaps of the models' results behind each p-value
    gold_k: int = 5  # cut-off of the precision by gold label

    def __post_init__(self) -> None:
        for name in ("ks_unconditional", "ks_conditional"):
            ks = tuple(getattr(self, name))
            object.__setattr__(self, name, ks)  # a list from YAML or JSON becomes what the type says
            if not ks or any(not 1 <= k <= _MOST for k in ks) or list(ks) != sorted(set(ks)):
                raise ValueError(f"{name} is {list(ks)}: give ascending cut-offs of 1 to {_MOST:,}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}: relevance lies between 0 and 1")
        for name in ("min_queries", "bootstrap_draws", "randomisations", "gold_k"):
            if not 1 <= getattr(self, name) <= _MOST:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 1 to {_MOST:,}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}: give a whole number from 0 to 2**63 - 1")
        if self.max_per_anatomy is not None and not 2 <= self.max_per_anatomy < 2**63:
            raise ValueError(
                f"max_per_anatomy is {self.max_per_anatomy}: retrieval needs at least 2 images, or None"
            )

    @classmethod
    def read(cls, path: Path) -> "Protocol":
        """The fields that a YAML file gives, and the others' defaults.

        Raises:
            ValueError: there is no such file, or it gives what the protocol does not have.
        """
        from modeling_radir.checks import unknown_name  # brings torch along

        if not path.is_file():
            raise ValueError(f"{path} is no file: give a YAML file with fields of the protocol, or none")
        try:
            values = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise ValueError(f"{path} is not YAML: {error}") from error
        if not isinstance(values, Mapping):
            raise ValueError(f"{path} holds {values!r}: give `field: value` pairs")
        defaults = {field.name: field.default for field in fields(cls)}
        for name, value in values.items():
            if name not in defaults:
                raise unknown_name("field of the protocol", str(name), list(defaults))
            if not _is_like(value, defaults[name]):
                raise ValueError(
                    f"{path} gives {name}: {value!r}; the default, {defaults[name]!r}, shows what fits"
                )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values, with the choices that are not options spelled out."""
        fields = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }
        return {
            **fields,
            "recall": "1 if any of the top k is correct; queries without a correct candidate left out",
            "ndcg": "linear gain, discount log2(i + 1), ideal over the same candidates",
            "ties": "expectation over the orders of equal scores",
            "image_to_report": "gallery: a report a study, of all patients; correct: the image's own report",
            "averages": "over anatomies with >= min_queries queries that have a correct candidate; macro: "
            "each anatomy counts alike, weighted: each query",
            "intervals": "95% percentile bootstrap over patients, the same draws for all models and tasks",
            "p_values": "paired randomisation, all queries of a patient swapped together, two-sided, "
            "(1 + b) / (1 + R); p_holm: Holm's correction over all metrics of a pair of models",
            "effect_size": "mean paired difference over the standard deviation of the patients' differences",
        }


def _is_like(value: Any, default: Any) -> bool:
    """Whether a value from YAML may stand where a field has this default; None: no limit, else a number."""
    if default is None:
        return value is None or _is_like(value, 0)
    if isinstance(default, tuple):
        return isinstance(value, list) and all(_is_like(item, 0) for item in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int | float if isinstance(default, float) else int)


class _Loader(yaml.SafeLoader):
    """Plain values alone; a key that stands twice is refused, where YAML's own reader takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
