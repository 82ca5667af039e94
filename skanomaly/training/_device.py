"""Where a network runs, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

PRECISIONS = ("auto", "float32", "bfloat16")


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn a device's name into a device that is there.

    Parameters
    ----------
    device : str or torch.device
        "auto" is the first CUDA device, Apple's "mps", or else the CPU; anything else is a name
        that torch knows.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If torch does not know the name, or the device is not available.

    Examples
    --------
    >>> from skanomaly.training import resolve_device
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        if resolved.type not in _known_devices():
            # Tensors on others may have no values, or make torch import what is not there.
            raise NotImplementedError(f"no network runs on {resolved.type!r} devices here")
        torch.empty(1, device=resolved)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device must be 'auto' or the name of an available torch device such as 'cpu' or "
            f"'cuda:0', got {device!r}: {error}"
        ) from error
    return resolved


def _known_devices() -> set[str]:
    """Kinds of devices that tensors may be made on to see whether they are there."""
    known = {"cpu", "cuda", "mps", "xpu"}
    if hasattr(torch, "accelerator"):  # since torch 2.6
        accelerator = torch.accelerator.current_accelerator()
        known |= {accelerator.type} if accelerator is not None else set()
    return known


def has_fast_bfloat16(device: torch.device) -> bool:
    """Say whether the device computes bfloat16 products in hardware.

    Parameters
    ----------
    device : torch.device

    Returns
    -------
    bool

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import has_fast_bfloat16
    >>> has_fast_bfloat16(torch.device("meta"))
    False
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # Older releases of torch have no public name for this; there float32 is the safe answer.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Turn a precision's name into the dtype of the network's products.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        "auto" is bfloat16 where the hardware has it, and float32 elsewhere.
    device : torch.device

    Returns
    -------
    torch.dtype

    Raises
    ------
    ValueError
        If there is no such precision.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import resolve_precision
    >>> resolve_precision("bfloat16", torch.device("cpu"))
    torch.bfloat16
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {precision!r}.")
    if precision == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Compute products in a dtype of less precision; weights, sums and losses stay in float32.

    Parameters
    ----------
    device : torch.device
    dtype : torch.dtype
        float32 turns mixed precision off.

    Returns
    -------
    context manager

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import autocast
    >>> with autocast(torch.device("cpu"), torch.bfloat16):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    if dtype == torch.float32:
        is_on = torch.is_autocast_enabled(device.type)
        return torch.autocast(device.type, enabled=False) if is_on else nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def to_channels_last(network: nn.Module) -> nn.Module:
    """Store convolution weights channels last, which CPU and GPU kernels read faster.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        The same one.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import to_channels_last
    >>> network = to_channels_last(torch.nn.Conv2d(3, 8, 3))
    >>> network.weight.is_contiguous(memory_format=torch.channels_last)
    True
    """
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
