"""One commit to a repository on the Hub: what must be private is checked, a failure is told in a sentence.

Whether a repository is private is asked of the Hub, again when all is uploaded and nothing is committed yet:
files become visible with the one commit that a push makes, so an interrupted push shows nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetInfo, HfApi, ModelInfo
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

RepoInfo: TypeAlias = DatasetInfo | ModelInfo
Operation: TypeAlias = CommitOperationAdd | CommitOperationDelete


def push_in_one_commit(
    api: HfApi,
    repo: str,
    repo_type: str,
    private: bool,
    plan: Callable[[RepoInfo], Sequence[Operation]],
    message: str,
) -> str:
    """Create a repository where it is missing, and commit to it once.

    Args:
        api: how to reach the Hub.
        repo: user/name.
        repo_type: "dataset" or "model".
        private: create it private, and refuse one that is not.
        plan: given what the Hub says of the repository, with its files as `siblings`, what to add and delete.
        message: of the commit.

    Returns:
        The repository's address.

    Raises:
        ValueError: if the repository must be private and is not, or the Hub refuses.
    """
    try:
        # None, not False: an organisation whose repositories are private by default keeps its rule.
        url = api.create_repo(repo, repo_type=repo_type, private=private or None, exist_ok=True)
        info = _info(api, url.repo_id, repo_type, private)
        operations = list(plan(info))
        additions = [item for item in operations if isinstance(item, CommitOperationAdd)]
        api.preupload_lfs_files(url.repo_id, additions, repo_type=repo_type, free_memory=False)
        _info(api, url.repo_id, repo_type, private)
        api.create_commit(
            url.repo_id, operations, commit_message=message, repo_type=repo_type, parent_commit=info.sha
        )
        # Someone may have opened the repository at that very moment: then at least say so.
        _info(api, url.repo_id, repo_type, private)
    except (HTTPError, OSError, RuntimeError) as error:
        raise ValueError(
            f"the push to {repo} did not succeed: {error}. A push commits everything at its end or nothing; "
            "check the name and the login (`hf auth login`, with a token that may write) and run it again"
        ) from error
    return str(url)


def check_own(folder: Path, name: str) -> None:
    """Make sure that a file to be pushed lies in the folder itself, so that no link brings another one along.

    A snapshot in the Hub library's cache is made of links to its own blobs: those are followed.

    Args:
        folder: what is pushed.
        name: of a file, relative to it.

    Raises:
        ValueError: it is no regular file, or it or a folder on its way is a link to somewhere else.
    """
    home = folder.resolve()
    path = home / name
    target = path.resolve()
    if target == path and path.is_file():
        return
    snapshot = home.parent.name == "snapshots" and path.parent.resolve() == path.parent
    if snapshot and target.parent == home.parent.parent / "blobs" and target.is_file():
        return
    what = f"a link to {target}" if target != path else "no regular file"
    raise ValueError(
        f"{folder / name} is {what}: only files of the folder itself are pushed; put a copy in its place, or "
        "remove it"
    )


def files_of(info: RepoInfo) -> list[str]:
    """The paths of a repository's files."""
    return [item.rfilename for item in info.siblings or []]


def _info(api: HfApi, repo: str, repo_type: str, private: bool) -> RepoInfo:
    """What the Hub says about a repository; refused where it must be private and is not."""
    info = api.dataset_info(repo) if repo_type == "dataset" else api.model_info(repo)
    if private and info.private is not True:
        raise ValueError(
            f"{repo} is public on the Hub, but must be private: make it private in its settings, or give "
            "another --repo"
        )
    return info


@contextmanager
def progress_bars(shown: bool) -> Iterator[None]:
    """The Hub library's bars are a global switch: it is put back."""
    change = not shown and not are_progress_bars_disabled()
    if change:
        disable_progress_bars()
    try:
        yield
    finally:
        if change:
            enable_progress_bars()
