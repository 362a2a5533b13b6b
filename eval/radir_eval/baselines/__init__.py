"""Published models as baselines, each behind one interface, by name or by id.

`base` is the interface; `weights`, `bert`, `images` and `from_file` help several; `biomedclip`, `medclip`,
`pmcclip` (`pmcclip_resnet`), `ctclip`, `biovilt`, `transformers_models` and `frozen` are the models.

biomedclip       open_clip (the extra `baselines`); from the Hub, or a folder
medclip          PATH of medclip-vit-pretrained.zip or its folder
pmc-clip         from the Hub, or checkpoint.pt; pmc-clip-demo: as public demos read the same file
ct-clip          CT volumes; from the Hub (gated), or CT-CLIP_v2.pt
medsiglip, rad-dino, biovil-t      from the Hub, or a folder
frozen, frozen-centred             the image tower of the first --model before its training, or =ID_OR_FOLDER
USER/MODEL or FOLDER               any CLIP- or SigLIP-type or image-only model of transformers
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from modeling_radir.checks import unknown_name
from radir_eval.baselines.base import Baseline, BaselineEmbeddings
from radir_eval.baselines.biomedclip import BiomedCLIP
from radir_eval.baselines.biovilt import BioViLT
from radir_eval.baselines.ctclip import CTCLIP
from radir_eval.baselines.frozen import CENTRED, CentredEmbeddings, FrozenTower
from radir_eval.baselines.medclip import MedCLIP
from radir_eval.baselines.pmcclip import PMCCLIP, PMCCLIPDemo
from radir_eval.baselines.transformers_models import MedSigLIP, RadDINO, TransformersBaseline

BASELINES: Mapping[str, type[Baseline]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            BiomedCLIP,
            MedCLIP,
            PMCCLIP,
            PMCCLIPDemo,
            CTCLIP,
            MedSigLIP,
            RadDINO,
            BioViLT,
            TransformersBaseline,
            FrozenTower,
        )
    }
    | {CENTRED: FrozenTower}
)

__all__ = ["BASELINES", "Baseline", "BaselineEmbeddings", "parse_baseline"]


def parse_baseline(
    text: str,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    progress: bool = True,
    first_model: str | None = None,
) -> BaselineEmbeddings:
    """The ranker that the command line names.

    Args:
        text: NAME or NAME=ID_OR_PATH with a name of BASELINES; or a Hub id (user/model) or folder of a model
            of transformers, which is then called by its last part.
        batch_size: images, and report texts, at a time.
        device: by default a GPU if there is one.
        progress: show progress bars.
        first_model: folder or Hub id of the RadIR model whose tower `frozen` is, where it names none.

    Raises:
        ValueError: the name is not known, or a package or file is missing.

    Example:
        >>> parse_baseline("microsoft/rad-dino").name
        'rad-dino'
    """
    kind, location, called = _named(text)
    encoder = BaselineEmbeddings
    if kind is FrozenTower:
        location = location or first_model
        if text.partition("=")[0] == CENTRED:
            encoder, called = CentredEmbeddings, CENTRED
    return encoder(kind, location, called, batch_size, device, progress)


def _named(text: str) -> tuple[type[Baseline], str | None, str | None]:
    """Which baseline, where its weights are, and what it is called if not by its own name."""
    name, equals, location = text.partition("=")
    if name in BASELINES:
        if equals and not location:
            raise ValueError(f"--baseline {text} names nothing after the sign: give {name}=ID_OR_PATH")
        generic = BASELINES[name] is TransformersBaseline and location
        return BASELINES[name], location or None, Path(location).resolve().name if generic else None
    if equals or not ("/" in text or Path(text).is_dir()):
        raise unknown_name("baseline", name, BASELINES)
    by_id = (kind for kind in BASELINES.values() if getattr(kind, "hub_id", None) == text)
    return next(by_id, TransformersBaseline), text, Path(text).resolve().name
