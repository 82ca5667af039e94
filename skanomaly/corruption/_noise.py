"""The noise of denoising autoencoders, independent for each value."""

import math

import torch
from torch import Tensor

from ._shapes import random_options

NOISES = ("gaussian", "masking", "salt_and_pepper")


def add_noise(images: Tensor, generator: torch.Generator, *, kind: str, amount: float) -> Tensor:
    """Add independent noise to each value (Vincent et al., JMLR 11, 2010, section 3.3).

    Parameters
    ----------
    images : Tensor of shape (b, c, h, w) or (b, n_features)
        Standardised, so that 0 is the mean.
    generator : torch.Generator
        Source of the random numbers, on the device of ``images``.
    kind : {"gaussian", "masking", "salt_and_pepper"}
        "gaussian" adds a normally distributed number to each value. "masking" replaces a random
        part of the values by 0. "salt_and_pepper" replaces a random part by the minimum or the
        maximum of the batch in that channel or feature, with equal probability.
    amount : float
        Standard deviation of "gaussian", else the fraction of values that are replaced, up to 1.

    Returns
    -------
    Tensor of the same shape

    Raises
    ------
    ValueError
        If ``kind`` is unknown, or ``amount`` is out of range.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.corruption import add_noise
    >>> rows, generator = torch.ones(100, 8), torch.Generator().manual_seed(0)
    >>> add_noise(rows, generator, kind="masking", amount=0.25).unique()
    tensor([0., 1.])
    """
    if kind not in NOISES:
        raise ValueError(f"kind must be one of {list(NOISES)}, got {kind!r} instead.")
    if not 0 <= amount <= (math.inf if kind == "gaussian" else 1.0):
        limits = "at least 0" if kind == "gaussian" else "from 0 to 1"
        raise ValueError(f"amount must be {limits} for {kind!r} noise, got {amount} instead.")
    options = random_options(generator)
    if kind == "gaussian":
        return images + amount * torch.randn(images.shape, **options)
    chosen = torch.rand(images.shape, **options) < amount
    if kind == "masking":
        return images.masked_fill(chosen, 0.0)
    axes = (0, *range(2, images.ndim))
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    is_salt = torch.rand(images.shape, **options) < 0.5
    return torch.where(chosen, torch.where(is_salt, high, low), images)
