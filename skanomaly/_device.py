"""Device, precision, memory and state of torch in which computations run."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")

PRECISIONS = ("auto", "float32", "bfloat16")
_MEMINFO = Path("/proc/meminfo")
# Smaller allocations are not checked.
_LITTLE = 2**26
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def resolve_device(device: str | torch.device) -> torch.device:
    """Return an available device by name.

    Parameters
    ----------
    device : str or torch.device
        "auto" is the current CUDA device, else the CPU. Other names are those of torch.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If the name is unknown to torch, or the device is not available.

    Examples
    --------
    >>> from skanomaly.training import resolve_device
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        if resolved.type not in _known_devices():
            # Such tensors may have no values, or make torch import a missing package.
            raise NotImplementedError(f"no network runs on {resolved.type!r} devices here")
        torch.empty(1, device=resolved)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device must be 'auto' or the name of an available torch device such as 'cpu' or "
            f"'cuda:0', got {device!r} instead: {str(error).partition(chr(10))[0]}"
        ) from error
    return resolved


def _known_devices() -> set[str]:
    """Return the types of devices that are safe to try."""
    known = {"cpu", "cuda", "mps", "xpu"}
    if hasattr(torch, "accelerator"):  # since torch 2.6
        accelerator = torch.accelerator.current_accelerator()
        known |= {accelerator.type} if accelerator is not None else set()
    return known


def has_fast_bfloat16(device: torch.device) -> bool:
    """Tell whether the device computes bfloat16 products in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # Older releases of torch have no public name for this.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of the network's products by name.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        "auto" is bfloat16 if the hardware supports it, else float32.
    device : torch.device

    Returns
    -------
    torch.dtype

    Raises
    ------
    ValueError
        If ``precision`` is unknown.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import resolve_precision
    >>> resolve_precision("bfloat16", torch.device("cpu"))
    torch.bfloat16
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {precision!r} instead.")
    is_fast = precision == "auto" and has_fast_bfloat16(device)
    return torch.bfloat16 if is_fast or precision == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Compute products in a dtype of lower precision; weights and losses stay in float32.

    Parameters
    ----------
    device : torch.device
    dtype : torch.dtype
        float32 disables mixed precision.

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
    """Store convolution weights channels last, which is faster on CPU and GPU.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        The same network.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.training import to_channels_last
    >>> network = to_channels_last(torch.nn.Conv2d(3, 8, 3))
    >>> network.weight.is_contiguous(memory_format=torch.channels_last)
    True
    """
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@contextmanager
def usual_torch_state() -> Iterator[None]:
    """Compute on the CPU by default, with gradients and without mixed precision.

    Only the state of this thread is set.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            # Slows every call of torch down a little.
            stack.enter_context(torch.device("cpu"))
        yield


def in_usual_torch_state(batches: Iterator[T]) -> Iterator[T]:
    """Compute each batch in `usual_torch_state`, and yield it in the state of the caller."""
    while True:
        with usual_torch_state():
            try:
                batch = next(batches)
            except StopIteration:
                return
        yield batch


def available_memory() -> float:
    """Return the available memory in bytes, infinite on systems other than Linux.

    It includes swap and respects the limit of a container.
    """
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free = sum(1024.0 * int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):
        return math.inf
    for path in _LIMITS:
        try:
            free = min(free, float(path.read_text()))
        except (OSError, ValueError):  # no container, or no limit
            continue
    return free


def require_memory(n_bytes: float, what: str, remedy: str) -> None:
    """Raise a MemoryError if more memory is required than is available.

    Parameters
    ----------
    n_bytes : float
    what : str
        Name of the result, in the plural.
    remedy : str
        Advice, as a sentence.
    """
    if n_bytes < _LITTLE:
        return
    free = available_memory()
    if n_bytes > free:
        raise MemoryError(
            f"Not enough memory: {what} take {n_bytes / 2**30:.3g} GiB, and {free / 2**30:.3g} GiB "
            f"are free. {remedy}"
        )


def training_memory(network: nn.Module, shape: tuple[int, ...], *, itemsize: int) -> float:
    """Compute the memory that a network keeps of a batch for the backward pass, without running it.

    Parameters
    ----------
    network : torch.nn.Module
    shape : tuple of int
        Shape of the batch.
    itemsize : int
        Bytes per value.

    Returns
    -------
    float
        Bytes, without temporary tensors. 0 if the network does not run on the meta device.
    """
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        # By storage, since views share their values.
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    try:
        shadow = copy.deepcopy(network).to("meta").train()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            shadow(torch.empty(shape, device="meta", dtype=torch.float32))
    except Exception:  # Custom networks may do anything.
        return 0.0
    values = sum(t.untyped_storage().nbytes() // t.element_size() for t in kept.values())
    return float(itemsize * values)
