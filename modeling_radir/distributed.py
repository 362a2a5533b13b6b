"""Features of all processes in one batch, with the gradients of a single process."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


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
    return _Gather.apply(tensor)


class _Gather(torch.autograd.Function):
    """all_gather whose backward is an all_reduce.

    torch.distributed.nn's own takes the memory of a gradient that is not contiguous (of a transposed result,
    say) in the wrong order on gloo, without a word.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [
            torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
            for _ in range(dist.get_world_size())
        ]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
