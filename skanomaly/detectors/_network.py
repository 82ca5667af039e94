"""The network that a detector's parameter asks for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from ..networks import NETWORKS, ROW_NETWORKS
from ..networks._protocol import make_initialized
from ._images import Shape

_GLOBAL_STATE = threading.RLock()


def make_network(network: str | Callable[..., Any], shape: Shape, seed: int) -> nn.Module:
    """Make a network by name or by a callable.

    Parameters
    ----------
    network : str or callable
        A key of `NETWORKS`, or what makes a module.
    shape : (int, int, int) or (int,)
        (h, w, c) of the images that it reads, or (n_features,) of rows.
    seed : int
        Of the weights. The generator of the process is neither used nor changed by named networks.
        A callable draws from it: it is seeded meanwhile and then set back, one network at a time,
        but what another thread draws at that moment does change the weights.

    Raises
    ------
    ValueError
        If a named network does not read what has this shape, or a network changes the shape, or
        has nothing to train.
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
    argument = shape if is_image else shape[0]
    made: Any
    if isinstance(network, str):
        made = make_initialized(
            partial(NETWORKS[network], argument), torch.Generator("cpu").manual_seed(seed)
        )
    else:
        with _seeded(seed):
            made = network(argument)
    if not isinstance(made, nn.Module):
        raise TypeError(
            "network must make a torch.nn.Module when called with the image shape (or the number "
            f"of features), got {type(made).__name__}."
        )
    if not any(weight.requires_grad for weight in made.parameters()):
        raise ValueError(
            f"network must have weights to train, got {type(made).__name__} without any."
        )
    with torch.no_grad():
        size = (1, shape[2], *shape[:2]) if is_image else (1, *shape)
        probe = torch.zeros(size, dtype=torch.float32)
        output = made.eval()(probe)
    if output.shape != probe.shape:
        raise ValueError(
            f"network must map a batch of shape {tuple(probe.shape)} to the same shape, got "
            f"{tuple(output.shape)}."
        )
    return made


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let code that knows no other draw from the generator of the process, and set that back."""
    with _GLOBAL_STATE, torch.random.fork_rng(devices=[]):
        dtype = torch.get_default_dtype()
        torch.default_generator.manual_seed(seed)
        try:
            # Which weights are drawn depends on it.
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_default_dtype(dtype)
