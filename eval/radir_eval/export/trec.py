"""TREC run and qrels files of the benchmark's tasks, as trec_eval, pytrec_eval and ranx read them.

<out>/
    export.json, README.md              the protocol and the scale; how to read the files
    image_to_image/                     one folder a task; conditional tasks are conditional/<anatomy>/
        gains.qrels.trec                query 0 candidate gain: for NDCG
        correct.qrels.trec              query 0 candidate 1: for Recall, which is success@k (hit rate) here
        <model>.run.trec                query Q0 candidate rank score model

Names are percent-encoded (`radir_eval.export.judged_tasks.escape`), so that they hold no blank. Pairs that
the protocol excludes (the image itself, the same patient) stand neither in runs nor in qrels; pairs without
gain stand in no qrels.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.plumbing.markdown import plain
from radir_eval.export.judged_tasks import GAIN_SCALE, REPORT_PREFIX, JudgedTask, escape
from radir_eval.rankers.vectors import Ranking
from radir_eval.tasks import CONDITIONAL

GAINS, CORRECT, RUN = "gains.qrels.trec", "correct.qrels.trec", "{}.run.trec"
EXPORT = "export.json"
_QRELS = pa.schema({"query": pa.string(), "zero": pa.string(), "candidate": pa.string(), "gain": pa.int32()})
_RUN = pa.schema(
    {
        "query": pa.string(),
        "q0": pa.string(),
        "candidate": pa.string(),
        "rank": pa.int32(),
        "score": pa.float64(),
        "model": pa.string(),
    }
)
_FORMAT = csv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")


def export_trec(
    tasks: Sequence[JudgedTask],
    rankings: Mapping[str, Ranking],
    out: Path,
    depth: int = 100,
    scale: int = GAIN_SCALE,
    progress: bool = True,
) -> None:
    """Write runs and qrels of all tasks into a folder.

    Complete qrels of C candidates have up to C lines for each query: 360 MB for 3,000 images.

    Args:
        tasks: from `judged_tasks`.
        rankings: model name -> its ranking of the same items.
        out: a folder that holds no export yet; made if missing.
        depth: candidates of each query in a run; at least the largest cut-off that is to be measured.
        scale: the gain of relevance 1.
        progress: show a progress bar over the tasks.
    """
    for task in progress_bar(tasks, desc="TREC files", unit="task", shown=progress):
        _export_task(task, rankings, task_folder(out, task), depth, scale)
    about = {
        "dataset": tasks[0].items.dataset.name,
        "split": tasks[0].items.split,
        "models": list(rankings),
        "gain_scale": scale,
        "depth": depth,
        "left_out": tasks[0].items.left_out,
        "protocol": tasks[0].protocol.to_dict(),
    }
    (out / EXPORT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(_readme(about), encoding="utf-8")


def task_folder(out: Path, task: JudgedTask) -> Path:
    """Where the files of a task lie."""
    return out / task.task / escape(task.anatomy) if task.task == CONDITIONAL else out / task.task


def _export_task(
    task: JudgedTask, rankings: Mapping[str, Ranking], folder: Path, depth: int, scale: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # trec_eval puts the greater id first where scores tie; so does the order of the columns here.
    ids = np.array([escape(name) for name in task.candidate_ids])
    columns = np.argsort(ids)[::-1]
    ids = ids[columns]
    with ExitStack() as stack:

        def opened(name: str, schema: pa.Schema) -> csv.CSVWriter:
            return stack.enter_context(csv.CSVWriter(folder / name, schema, write_options=_FORMAT))

        gains, correct = opened(GAINS, _QRELS), opened(CORRECT, _QRELS)
        runs: dict[str, csv.CSVWriter] = {}
        for block in task.blocks(scale):
            queries = np.array([escape(name) for name in block.query_ids])
            gains.write_table(_qrels(queries, ids, block.gains[:, columns]))
            correct.write_table(_qrels(queries, ids, block.correct[:, columns].astype(np.int32)))
            for name, ranking in rankings.items():
                scores = task.scores(ranking, block.queries)
                if scores is not None:
                    runs[name] = runs.get(name) or opened(RUN.format(escape(name)), _RUN)
                    rows = _run(queries, ids, scores[:, columns], block.allowed[:, columns], depth)
                    runs[name].write_table(_with_model(rows, escape(name)))


def _qrels(queries: np.ndarray, ids: np.ndarray, gains: np.ndarray) -> pa.Table:
    """The judged pairs that have a gain: queries (Q,), ids (C,), gains (Q, C) int32."""
    rows, columns = np.nonzero(gains)
    return pa.table(
        [
            pa.array(queries).take(pa.array(rows)),
            pa.repeat("0", len(rows)),
            pa.array(ids).take(pa.array(columns)),
            pa.array(gains[rows, columns], pa.int32()),
        ],
        schema=_QRELS,
    )


def _run(
    queries: np.ndarray, ids: np.ndarray, scores: np.ndarray, allowed: np.ndarray, depth: int
) -> dict[str, pa.Array]:
    """The best `depth` allowed candidates of each query, best first; equals in the order of the columns."""
    ranked = np.argsort(np.where(allowed, -scores, np.inf), axis=1, kind="stable")[:, :depth]
    kept = np.arange(ranked.shape[1]) < allowed.sum(axis=1)[:, None]
    rows, places = np.nonzero(kept)
    columns = ranked[rows, places]
    return {
        "query": pa.array(queries).take(pa.array(rows)),
        "q0": pa.repeat("Q0", len(rows)),
        "candidate": pa.array(ids).take(pa.array(columns)),
        "rank": pa.array(places + 1, pa.int32()),
        "score": pa.array(scores[rows, columns], pa.float64()),
    }


def _with_model(rows: Mapping[str, pa.Array], model: str) -> pa.Table:
    return pa.table({**rows, "model": pa.repeat(model, len(rows["query"]))}, schema=_RUN)


def _readme(about: Mapping[str, Any]) -> str:
    return f"""# TREC runs and qrels: {plain(about["dataset"])}, {plain(about["split"])}

One folder a task; conditional tasks are `conditional/ANATOMY/`.

| file | line | for |
|---|---|---|
| `{GAINS}` | query 0 candidate gain | NDCG, linear gain |
| `{CORRECT}` | query 0 candidate 1 | Recall of the paper: success@k, in ranx hit_rate@k |
| `MODEL.run.trec` | query Q0 candidate rank score model | the {about["depth"]} best candidates of a query |

- gain = {about["gain_scale"]} x relevance, rounded. For Recall use `{CORRECT}`: a threshold on gains
  would meet the rounding.
- Names are image_id, of reports `{REPORT_PREFIX}` and study_id, percent-encoded: `urllib.parse.unquote` gives
  them back.
- Excluded pairs (see `protocol` in {EXPORT}) stand neither in runs nor in qrels. Pairs without gain are not
  in qrels, and a query without any is in none: it has no NDCG, or no Recall.
- Equal scores: the greater name first, as in trec_eval. RadIR's own figures take them in expectation.
  trec_eval reads scores in single precision, in which nearly equal ones are equal.

```python
import pytrec_eval, ranx

folder = "image_to_image/"
with open(folder + "{GAINS}") as qrels, open(folder + "MODEL.run.trec") as run:
    judged, ranked = pytrec_eval.parse_qrel(qrels), pytrec_eval.parse_run(run)
pytrec_eval.RelevanceEvaluator(judged, {{"ndcg_cut.5,10"}}).evaluate(ranked)

qrels = ranx.Qrels.from_file(folder + "{CORRECT}", kind="trec")
run = ranx.Run.from_file(folder + "MODEL.run.trec", kind="trec")
ranx.evaluate(qrels, run, "hit_rate@5", make_comparable=True)
```
"""
