"""Features of all processes in one batch, with the gradients of a single process."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks, differentiable.

    If each process computes the loss of the whole gathered batch, then the gradients that
    DistributedDataParallel averages are those of one process with that batch: backward adds up, for each
    row, what all processes found, which is the number of processes times too much, and the average divides
    by that number.

    Args:
        tensor: (n, ...), with the same n in every process (drop the last, shorter batch).

    Returns:
        (processes * n, ...); the tensor itself where there is a single process.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    return torch.cat(all_gather(tensor), dim=0)
