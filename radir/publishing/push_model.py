"""Publishing a trained model on the Hub: what `from_pretrained` reads, its code, its card and its results.

A model trained on data that are not open goes to private repositories alone, and only if the user says that
the licence allows it: a learnt vocabulary holds words of the reports, and weights can remember what they saw.
The same holds where nothing says what a model was trained on.
"""

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from transformers.dynamic_module_utils import get_relative_imports

from dataset_scripts.building.layout import CARD
from dataset_scripts.building.provenance import why_not_open
from radir.publishing.hub import (
    Operation,
    RepoInfo,
    check_own,
    files_of,
    progress_bars,
    push_in_one_commit,
)
from radir.publishing.model_card import is_untouched, model_card, with_results
from radir.publishing.model_info import (
    CONFIG,
    PROCESSORS,
    TRAINING,
    WEIGHTS,
    ModelInfo,
    read_json,
    without_local_paths,
)
from radir.publishing.model_results import ModelResults

logger = logging.getLogger(__name__)

# JSON that may quote paths of this machine; a vocabulary is left as it is.
_SETTINGS = (CONFIG, *PROCESSORS, "tokenizer_config.json", TRAINING)
_TOKENIZER = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "special_tokens_map.json",
              "added_tokens.json", "spiece.model", "sentencepiece.bpe.model")  # fmt: skip
_RESULTS = ".eval_results"
# What an earlier push may have left and this one replaces, beside the files of the same name.
_OWN = re.compile(rf"model[^/]*\.safetensors(\.index\.json)?|{re.escape(_RESULTS)}/radir-[^/]*\.yaml")


def push_model(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    i_may_share: bool = False,
    results: Path | None = None,
    benchmark: str | None = None,
    progress: bool = True,
    api: HfApi | None = None,
) -> str:
    """Push a model folder to a model repository on the Hub, in one commit.

    An earlier push is replaced, with its results: those given now count. A README.md that someone wrote or
    edited stays, in the folder or in the repository; only the figures in its header are renewed. Other files
    in the repository stay.

    Args:
        folder: a model folder; of it go the configuration, safetensors, processor, tokenizer, code,
            training.json (without paths of this machine) and README.md, made anew where nobody wrote it.
        repo: user/name; created if it is not there.
        private: create it private, and refuse one that is not.
        i_may_share: the user's word that the licence of the training data lets them put the model into a
            private repository.
        results: results.json with figures of this model, by its folder's name, or the folder of that file.
        benchmark: the Hub id (user/name) of the dataset of these figures, where it was evaluated as a folder.
        progress: show progress bars.
        api: how to reach the Hub; by default its usual address, with the user's login.

    Returns:
        The repository's address.

    Raises:
        ValueError: the folder is no complete RadIR model's, a file of it is a link to somewhere else, the
            data's licence does not allow the push, `results` say nothing of the model, or the Hub refuses.
    """
    folder = Path(folder)
    facts = ModelInfo.read(folder)
    _check_sharing(folder, facts, private and i_may_share, api)
    measured = None if results is None else _measured(results, facts.name, benchmark)
    additions = [CommitOperationAdd(name, content) for name, content in _files(folder)]
    for name in (*(item.path_in_repo for item in additions), CARD):
        if os.path.lexists(folder / name):
            check_own(folder, name)
    if measured is not None:
        entries = yaml.safe_dump(measured.entries(), sort_keys=False, allow_unicode=True)
        additions.append(CommitOperationAdd(f"{_RESULTS}/{measured.file_name}", entries.encode()))
    api = api or HfApi()

    def plan(info: RepoInfo) -> list[Operation]:
        card = _card(api, info, folder, measured)
        new = [*additions, *([] if card is None else [CommitOperationAdd(CARD, card.encode())])]
        kept = {item.path_in_repo for item in new}
        stale = [name for name in files_of(info) if _OWN.fullmatch(name) and name not in kept]
        return [*map(CommitOperationDelete, stale), *new]

    with progress_bars(progress):
        return push_in_one_commit(api, repo, "model", private, plan, f"Push {facts.name}")


def _measured(results: Path, model: str, benchmark: str | None) -> ModelResults:
    """The figures to publish, with a warning where the Hub cannot place them."""
    measured = ModelResults.read(results, model, benchmark)
    if "/" not in measured.benchmark:
        logger.warning(
            "the figures name the dataset %s by no Hub id, so that the Hub lists them beside no others'; "
            "give --benchmark user/name if it is there",
            measured.benchmark,
        )
    return measured


def _check_sharing(folder: Path, facts: ModelInfo, allowed: bool, api: HfApi | None) -> None:
    reason = None if allowed else _reason_not_to_share(folder, facts, api)
    if reason:
        raise ValueError(
            f"{reason}: what derives from data that are not open may only go to a private repository, and "
            "only if their licence lets you put it there: then give --private and --i-may-share"
        )


def _reason_not_to_share(folder: Path, facts: ModelInfo, api: HfApi | None) -> str | None:
    """Why not all may have the model, by training.json and all that it was made from."""
    data, settings = facts.data, facts.training.get("settings", {})
    start = settings.get("model")
    if not data:
        return f"nothing says on which data {folder} was trained"
    if start and "started_from" not in data:
        return f"nothing says on which data {start} was trained, from which {folder} started"
    reason = why_not_open(data, settings, api)
    return reason and f"{folder} owes to {reason}"


def _files(folder: Path) -> Iterator[tuple[str, str | bytes]]:
    """Path in the repository, and the file or its content, of all but the card and the results."""
    for path in sorted(folder.glob(WEIGHTS)) + sorted(folder.glob("model.safetensors.index.json")):
        yield path.name, str(path)
    for name in _TOKENIZER:
        if (folder / name).is_file():
            yield name, str(folder / name)
    for name in _SETTINGS:
        if (folder / name).is_file():
            yield name, _cleaned(folder / name)
    for path in _code(folder):
        yield path.name, str(path)
    if not any((folder / name).is_file() for name in PROCESSORS):
        logger.warning("%s has no processor, so whoever loads the model must make one", folder)


def _cleaned(path: Path) -> str | bytes:
    """The file, or its content where it had to be rid of paths of this machine."""
    content = read_json(path)
    cleaned = without_local_paths(content)
    return str(path) if cleaned == content else json.dumps(cleaned, indent=2).encode()


def _code(folder: Path) -> list[Path]:
    """The modules that the folder's auto_maps name, with all that they import."""
    wanted = sorted({module for name in _SETTINGS for module in _modules(folder / name)})
    if not wanted:
        raise ValueError(
            f"{folder} names no code (auto_map), so that others could not load it: save the model again with "
            "this version's save_pretrained"
        )
    found: set[Path] = set()
    missing: set[str] = set()
    while wanted:
        path = folder / f"{wanted.pop()}.py"
        if not path.is_file():
            missing.add(path.name)
        elif path not in found:
            found.add(path)
            wanted += get_relative_imports(path)
    if missing:
        raise ValueError(
            f"{folder} lacks {', '.join(sorted(missing))}, which its code needs: save the model again with "
            "save_pretrained"
        )
    return sorted(found)


def _modules(path: Path) -> Iterator[str]:
    """The modules in the auto_map of a file, and of the image processor in it; towers' are not used."""
    settings = read_json(path) if path.is_file() else {}
    for part in (settings, settings.get("image_processor") or {}):
        for reference in (part.get("auto_map") or {}).values():
            for name in reference if isinstance(reference, list) else [reference]:
                if name and "--" not in name:  # code of another repository stays there
                    yield name.split(".")[0]


def _card(api: HfApi, info: RepoInfo, folder: Path, measured: ModelResults | None) -> str | None:
    """The README.md to commit: someone's with renewed figures, or a new one; None to leave what is there."""
    name = info.id.split("/")[-1]
    local = folder / CARD
    written = local.read_bytes().decode("utf-8") if local.is_file() else None
    if written is not None and not is_untouched(written):
        return written if measured is None else with_results(written, name, measured.eval_results())
    remote = _remote_card(api, info) if CARD in files_of(info) else None
    if remote is None or is_untouched(remote):
        return model_card(folder, measured, info.id)
    return None if measured is None else with_results(remote, name, measured.eval_results())


def _remote_card(api: HfApi, info: RepoInfo) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        path = api.hf_hub_download(info.id, CARD, revision=info.sha, local_dir=scratch)
        return Path(path).read_bytes().decode("utf-8")
