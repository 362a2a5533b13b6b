"""Several processes of one training: the main one looks at files, and all continue alike or stop alike."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, gather

from dataset_scripts.plumbing.outputs import claim
from radir_training.run_folder import Progress, RunFolder

Result = TypeVar("Result")


class ToldByMainError(ValueError):
    """A mistake that the main process has found, and tells of."""


def decide(function: Callable[[], Result]) -> Result:
    """What a function returns in the main process, in all of them; it runs there alone.

    Args:
        function: returns something picklable.

    Raises:
        ValueError: it did, in every process.
    """
    state = PartialState()
    answer: list[tuple[Result | None, str | None]] = [(None, None)]
    raised: ValueError | None = None
    if state.is_main_process:
        try:
            answer = [(function(), None)]
        except ValueError as error:
            raised, answer = error, [(None, str(error))]
    if state.num_processes > 1:
        broadcast_object_list(answer)
    if raised is not None:
        raise raised
    result, message = answer[0]
    if message is not None:
        raise ToldByMainError(message)
    return result  # type: ignore[return-value]  # the main process's, None if that is what it returned


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold an output for the processes of this training alone, see `claim`.

    Raises:
        ValueError: another run holds it, or it cannot be written.
    """
    with ExitStack() as held:

        def take() -> None:
            held.enter_context(claim(out))

        decide(take)
        yield


def largest(number: int) -> int:
    """The largest number that any process brings; all must ask."""
    state = PartialState()
    if state.num_processes == 1:
        return number
    return int(gather(torch.tensor([number], device=state.device)).max().item())


def save_checkpoint(folder: RunFolder, accelerator: Accelerator, progress: Progress) -> None:
    """Write the states of all processes to one new checkpoint, which takes the place of the last.

    Raises:
        ValueError: it cannot be written; the last checkpoint stays.
    """
    with folder.new_checkpoint(progress) if accelerator.is_main_process else nullcontext() as fresh:
        where = broadcast_object_list([fresh])[0] if accelerator.num_processes > 1 else fresh
        accelerator.save_state(str(where))
        accelerator.wait_for_everyone()
    accelerator.wait_for_everyone()
