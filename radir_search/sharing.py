"""Who may have an index: it holds texts about patients, and features by which they can be recognised."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_scripts.building.provenance import UNKNOWN
from dataset_scripts.sources.base import Sharing
from radir_search.index_folder import read_origin


def on_privacy(data: Mapping[str, Any]) -> str | None:
    """One line that says who may have an index; None where everybody may.

    Args:
        data: the terms of the data that it was made from, of `provenance.joined`.
    """
    if data.get("sharing") == Sharing.OPEN:
        return None
    return (
        f"the folder is as private as its data ({_terms(data)}), and readable for you alone: features can "
        "tell who a patient is"
    )


def check_may_leave(folder: Path, *, private: bool = False, i_may_share: bool = False) -> None:
    """Make sure that an index may leave this machine: whatever sends one to others asks here first.

    Args:
        folder: of the index.
        private: whether it goes where only invited people can read it.
        i_may_share: the user's word that the licence of the data lets them put it there.

    Raises:
        ValueError: the folder is no index, or its data are not open and the two are not both given.
    """
    data = read_origin(folder).data
    if data.get("sharing") != Sharing.OPEN and not (private and i_may_share):
        raise ValueError(
            f"the index in {folder} was made from {_terms(data)}: it may only go to a private place, "
            "and only if that licence lets you put it there: then say both (--private, --i-may-share)"
        )


def _terms(data: Mapping[str, Any]) -> str:
    licence = data.get("licence") or UNKNOWN
    return f"{data.get('sharing') or Sharing.RESTRICTED} data under the licence {licence}"
