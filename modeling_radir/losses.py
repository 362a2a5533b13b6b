"""The objectives of both training stages (paper, equations 6, 7 and 9).

S is a predicted similarity, T a relevance from the reports in [0, 1]; both are (N, N) and entry (i, j)
compares query i with candidate j. T may hold NaN where a pair's relevance is not known, as where a study's
report says nothing about an anatomy; such a pair takes part in no term. No loss changes its arguments.
"""

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class MaskedInfoNCELoss(nn.Module):
    r"""Contrastive loss that leaves likely positives out of the denominator (eq. 7).

    .. math:: L_{MIL}(S, T) = -\frac{1}{N} \sum_i
        \log \frac{\exp(S_{ii})}{\sum_j \exp(S_{ij}) (I + 1[T < \tau])_{ij}}

    A pair off the diagonal with T >= tau, or of unknown relevance, leaves the denominator. The diagonal stays
    in once, whatever T says there: read literally, the formula counts it twice where T_ii < tau. Rows with
    T_ii = NaN have no positive and leave the mean.

    Args:
        tau: relevance from which on a pair counts as a likely positive; 0.75 in the release.

    Example:
        >>> logits, relevance = torch.zeros(4, 4), torch.eye(4)
        >>> round(MaskedInfoNCELoss()(logits, relevance).item(), 4)  # log 4
        1.3863
    """

    def __init__(self, tau: float = 0.75):
        super().__init__()
        _check_finite(tau=tau)
        self.tau = tau

    def forward(self, logits: Tensor, relevance: Tensor) -> Tensor:
        """Scalar loss of logits (N, N), scaled already, under relevance (N, N).

        Raises:
            ValueError: if the shapes differ or are not square.
        """
        _check_square(logits, relevance)
        logits = logits.float()
        diagonal = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        kept = (relevance < self.tau) | diagonal  # NaN < tau is False
        denominator = logits.masked_fill(~kept, -torch.inf).logsumexp(dim=1)  # (N,)
        per_query = denominator - logits.diagonal()
        known = ~relevance.diagonal().isnan()
        return torch.where(known, per_query, 0.0).sum() / known.sum().clamp(min=1)


class RankedTripletLoss(nn.Module):
    r"""Triplets whose order the relevance tells, softly (L_TL of eq. 6 and 9, as the release codes it).

    For query i over all pairs (j, k) with T_ij > positive_threshold and T_ij - T_ik > gap:

    .. math:: \mathrm{softplus}(w_{ijk} \max(S_{ik} - S_{ij} + m, 0) / t), \quad
        w_{ijk} = T_{ij} - T_{ik} \text{ if weighted, else } 1

    averaged over the pairs of i, then over queries: all of them if not weighted (stage 1; a query without
    pairs counts as 0), those with pairs if weighted (stage 2). Queries of which no relevance is known leave
    the mean. A triplet that is satisfied costs log 2 and has no gradient.

    Memory: the pairs are taken in chunks and recomputed in the backward pass, so the peak grows with
    chunk_size * N and not with N^3.

    Args:
        margin: m, in units of S.
        temperature: t, in units of S.
        positive_threshold: relevance above which j is a positive of i.
        gap: least difference of relevance between positive and negative, exclusive.
        weighted: weight by the difference of relevance, and average over queries with pairs only.
        include_self: let j = i be a positive, as the release does.
        chunk_size: pairs (i, j) taken at once.
    """

    def __init__(
        self,
        margin: float = 0.1,
        temperature: float = 0.07,
        positive_threshold: float = 0.75,
        gap: float = 0.25,
        weighted: bool = False,
        include_self: bool = True,
        chunk_size: int = 8192,
    ):
        super().__init__()
        if not 0 < temperature < math.inf or chunk_size < 1:
            raise ValueError(
                f"temperature is {temperature} and chunk_size {chunk_size}; both must be above 0"
            )
        _check_finite(margin=margin, positive_threshold=positive_threshold, gap=gap)
        self.margin = margin
        self.temperature = temperature
        self.positive_threshold = positive_threshold
        self.gap = gap
        self.weighted = weighted
        self.include_self = include_self
        self.chunk_size = chunk_size

    def forward(self, similarity: Tensor, relevance: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            similarity: (N, N), S.
            relevance: (N, N), T; NaN where unknown.
            mask: (N, N) bool, False where a pair shall take part in no term; None: all pairs do.

        Raises:
            ValueError: if the shapes differ or are not square.
        """
        _check_square(similarity, relevance, mask)
        similarity = similarity.float()
        relevance = relevance.to(similarity.dtype)
        if mask is not None:
            relevance = relevance.masked_fill(~mask.bool(), torch.nan)
        sums, counts = self._sum_per_query(similarity, relevance)
        per_query = sums / counts.clamp(min=1)
        taken = counts > 0 if self.weighted else _off_diagonal(~relevance.isnan()).any(dim=1)
        return per_query.sum() / taken.sum().clamp(min=1)

    def _sum_per_query(self, similarity: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
        """Sum and number of each query's triplets, both (N,) float32."""
        positive = relevance > self.positive_threshold  # NaN > x is False
        if not self.include_self:
            positive = _off_diagonal(positive)
        queries, positives = positive.nonzero(as_tuple=True)  # (P,), (P,)
        sums = similarity.sum(dim=1) * 0.0  # in the graph even where there is no triplet
        counts = torch.zeros_like(sums)
        again = len(queries) > self.chunk_size and torch.is_grad_enabled()
        for start in range(0, len(queries), self.chunk_size):
            i, j = queries[start : start + self.chunk_size], positives[start : start + self.chunk_size]
            if again:
                terms, number = checkpoint(self._chunk, similarity, relevance, i, j, use_reentrant=False)
            else:
                terms, number = self._chunk(similarity, relevance, i, j)
            sums, counts = sums.index_add(0, i, terms), counts.index_add(0, i, number)
        return sums, counts

    def _chunk(self, similarity: Tensor, relevance: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
        """Over all negatives k: summed terms and number of triplets of each pair (i, j), both (p,)."""
        difference = relevance[i, j][:, None] - relevance[i]  # (p, N), T_ij - T_ik
        valid = difference > self.gap
        rows = similarity.index_select(0, i)  # (p, N); gradients of similarity[i] add up in no fixed order
        violation = (rows - similarity[i, j][:, None] + self.margin).clamp(min=0)  # (p, N)
        if self.weighted:
            violation = violation * torch.where(valid, difference, 0.0)
        terms = torch.where(valid, F.softplus(violation / self.temperature), 0.0)
        return terms.sum(dim=1), valid.sum(dim=1).to(terms.dtype)


class UnconditionalLoss(nn.Module):
    r"""The objective of stage 1 (eq. 5 and 6).

    .. math::
        L = \lambda_1 L_{MIL}(S_{i2t}, T) + \lambda_2 L_{MIL}(S_{t2i}, T) + \lambda_3 L_{TL}(S_{i2i}, T)

    with S_i2t = scale v t^T, S_t2i its transpose, and S_i2i = v v^T. Both contrastive terms use T as it is.
    The release gives the triplet loss exp(temperature) v v^T, where scale = exp(temperature) / 0.1: that is
    triplet_scale = 0.1.

    Args:
        weights: (lambda_1, lambda_2, lambda_3); 0.5, 0.5, 1 in the release. A term of weight 0 is left out.
        contrastive: the L_MIL to use; None: the release's.
        triplet: the L_TL to use; None: the release's, not weighted.
        triplet_scale: None: the triplet loss sees cosines. A number: it sees number * scale * cosine.
    """

    def __init__(
        self,
        weights: tuple[float, float, float] = (0.5, 0.5, 1.0),
        contrastive: MaskedInfoNCELoss | None = None,
        triplet: RankedTripletLoss | None = None,
        triplet_scale: float | None = None,
    ):
        super().__init__()
        _check_finite(weights=sum(weights))
        self.weights = dict(zip(("image_to_text", "text_to_image", "image_to_image"), weights, strict=True))
        self.contrastive = MaskedInfoNCELoss() if contrastive is None else contrastive
        self.triplet = RankedTripletLoss() if triplet is None else triplet
        self.triplet_scale = triplet_scale

    def terms(
        self, image: Tensor, text: Tensor, logit_scale: Tensor | float, relevance: Tensor
    ) -> dict[str, Tensor]:
        """Terms before weighting: "image_to_text", "text_to_image", "image_to_image"; none of weight 0."""
        terms = {}
        logits = logit_scale * image @ text.T  # (N, N), S_i2t
        if self.weights["image_to_text"]:
            terms["image_to_text"] = self.contrastive(logits, relevance)
        if self.weights["text_to_image"]:
            terms["text_to_image"] = self.contrastive(logits.T, relevance)
        if self.weights["image_to_image"]:
            factor = 1.0 if self.triplet_scale is None else self.triplet_scale * logit_scale
            terms["image_to_image"] = self.triplet(factor * image @ image.T, relevance)
        return terms

    def forward(self, image: Tensor, text: Tensor, logit_scale: Tensor | float, relevance: Tensor) -> Tensor:
        """Scalar loss.

        Args:
            image: (N, d), L2-normalised.
            text: (N, d), L2-normalised, in the order of the images.
            logit_scale: (), the factor on cosines (not its logarithm).
            relevance: (N, N), T; NaN where unknown.

        Raises:
            ValueError: if the shapes do not fit.
        """
        return self.with_terms(image, text, logit_scale, relevance)[0]

    def with_terms(
        self, image: Tensor, text: Tensor, logit_scale: Tensor | float, relevance: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss as `forward` gives it, and its terms before weighting as `terms` does."""
        terms = self.terms(image, text, logit_scale, relevance)
        loss = image.sum() * 0.0
        for name, term in terms.items():
            loss = loss + self.weights[name] * term
        return loss, terms


class ConditionalLoss(nn.Module):
    r"""The objective of stage 2 (eq. 9), the mean over the Q anatomies of the batch.

    .. math:: L = L_{TL}(S_{f2f}, T_Q), \quad S_{f2f} = f f^T

    An anatomy without any triplet counts as 0, as in the release.

    Args:
        triplet: the L_TL to use; None: the release's, weighted.
    """

    def __init__(self, triplet: RankedTripletLoss | None = None):
        super().__init__()
        self.triplet = RankedTripletLoss(weighted=True) if triplet is None else triplet

    def forward(self, similarity: Tensor, relevance: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            similarity: (Q, N, N), cosines of the fused features of each anatomy.
            relevance: (Q, N, N), T_Q; NaN where unknown.
            mask: (Q, N, N) bool, False where a pair shall take part in no term; None: all pairs do.

        Raises:
            ValueError: if the shapes do not fit.
        """
        shapes = [tuple(t.shape) for t in (similarity, relevance, mask) if t is not None]
        if similarity.ndim != 3 or len(similarity) == 0 or len(set(shapes)) != 1:
            raise ValueError(
                f"similarity, relevance and mask have the shapes {shapes}; all must be (anatomies, images, "
                "images) with at least one anatomy"
            )
        losses = [
            self.triplet(similarity[q], relevance[q], None if mask is None else mask[q])
            for q in range(len(similarity))
        ]
        return torch.stack(losses).mean()


def _off_diagonal(pairs: Tensor) -> Tensor:
    return pairs & ~torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)


def _check_finite(**values: float) -> None:
    """Raise ValueError for NaN or infinity, of which a loss would be no number or leave out every pair."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; a finite number is needed")


def _check_square(similarity: Tensor, relevance: Tensor, mask: Tensor | None = None) -> None:
    shapes = [tuple(t.shape) for t in (similarity, relevance, mask) if t is not None]
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or len(set(shapes)) != 1:
        raise ValueError(
            f"similarity, relevance and mask have the shapes {shapes}; all must be (N, N), candidates in "
            "the order of the queries"
        )


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
