"""The network that a detector's parameter asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..networks import NETWORKS, ROW_NETWORKS
from ._images import Shape


def make_network(network: str | Callable[..., Any], shape: Shape, seed: int) -> nn.Module:
    """Make a network by name or by a callable.

    Parameters
    ----------
    network : str or callable
        A key of `NETWORKS`, or what makes a module.
    shape : (int, int, int) or (int,)
        (h, w, c) of the images that it reads, or (n_features,) of rows.
    seed : int
        Of the weights. The global random generator is left as it is: that is the user's.

    Raises
    ------
    ValueError
        If a named network does not read what has this shape, or a network changes the shape.
    TypeError
        If a callable makes something else than a module.
    """
    is_image = len(shape) == 3
    if isinstance(network, str) and (network in ROW_NETWORKS) == is_image:
        accepted = [name for name in NETWORKS if (name in ROW_NETWORKS) != is_image]
        kind = "images" if is_image else "plain vectors"
        raise ValueError(
            f"network={network!r} does not read {kind}; for {kind}, network must be 'auto', one "
            f"of {accepted} or a callable. For flattened images give image_shape."
        )
    factory: Callable[..., Any] = NETWORKS[network] if isinstance(network, str) else network
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        made = factory(shape if is_image else shape[0])
    if not isinstance(made, nn.Module):
        raise TypeError(
            "network must make a torch.nn.Module when called with the image shape (or the number "
            f"of features), got {type(made).__name__}."
        )
    with torch.no_grad():
        probe = torch.zeros(1, shape[2], *shape[:2]) if is_image else torch.zeros(1, *shape)
        output = made.eval()(probe)
    if output.shape != probe.shape:
        raise ValueError(
            f"network must map a batch of shape {tuple(probe.shape)} to the same shape, got "
            f"{tuple(output.shape)}."
        )
    return made
