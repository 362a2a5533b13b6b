"""Where everything lies in a built dataset's folder.

README.md                      YAML `configs`, so that plain `load_dataset(folder, config)` works
build.json                     what was built from what, with which counts
manifest.json                  the files that the build wrote, with their sizes and SHA-256
studies/{split}-{n}.parquet    one row an image; shards in source order
findings/{split}.parquet       study_id, anatomy, text
anatomies/train.parquet        the ontology's anatomies
relevance/{split}.parquet      query_id, anatomy, candidate_ids, relevance
labels/train.parquet           gold labels, where the source brings them
volumes/                       the images of a dataset of volumes, where it brings them
entities/                      the entity store, from which every relevance follows
skipped.csv                    what the build left out, with its reason
"""

from pathlib import Path

KIND = "radir-dataset"  # of its manifest
STUDIES, FINDINGS, ANATOMIES, RELEVANCE, LABELS = "studies", "findings", "anatomies", "relevance", "labels"
ENTITIES, VOLUMES, SKIPPED, CARD, FACTS = "entities", "volumes", "skipped.csv", "README.md", "build.json"
UNSPLIT = "train"  # the split name of configs that have no splits, as the Hub has it


def table_path(folder: Path, config: str, split: str = UNSPLIT) -> Path:
    """Where a config's rows of one split lie in a built dataset; `studies` are sharded instead."""
    return folder / config / f"{split}.parquet"


def studies_shard(folder: Path, split: str, number: int) -> Path:
    """Where shard `number` of a split's `studies` lies; numbers without rows of the split are left out."""
    return folder / STUDIES / f"{split}-{number:05d}.parquet"


def studies_shards(folder: Path, split: str) -> list[Path]:
    """All shards of a split's `studies`, in source order."""
    return sorted((folder / STUDIES).glob(f"{split}-*.parquet"))
