"""An entity store as version 2 of its format wrote it: without reports and severities of the entities."""

import json
from pathlib import Path

import pyarrow as pa

from dataset_scripts.relevance.store import files


def as_version_2(folder: Path) -> None:
    """Turn a store's folder, in place, into what version 2 wrote."""
    path = folder / files.ENTITIES
    table = pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all().select(["text", "type"])
    files.write_table(path, table.schema, table.to_batches())
    manifest = json.loads((folder / files.MANIFEST).read_text())
    del manifest["training_reports"]
    manifest["format_version"] = 2
    manifest["bytes"][files.ENTITIES] = path.stat().st_size
    manifest["sha256"][files.ENTITIES] = files.file_digest(path)
    (folder / files.MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
