"""Training images, each a little different every time. A line in AUGMENTATIONS makes a function's name known."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def distort(
    images: Tensor,
    shift: float = 0.0,
    rotation: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
    elastic: float = 0.0,
    knots: int = 4,
) -> Tensor:
    """Each of images [N, 1, H, W] under a random affine map and a random smooth displacement.

    Drawn uniformly from minus to plus: `shift` (pixels, each way), `rotation` (degrees), `scale` (share of the size,
    each way) and `shear`; `elastic` is the standard deviation (pixels) of the displacements of knots×knots points,
    between which they are interpolated. What comes in from outside repeats the border.
    """
    count, _, height, width = images.shape
    angle, tilt = _uniform(count, rotation * math.pi / 180), _uniform(count, shear)
    across, down = 1 + _uniform(count, scale), 1 + _uniform(count, scale)
    cosine, sine = angle.cos(), angle.sin()
    rows = (
        (cosine * across, (tilt * cosine - sine) * down, _uniform(count, 2 * shift / width)),
        (sine * across, (tilt * sine + cosine) * down, _uniform(count, 2 * shift / height)),
    )
    affine = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1).to(images.device)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    if elastic:
        moves = torch.randn(count, 2, knots, knots).to(images.device) * elastic * 2 / width
        field = F.interpolate(moves, (height, width), mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _uniform(count: int, limit: float) -> Tensor:
    return (torch.rand(count) * 2 - 1) * limit


AUGMENTATIONS = {"none": lambda images: images, "distort": distort}
