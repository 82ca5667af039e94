"""Networks applied to images that are larger than those they were trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# What a window counts at least in the memory of a pass, in pixels.
_LEAST_PIXELS = 16**2


def apply_in_windows(network: nn.Module, images: Tensor, window: tuple[int, int] | None) -> Tensor:
    """Apply a network to overlapping windows of images, and put the results together.

    In the middle of a large image, a network reads pixels where the border of the smaller images
    that it was trained on was padded by zeros, and reconstructs badly. Windows of the size of those
    images overlap by half, and each pixel is taken from the window whose centre is nearest (the
    overlap-tile strategy of U-Net, Ronneberger et al., arXiv 1505.04597, with windows inside the
    image).

    Parameters
    ----------
    network : torch.nn.Module
        Maps (b, c, h, w) to the same shape.
    images : Tensor of shape (b, c, h, w)
    window : (int, int) or None
        Height and width of the windows, in pixels. Larger sides are cut off at those of the images.
        None applies the network to whole images.

    Returns
    -------
    Tensor of shape (b, c, h, w)

    Examples
    --------
    >>> import torch
    >>> from skanomaly.networks import apply_in_windows
    >>> images = torch.rand(2, 1, 50, 30)
    >>> apply_in_windows(torch.nn.Identity(), images, (16, 32)).equal(images)
    True
    """
    size = tuple(images.shape[2:])
    # An exported graph for images of any size cannot branch on the size.
    fixed = all(isinstance(side, int) for side in size)
    if window is None or (fixed and all(w >= s for w, s in zip(window, size, strict=True))):
        return network(images)
    batch, channels = images.shape[:2]
    (height, n_rows, rows, kept_rows), (width, n_columns, columns, kept_columns) = (
        _cut(length, side, images.device) for length, side in zip(size, window, strict=True)
    )
    windows = images.index_select(2, rows).index_select(3, columns)
    windows = windows.reshape(batch, channels, n_rows, height, n_columns, width)
    windows = windows.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, height, width)
    if not torch.compiler.is_compiling():
        # About as many pixels in a pass as the images have; networks pad small windows.
        at_once = max(1, images[:, 0].numel() // max(height * width, _LEAST_PIXELS))
        results = torch.cat([network(part) for part in windows.split(at_once)])
    else:
        results = network(windows)
    results = results.reshape(batch, n_rows, n_columns, channels, height, width)
    results = results.permute(0, 3, 1, 4, 2, 5)
    results = results.reshape(batch, channels, n_rows * height, n_columns * width)
    return results.index_select(2, kept_rows).index_select(3, kept_columns)


def window_step(side: int) -> int:
    """Return the distance between the starts of windows.

    Parameters
    ----------
    side : int
        Side of the windows along an axis, in pixels.

    Returns
    -------
    int
        In pixels.

    Examples
    --------
    >>> from skanomaly.networks import window_step
    >>> window_step(64)
    32
    """
    return max(1, side // 2)


def _cut(length: Any, side: int, device: torch.device) -> tuple[Any, Any, Tensor, Tensor]:
    """Cut one axis into windows; those at the end of the image overlap more.

    Returns
    -------
    side, count : int
        Of the windows.
    read : Tensor of shape (count * side,), int64
        Pixels of the image in all windows, one window after another.
    kept : Tensor of shape (length,), int64
        Where in ``read`` each pixel is in the window with the nearest centre.
    """
    step = window_step(side)
    side = torch.sym_min(side, length)
    count = (length - side + step - 1) // step + 1
    starts = (step * torch.arange(count, device=device)).clamp(max=length - side)
    read = (starts.unsqueeze(1) + torch.arange(side, device=device)).flatten()
    pixels = torch.arange(length, device=device)
    # Twice the distances to the centres, which are between pixels.
    distances = (2 * pixels.unsqueeze(1) - (2 * starts + side - 1)).abs()
    nearest = distances.argmin(1)
    return side, count, read, nearest * side + pixels - starts[nearest]
