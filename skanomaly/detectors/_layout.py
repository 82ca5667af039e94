"""Which axis of X is which: what is improbable, and what contradicts the fitted shape."""

from __future__ import annotations

import warnings

Shape = tuple[int, ...]

# Numbers of channels that images usually have.
_USUAL = (1, 3, 4)


def check_layout(shape: Shape, fitted: Shape | None, name: str, *, is_tensor: bool) -> None:
    """Refuse images whose axes are not in order, and warn if they seem not to be.

    Parameters
    ----------
    shape : (n, h, w) or (n, h, w, c)
        Of X.
    fitted : (h, w, c) or None
        What the detector was fitted on, with as many channels.
    name : str
        Of the detector.
    is_tensor : bool
        Whether X is a torch tensor, for the remedy.

    Raises
    ------
    ValueError
        If channels seem to come first: 1, 3 or 4 rows, and more than 4 channels, which a detector
        was not fitted on. If X is one image, (h, w, c), of the size that was fitted.

    Warns
    -----
    UserWarning
        If X seems to be one image with 3 or 4 channels, and not many of that width.
    """
    if fitted is None and len(shape) == 4 and shape[1] in _USUAL and shape[3] > max(_USUAL):
        raise ValueError(
            f"X must hold images with channels last, (n, h, w, c), got shape {shape}, in which "
            f"they seem to come first. Pass {_channels_last(is_tensor)}. If the images do have "
            f"{shape[1]} row(s) and {shape[3]} channels, image_shape={shape[1:]} says so."
        )
    if len(shape) != 3 or shape[2] not in _USUAL or (fitted and shape[2] == fitted[1]):
        return
    if fitted and shape[:2] == fitted[:2]:
        remedy = "A single image is X[None]."
        if shape[2] != fitted[2]:
            remedy = "Bring it to one channel, and pass X[None]."
        raise ValueError(
            f"X must hold images of shape (n, h, w), got shape {shape}: one image of the size that "
            f"{name} was fitted on, with {shape[2]} channel(s). {remedy}"
        )
    if shape[2] > 1 and shape[1] > max(_USUAL):
        warnings.warn(
            f"X of shape {shape} is read as {shape[0]} grey image(s) of {shape[1]} x {shape[2]} "
            f"pixels. If it is one image with {shape[2]} channels, pass X[None]. If not, "
            f"image_shape={shape[1:]} says so.",
            UserWarning,
            stacklevel=5,
        )


def find_remedy(shape: Shape, wanted: Shape, *, is_tensor: bool) -> str:
    """Say how X of this shape becomes images (h, w, c), if it seems to be them."""
    channels = wanted[2] if len(wanted) == 3 else 0
    if len(shape) == 3 and shape[2] == channels:
        return " A single image is X[None]."
    if len(shape) == 3 and shape[0] == channels:
        turned = "X.permute(1, 2, 0)" if is_tensor else "np.moveaxis(X, 0, -1)"
        return f" A single image with channels first is {turned}[None]."
    if len(shape) == 4 and shape[1] == channels:
        return f" Channels come last: pass {_channels_last(is_tensor)}."
    return ""


def _channels_last(is_tensor: bool) -> str:
    return "X.permute(0, 2, 3, 1)" if is_tensor else "np.moveaxis(X, 1, -1)"
