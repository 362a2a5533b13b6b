"""Where in an image its fused feature comes from: integrated gradients of a cosine, back to the pixels.

For an image x, an anatomy a and a unit vector t, the score is s(x) = f_a(x) . t with the fused feature f_a
(paper, eq. 8); t is the fused feature of a hit, or that of x itself. With b, a blurred copy of x, pixel i has

    A_i = (x_i - b_i) * mean over k of ds/dx_i at b + (k - 1/2) / K * (x - b),  k = 1 ... K,

which is the midpoint rule for integrated gradients (Sundararajan et al., 2017, arXiv:1703.01365). As K grows,
the A_i add up to s(x) - s(b): to the part of the cosine that comes with the details that blurring takes away.

The way back leads through the image tower, not only to the fusion's attention weights: a token of a deep
tower has seen the whole image, so where it lies in the grid need not be where its content comes from.
benchmarks/attention.py measures both on findings whose place is known.

What a map cannot say: shapes and brightness that survive the blur get no share; what lowers the cosine is
left out; images between b and x are none that the tower was trained on. It tells how the cosine comes about
along that one path. It proves no cause, and is no statement about disease.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import check_positive
from ..image_processing_radir import fitted_size
from ..modeling_radir import RadIRModel

BLUR = 1 / 16  # of each side: standard deviation of the Gaussian that makes b from x
ROUNDING = 1e-5  # parts of the range, and of the highest heat, below which a value is rounding error
_LINEAR = {2: "bilinear", 3: "trilinear"}


def attention_map(
    model: RadIRModel,
    pixel_values: Tensor,
    anatomy: str,
    hit: Tensor | None = None,
    steps: int = 8,
    grid: Sequence[int] | None = None,
) -> Tensor:
    """Heat-maps of images' features conditioned on an anatomy: A summed over cells.

    Sums below 0, of cells that lower the cosine, become 0. Where nothing is left, as for an image of one
    grey, the map is uniform.

    Args:
        model: with a fusion, in eval mode.
        pixel_values: (B, C, H, W), or (B, C, D, H, W) where the tower takes volumes, float.
        anatomy: a name that the model's configuration knows.
        hit: pixel values of one image, or of B, to which each is compared; None: to itself.
        steps: K; each costs a forward and a backward pass of the image tower, and as much memory as one step
            of training it: some 13 GB for one volume of the release's size.
        grid: cells (rows, cols), or (T, rows, cols) of volumes; None: the tower's tokens.

    Returns:
        (B, rows, cols), or (B, T, rows, cols) of volumes, float32 on the CPU, not negative, sum 1 for each
        image.

    Raises:
        ValueError: if the model cannot answer, or the shapes do not fit.
    """
    if grid is not None:
        _check_grid(tuple(grid), tuple(pixel_values.shape[2:]))
    signed, tokens = attributions(model, pixel_values, anatomy, hit, steps)
    return _distribution(signed.sum(dim=1), tuple(grid or tokens)).cpu()


def blurred(pixel_values: Tensor) -> Tensor:
    """Images (B, C, H, W), or volumes, blurred by a Gaussian of BLUR of each side; its weights end there."""
    for axis in range(2, pixel_values.ndim):
        places = torch.arange(pixel_values.shape[axis], device=pixel_values.device, dtype=torch.float32)
        distance = (places[:, None] - places) / (BLUR * len(places))
        weights = torch.softmax(-distance.square() / 2, dim=-1)  # (n, n), rows sum to 1
        pixel_values = (pixel_values.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return pixel_values


def in_image_coordinates(heat: Tensor, size: Sequence[int], processor: Any = None) -> Tensor:
    """A heat-map over the pixels of the image as it was before the image processor.

    Args:
        heat: (rows, cols) of one image, or (T, rows, cols) of one volume.
        size: (H, W) of the image before it was processed; (D, H, W) of a volume after `prepare`, whose frame
            and spacing are the processor's.
        processor: the RadIRCXRImageProcessor, or RadIRProcessor, that the image went through: with its
            keep_aspect, the padding is taken off again. None: the image was stretched.

    Returns:
        of `size`, float32, linear between the cells' centres; its values are those of the cells, so they do
        not sum to 1.

    Raises:
        ValueError: if heat and size have different numbers of sides.
    """
    if heat.ndim != len(size) or heat.ndim not in _LINEAR:
        raise ValueError(
            f"the heat-map has the shape {tuple(heat.shape)} and the image the size {tuple(size)}; (rows, "
            "cols) and (H, W), or (T, rows, cols) and (D, H, W) are needed: give one map of a batch"
        )
    settings = getattr(processor, "image_processor", processor)
    if heat.ndim == 2 and getattr(settings, "keep_aspect", False):
        heat = _unpadded(heat, size, (settings.size["height"], settings.size["width"]))
    return _resized(heat, size)


def _unpadded(heat: Tensor, size: Sequence[int], processed: tuple[int, int]) -> Tensor:
    """The part of a map over a processed image (h, w) that lies on the picture, not on its padding."""
    height, width = fitted_size((size[0], size[1]), processed)
    top, left = (processed[0] - height) // 2, (processed[1] - width) // 2
    return _resized(heat, processed)[top : top + height, left : left + width]


def _resized(heat: Tensor, size: Sequence[int]) -> Tensor:
    mode = _LINEAR[heat.ndim]
    return F.interpolate(heat.float()[None, None], size=tuple(size), mode=mode, align_corners=False)[0, 0]


def _distribution(signed: Tensor, cells: tuple[int, ...]) -> Tensor:
    """Pixels' shares (B, H, W), or (B, D, H, W), to what is above 0 in each cell, (B, *cells), sum 1."""
    pool: Any = F.adaptive_avg_pool3d if len(cells) == 3 else F.adaptive_avg_pool2d
    sums = pool(signed[:, None], cells)[:, 0].double()  # (B, *cells)
    axes = tuple(range(1, sums.ndim))
    heat = torch.where(sums > ROUNDING * sums.abs().amax(axes, keepdim=True), sums, 0)
    total = heat.sum(axes, keepdim=True)
    return torch.where(total > 0, heat / total, 1 / heat[0].numel()).float()


def attributions(
    model: RadIRModel, pixel_values: Tensor, anatomy: str, hit: Tensor | None = None, steps: int = 8
) -> tuple[Tensor, tuple[int, ...]]:
    """A, the signed share of each pixel in the cosine, and the tower's tokens along each side.

    Arguments and errors are those of `attention_map`. A is float32 of pixel_values' shape, on the model's
    device; an image's sum is s(x) - s(b) but for the error of K steps.
    """
    _check(model, pixel_values, hit, steps)
    with torch.inference_mode(False), torch.enable_grad():  # gradients may be switched off around the call
        image = pixel_values.detach().clone().to(model.device, torch.float32)
        with torch.no_grad():
            queries = model.encode_anatomies(*model.anatomy_tokens(anatomy))  # (1, d)
            other = image if hit is None else hit.detach().clone().to(model.device)
            target, _ = _fused(model, other, queries)  # (B or 1, d)
        start = blurred(image)
        details = torch.where((image - start).abs() > ROUNDING, image - start, 0)
        slopes = torch.zeros_like(image)
        for step in range(steps):
            point = (start + (step + 0.5) / steps * details).requires_grad_()
            fused, grid = _fused(model, point, queries)
            slopes += torch.autograd.grad((fused * target).sum(), point)[0]
        return details * slopes / steps, grid


def _fused(model: RadIRModel, pixel_values: Tensor, queries: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Fused features (B, d) of images for one query (1, d), L2-normalised, float32; the tokens' grid."""
    vision = model.encode_image(pixel_values, pool=False)
    grid: tuple[int, ...] = vision.grid
    if pixel_values.ndim == 5:
        grid = (max(1, pixel_values.shape[2] // model.config.vision_config.temporal_patch_size), *grid)
    return model.fuse(vision.tokens, vision.grid, queries)[:, 0].float(), grid


def _check(model: RadIRModel, pixel_values: Tensor, hit: Tensor | None, steps: int) -> None:
    check_positive("steps", steps)
    if model.training:
        raise ValueError(
            "the model is in training mode, whose dropout blurs the map: call model.eval() first"
        )
    if hit is not None and len(hit) not in (1, len(pixel_values)):
        raise ValueError(
            f"there are {len(hit)} hits for {len(pixel_values)} images: give one hit for all, or one for each"
        )


def _check_grid(grid: tuple[int, ...], sides: tuple[int, ...]) -> None:
    if len(grid) != len(sides) or any(
        not 1 <= cells <= side for cells, side in zip(grid, sides, strict=True)
    ):
        raise ValueError(
            f"grid is {grid} and the images have the sides {sides}; a number of cells is needed for each "
            "side, no more than its pixels"
        )
