"""The corruption of plain vectors: blocks of neighbouring features."""

import torch
from torch import Tensor

from ._shapes import random_options, uniform

# The textures of images that rows have as well.
ROW_TEXTURES = ("image", "color", "noise", "deformation", "shade")


def block_masks(
    count: int, n_features: int, *, radius: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Draw blocks of neighbouring features.

    A block has at least one feature and wraps around the end of the row. Unless the row has only
    one feature, at least one is left untouched.

    Parameters
    ----------
    count, n_features : int
        Number of blocks and length of a row.
    radius : (float, float)
        Range of half the block's length, as a fraction of the row; log-uniform.
    generator : torch.Generator
        Source of the random numbers.

    Returns
    -------
    Tensor of shape (count, n_features), bool
    """
    length = (2 * n_features * uniform(count, *radius, generator, log=True)).round()
    length = length.clamp(1, max(1, n_features - 1))
    start = torch.randint(n_features, (count, 1), generator=generator, device=generator.device)
    position = torch.arange(n_features, device=generator.device)
    return (position - start) % n_features < length.view(-1, 1)


def replacement_rows(
    rows: Tensor, owner: Tensor, kind: Tensor, *, generator: torch.Generator
) -> Tensor:
    """Draw the replacement content of each block.

    Parameters
    ----------
    rows : Tensor of shape (batch, n_features)
        Normal rows.
    owner : Tensor of shape (blocks,), int64
        Index of the row that each block belongs to.
    kind : Tensor of shape (blocks,), int64
        Index into ``ROW_TEXTURES``: another row; one level between the minimum and the maximum of
        each feature; noise between them; the row's own values from other features; the row
        shifted by up to half of that range.
    generator : torch.Generator
        Source of the random numbers, on the device of ``rows``.

    Returns
    -------
    Tensor of shape (blocks, n_features)
        Between the minimum and the maximum of ``rows`` for each feature.
    """
    count, n_features = len(owner), rows.shape[1]
    device, options = rows.device, random_options(generator)
    low, high = rows.amin(dim=0), rows.amax(dim=0)
    own = rows[owner]
    other = rows[torch.randint(len(rows), (count,), generator=generator, device=device)]
    level = torch.rand(count, 1, **options)
    noise = low + (high - low) * torch.rand(count, n_features, **options)
    roll = torch.randint(n_features, (count, 1), generator=generator, device=device)
    moved = own.gather(1, (torch.arange(n_features, device=device) + roll) % n_features)
    by_name = {
        "image": other,
        "color": low + (high - low) * level,
        "noise": noise,
        "deformation": moved,
        "shade": own + (high - low) * (level - 0.5),
    }
    choices = torch.stack([by_name[name] for name in ROW_TEXTURES])
    return choices[kind, torch.arange(count, device=device)].clamp(low, high)
