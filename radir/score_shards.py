"""Shards of a large corpus for the `ratescore` scorer, from many processes at once.

    accelerate launch -m radir.score_shards DATASET SHARDS [--ner ID_OR_DIR] [--encoder ID_OR_DIR]

DATASET is a built dataset (by any scorer), or a text file with one text a line. Each process, on however many
GPUs or machines with the folder SHARDS in reach, takes its part of the sentence splitting, then of the NER,
then of the encoder. A shard is written atomically, under a name that follows from what is in it and
from the scorer; the same command resumes an interrupted one, with any number of processes. What
a killed process left half written is removed by the next one that finds itself alone with the folder.
"""

import argparse
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dataset_scripts.building.layout import FINDINGS, studies_shards, table_path
from dataset_scripts.building.rows import reading
from dataset_scripts.relevance.neural.extractor import ENCODER, NER, RateScoreExtractor
from dataset_scripts.relevance.neural.shards import SHARD_SIZE, ShardedExtractor, Share
from dataset_scripts.sources.base import SPLITS
from dataset_scripts.sources.tables import read_source_text

_INTERRUPTED = 130  # exit code, as of a shell


def corpus(path: Path) -> list[str]:
    """Return all texts that a built dataset scores, or the lines of a text file.

    Raises:
        ValueError: there is neither.
    """
    if path.is_file():
        return read_source_text(path).splitlines()
    texts: list[str] = []
    for split in SPLITS:
        for shard in studies_shards(path, split):
            with reading(shard):
                texts += pq.read_table(shard, columns=["findings"])["findings"].to_pylist()
        findings = table_path(path, FINDINGS, split)
        if findings.is_file():
            with reading(findings):
                texts += pq.read_table(findings, columns=["text"])["text"].to_pylist()
    if not texts:
        raise ValueError(f"{path} is neither a built dataset nor a text file: `radir build` writes a dataset")
    return list(dict.fromkeys(text or "" for text in texts))


def _launched() -> Any:
    """This process among those that `accelerate launch` started; alone if it was not launched so."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=timedelta(days=30))
    if int(os.environ.get("WORLD_SIZE", "1")) != state.num_processes:
        raise ValueError(
            f"{os.environ['WORLD_SIZE']} processes were launched and accelerate sees {state.num_processes}: "
            "without GPUs set ACCELERATE_USE_CPU=true"
        )
    return state


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command: write the shards of a corpus, as one process or as one of many."""
    parser = argparse.ArgumentParser(prog="radir.score_shards", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("corpus", type=Path, help="a built dataset, or a text file with one text a line")
    parser.add_argument("shards", type=Path, help="folder of the shards, in reach of all processes")
    parser.add_argument("--ner", default=NER, help="NER: folder or Hub id")
    parser.add_argument("--encoder", default=ENCODER, help="entity encoder: folder or Hub id")
    parser.add_argument("--batch-size", type=int, default=64, help="sentences in a batch")
    parser.add_argument("--shard-size", type=int, default=SHARD_SIZE, help="texts in a shard")
    options = parser.parse_args(arguments)
    try:
        state = _launched()
        scorer = RateScoreExtractor(options.ner, options.encoder, state.device, options.batch_size)
        share = Share(state.process_index, state.num_processes)
        sharded = ShardedExtractor(scorer, options.shards, share, options.shard_size, progress=True)
        entities = sharded.extract(corpus(options.corpus))
        sharded.embed([entity.text for found in entities for entity in found])
        state.destroy_process_group()
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(_INTERRUPTED, "interrupted: the same command resumes\n")


if __name__ == "__main__":
    main()
