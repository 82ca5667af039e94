"""The network of a detector, made by name or by a callable."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from .._validation import Shape
from ..networks import NETWORKS, ROW_NETWORKS
from ..networks._protocol import make_initialized

_GLOBAL_STATE = threading.RLock()


def make_network(network: str | Callable[..., Any], shape: Shape, seed: int) -> nn.Module:
    """Make a network by name or by a callable.

    Parameters
    ----------
    network : str or callable
        A key of `NETWORKS`, or a callable that makes a module.
    shape : (int, int, int) or (int,)
        Shape (h, w, c) of its input images, or (n_features,) of rows.
    seed : int
        Seed of the weights. For a callable, the global generator of torch is seeded and then
        restored, for one network at a time; draws by another thread meanwhile change the weights.
        Named networks do not use it.

    Raises
    ------
    ValueError
        If a named network does not accept this shape, or a network changes the shape or has no
        trainable weights.
    TypeError
        If it is a module, or a callable that does not return one.
    """
    is_image = len(shape) == 3
    if isinstance(network, str) and (network in ROW_NETWORKS) == is_image:
        accepted = [name for name in NETWORKS if (name in ROW_NETWORKS) != is_image]
        kind = "images" if is_image else "plain vectors"
        raise ValueError(
            f"network={network!r} does not read {kind}; for {kind}, network must be 'auto', one "
            f"of {accepted} or a callable. For flattened images pass image_shape."
        )
    if isinstance(network, nn.Module):
        raise TypeError(
            "network must be a callable that makes a torch.nn.Module, such as a class or function, "
            f"got a module of type {type(network).__name__} instead."
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
            f"of features), got {type(made).__name__} instead."
        )
    if not any(weight.requires_grad for weight in made.parameters()):
        raise ValueError(
            f"network must have weights to train, got {type(made).__name__} without any instead."
        )
    with torch.no_grad():
        size = (1, shape[2], *shape[:2]) if is_image else (1, *shape)
        probe = torch.zeros(size, dtype=torch.float32)
        output = made.eval()(probe)
    if output.shape != probe.shape:
        raise ValueError(
            f"network must map a batch of shape {tuple(probe.shape)} to the same shape, got "
            f"{tuple(output.shape)} instead."
        )
    return made


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generator of torch, and restore it."""
    with _GLOBAL_STATE, torch.random.fork_rng(devices=[]):
        dtype = torch.get_default_dtype()
        torch.default_generator.manual_seed(seed)
        try:
            # The weights that are drawn depend on it.
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_default_dtype(dtype)
