"""`radir convert-checkpoint` and `radir export`: model folders from and to other formats."""

import dataclasses
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radir.commands.options import AsJson, Out, print_json


class Images(StrEnum):
    """What the processor beside a converted model reads; the weights serve both."""

    CXR = "cxr"
    CT = "ct"


def convert_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="RadIR.pt, or a .safetensors file of the same keys.")],
    out: Out,
    config: Annotated[
        Path | None, typer.Option(help="JSON of RadIRConfig's settings, for what the weights cannot tell.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Hub id or folder of the text tower's; the released one by default.")
    ] = None,
    images: Annotated[Images, typer.Option(help="What the folder's processor reads.")] = Images.CXR,
    as_json: AsJson = False,
) -> None:
    """Turn the authors' released checkpoint into a model folder."""
    from dataset_scripts.mining.ontology import default_ontology
    from dataset_scripts.plumbing.atomic import sync
    from dataset_scripts.plumbing.outputs import claim
    from modeling_radir.conversion.released import convert_checkpoint as convert
    from radir.publishing.model_card import write_model_card

    def finish(folder: Path) -> None:
        write_model_card(folder, name=out.resolve().name)
        sync(folder)

    with claim(out) as place:
        names = default_ontology().names
        report = convert(checkpoint, place, config, tokenizer, names, images.value, finish)
    if as_json:
        print_json(dataclasses.asdict(report) | {"folder": out})
        return
    typer.echo(f"{out}: {report.num_parameters:,} parameters")
    for title, values in (("read from the shapes", report.sizes), ("assumed", report.assumed)):
        typer.echo(f"{title}: " + ", ".join(f"{name} = {value}" for name, value in values.items()))
    for reason, count in Counter(reason for _, reason in report.dropped).items():
        typer.echo(f"  left out {count:,} tensors, which --json lists: {reason}")
    for remark in report.remarks:
        typer.echo(remark)


def export(
    model: Annotated[str, typer.Option(help="A model folder or Hub id.")],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Write a model's image tower and fusion as ONNX, compared with torch (extra onnx)."""
    from dataset_scripts.plumbing.outputs import claim
    from modeling_radir.conversion.onnx import export_model

    with claim(out) as place:
        exported = export_model(model, place)
    if as_json:
        print_json(dataclasses.asdict(exported) | {"folder": out})
        return
    shape = " x ".join(map(str, exported.shape))
    typer.echo(f"{out}: images of {shape}, {len(exported.anatomies)} anatomies")
    for output, difference in exported.differences.items():
        typer.echo(f"  {output}: differs from torch by {difference:.1e} at most")
