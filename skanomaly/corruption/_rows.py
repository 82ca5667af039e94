"""The corruption of plain vectors: blocks of coordinates."""

import torch
from torch import Tensor

from ._fields import uniform

# Of the textures of images, those that rows have too.
ROW_TEXTURES = ("image", "color", "noise", "deformation", "shade")


def block_masks(
    count: int, n_features: int, *, radius: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Draw blocks of neighbouring coordinates.

    A block is at least one coordinate wide, wraps around the end of the row, and leaves at
    least one coordinate of two or more untouched.

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
        The normal rows.
    owner : Tensor of shape (blocks,), int64
        The row that each block belongs to.
    kind : Tensor of shape (blocks,), int64
        Index into ``ROW_TEXTURES``: another row, a constant, noise, the row's own values from
        other coordinates, or the row shifted by a constant.
    generator : torch.Generator
        Source of the random numbers, on the device of ``rows``.

    Returns
    -------
    Tensor of shape (blocks, n_features)
        Within the smallest and largest value of ``rows`` at each coordinate.
    """
    count, n_features = len(owner), rows.shape[1]
    device = rows.device
    low, high = rows.amin(dim=0), rows.amax(dim=0)
    own = rows[owner]
    other = rows[torch.randint(len(rows), (count,), generator=generator, device=device)]
    level = torch.rand(count, 1, generator=generator, device=device, dtype=torch.float32)
    constant = low + (high - low) * level
    noise = low + (high - low) * torch.rand(
        count, n_features, generator=generator, device=device, dtype=torch.float32
    )
    roll = torch.randint(n_features, (count, 1), generator=generator, device=device)
    moved = own.gather(1, (torch.arange(n_features, device=device) + roll) % n_features)
    shifted = own + (high - low) * (level - 0.5)
    by_name = {
        "image": other,
        "color": constant,
        "noise": noise,
        "deformation": moved,
        "shade": shifted,
    }
    choices = torch.stack([by_name[name] for name in ROW_TEXTURES])
    chosen = choices[kind, torch.arange(count, device=device)]
    return torch.minimum(torch.maximum(chosen, low), high)
