"""The corruption of images and rows by patches."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from torch import Tensor

from .._arrays import check_unmasked
from ._rows import ROW_TEXTURES, block_masks, replacement_rows
from ._shapes import Range, center_weights, soft_patches, uniform
from ._textures import TEXTURES, replacement_textures

_LIMITS: dict[str, tuple[float, float, Any]] = {
    "n_patches": (1, np.inf, Integral),
    "radius": (0.0, np.inf, Real),
    "elongation": (1.0, np.inf, Real),
    "distortion": (0.0, np.inf, Real),
    "softness": (0.0, 1.0, Real),
    "focus": (0.0, np.inf, Real),
    "opacity": (0.0, 1.0, Real),
}
# Squares of larger values could overflow float32.
_LARGEST = 1e15


class PatchCorruption(BaseEstimator):
    r"""Damage a part of each image by soft patches of foreign content.

    A corrupted image is :math:`\hat x = \tilde M \odot y + (1 - \tilde M) \odot x` with a soft
    mask :math:`\tilde M \in [0, 1]` and a replacement content :math:`y` (SSAE, Bauer, Nakajima
    and Müller, Mathematics 12(24):3988, 2024). Shape, texture and opacity are drawn independently
    for each patch. Ranges are pairs (low, high); a single number is a constant.

    Parameters
    ----------
    n_patches : int or (int, int), default=(1, 5)
        Number of patches per image; uniform.
    radius : float or (float, float), default=(0.01, 0.3)
        Radius of a patch before it is stretched, as a fraction of the image's shorter side;
        log-uniform. For plain rows, half the length of a block as a fraction of the row.
    elongation : float or (float, float), default=(1, 30)
        Ratio of a patch's longer to its shorter axis, at least 1; log-uniform. The area is
        preserved.
    distortion : float or (float, float), default=(0, 1)
        Amplitude of the smooth displacement that bends a patch, in radii; uniform.
    softness : float or (float, float), default=(0.05, 0.8)
        Fraction of the radius over which a patch fades out, from 0 to 1; uniform.
    focus : float or (float, float), default=2
        How much the centre of a patch prefers regions of high local contrast, such as a small part
        on a plain background; uniform. The weight of a pixel is the local contrast over twice its
        mean, but at least 1, to the power of ``focus``. With 0, all pixels are alike. Ignored for
        plain rows.
    texture : str, sequence of str or dict of str to float, default=all but "blur"
        Contents of the patches, drawn at random with equal or, from a dict, relative weights:
        "image", another image or region of the batch, rotated, mirrored, scaled and warped;
        "color", a uniform colour; "noise", smooth noise at several scales; "deformation", the
        image itself, locally warped; "shade", the image brightened or darkened; "blur", the image
        averaged along its rows, its columns or both, not available for plain rows.
    opacity : float or (float, float), default=(0.4, 1)
        From 0, invisible, to 1, full occlusion; uniform.
    texture_images : array-like of shape (n, h, w) or (n, h, w, c), default=None
        Images used as one more texture, with the mean weight of those in ``texture``. They are
        resized and rescaled to the size and value range of the corrupted images. Ignored for
        plain rows.
    random_state : int, RandomState instance or None, default=None
        Seed for calls on arrays. The random numbers are drawn for the batch as a whole, so parts
        of a batch get other patches. A detector uses its own ``random_state`` instead.

    See Also
    --------
    skanomaly.SelfSupervisedAutoencoderDetector : Learns to repair this damage.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.corruption import PatchCorruption
    >>> images = np.random.default_rng(0).random((4, 32, 32))
    >>> corrupted, masks = PatchCorruption(radius=0.2, random_state=0)(images)
    >>> corrupted.shape, masks.shape
    ((4, 32, 32), (4, 32, 32))
    >>> bool((corrupted[masks == 0] == images[masks == 0]).all())
    True
    """

    _doc_link_module = "skanomaly"
    _doc_link_template = (
        "https://skanomaly.readthedocs.io/en/latest/api/generated/"
        "skanomaly.corruption.{estimator_name}.html"
    )

    def __init__(
        self,
        *,
        n_patches: int | tuple[int, int] = (1, 5),
        radius: float | Range = (0.01, 0.3),
        elongation: float | Range = (1.0, 30.0),
        distortion: float | Range = (0.0, 1.0),
        softness: float | Range = (0.05, 0.8),
        focus: float | Range = 2.0,
        texture: str | Sequence[str] | Mapping[str, float] = ROW_TEXTURES,
        opacity: float | Range = (0.4, 1.0),
        texture_images: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_patches = n_patches
        self.radius = radius
        self.elongation = elongation
        self.distortion = distortion
        self.softness = softness
        self.focus = focus
        self.texture = texture
        self.opacity = opacity
        self.texture_images = texture_images
        self.random_state = random_state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Older pickles have no focus.
        super().__setstate__({"focus": 0.0, **state})

    def __call__(self, X: ArrayLike) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Corrupt images or rows.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, n_features)
            Images, channels last, or plain rows; any real dtype.

        Returns
        -------
        corrupted : ndarray of X's shape and dtype
            Equal to X outside the masks, and between X's minimum and maximum inside.
        masks : ndarray of shape (n, h, w) or (n, n_features), float32
            Replaced fraction of each value, from 0 (untouched) to 1.

        Raises
        ------
        ValueError
            If X has another shape, is empty, or holds values that are not finite or above 1e15,
            or if a parameter is out of range.
        """
        check_unmasked(X)
        values = np.asarray(X)
        self.check_parameters(rows=values.ndim == 2)
        if values.ndim not in (2, 3, 4):
            raise ValueError(
                f"X must have shape (n, h, w), (n, h, w, c) or (n, n_features), got an array of "
                f"shape {values.shape} instead."
            )
        if values.dtype.kind not in "buif":
            raise ValueError(f"X must hold real numbers, got dtype {values.dtype} instead.")
        if values.size == 0 or not np.isfinite(values).all():
            raise ValueError("X must hold at least one value, and no NaN or infinity.")
        low, high = values.min(), values.max()
        if max(abs(float(low)), abs(float(high))) > _LARGEST:
            raise ValueError(
                f"X must hold values up to ±{_LARGEST:g}, got values from {low} to {high} instead. "
                "Rescale X."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        batch = torch.from_numpy(np.array(values, dtype=np.float32))
        if values.ndim > 2:
            batch = batch.reshape(*values.shape[:3], -1).permute(0, 3, 1, 2)
        corrupted, masks = self.corrupt(batch, torch.Generator().manual_seed(seed))
        if values.ndim > 2:
            corrupted, masks = corrupted.permute(0, 2, 3, 1), masks.squeeze(1)
        soft = masks.numpy()
        touched = soft[..., None] > 0 if values.ndim == 4 else soft > 0
        new = corrupted.numpy().reshape(values.shape).astype(np.float64)
        if values.dtype.kind in "bui":
            new = np.rint(new)
        # Rounding to float32 must not take values out of the range of X or of its dtype.
        inside = (new > float(low)) & (new < float(high))
        cast = np.where(inside, new, 0.0).astype(values.dtype)
        cast = np.where(inside, cast, np.where(new <= float(low), low, high))
        return np.where(touched, cast, values).astype(values.dtype), soft

    def check_parameters(self, *, rows: bool = False) -> None:
        """Check all parameters, as detectors do before training.

        Parameters
        ----------
        rows : bool, default=False
            Whether to check for plain rows instead of images.

        Raises
        ------
        ValueError
            If a parameter is out of range.

        Examples
        --------
        >>> from skanomaly.corruption import PatchCorruption
        >>> PatchCorruption(radius=-1).check_parameters()
        Traceback (most recent call last):
        ValueError: radius must be a number or a pair (low, high), above 0, got -1 instead.
        """
        for name in _LIMITS:
            self._range(name)
        self._weights(ROW_TEXTURES if rows else TEXTURES)
        textures = self._texture_images()
        if textures is not None and not np.isfinite(textures).all():
            raise ValueError("texture_images must hold no NaN or infinity.")
        check_random_state(self.random_state)

    def corrupt(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Corrupt a batch on its own device, as in training.

        Parameters
        ----------
        images : Tensor of shape (batch, channels, h, w) or (batch, n_features)
            Normal images, channels first, or plain rows, of a floating dtype. All but float32 are
            converted to float32 and back where they are corrupted.
        generator : torch.Generator
            Source of the random numbers, on the device of ``images``.

        Returns
        -------
        corrupted : Tensor of the shape and dtype of ``images``
        masks : Tensor of shape (batch, 1, h, w) or (batch, n_features), float32
            The soft masks, from 0 to 1.
        """
        # bfloat16 has too few digits for pixel coordinates.
        with torch.autocast(images.device.type, enabled=False):
            corrupted, masks = self._corrupt(images.float(), generator)
        if images.dtype != torch.float32:
            corrupted = torch.where(masks > 0, corrupted.to(images.dtype), images)
        return corrupted, masks

    def _corrupt(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        low, high = self._range("n_patches")
        opacity, radius = self._range("opacity"), self._range("radius")
        batch, slots = len(images), int(high)
        device = images.device
        amount = torch.randint(int(low), slots + 1, (batch, 1), generator=generator, device=device)
        # All patches of a batch in one flat list, so that there is no loop over images.
        owner, slot = torch.nonzero(
            torch.arange(slots, device=device).view(1, -1) < amount, as_tuple=True
        )
        count = len(owner)
        alpha = uniform(count, *opacity, generator)

        is_rows = images.ndim == 2
        supplied = None if is_rows else self._draw_texture_images(images, count, generator)
        odds = self._weights(ROW_TEXTURES if is_rows else TEXTURES)
        if supplied is not None:
            odds.append(float(np.mean([weight for weight in odds if weight > 0])))
        probabilities = torch.tensor(odds, device=device, dtype=torch.float32)
        kind = torch.multinomial(probabilities, count, replacement=True, generator=generator)

        if is_rows:
            masks = block_masks(count, images.shape[1], radius=radius, generator=generator)
            weights = masks * alpha.view(-1, 1)
            content = replacement_rows(images, owner, kind, generator=generator)
        else:
            low, high = self._range("focus")
            density = None
            if high > 0:
                # A number needs no draw, so that images of even contrast are corrupted as with 0.
                focus = uniform(count, low, high, generator) if low < high else low
                power = torch.as_tensor(focus, device=device, dtype=torch.float32).view(-1, 1, 1)
                density = center_weights(images)[owner] ** power
            weights, displacement = soft_patches(
                count,
                *images.shape[-2:],
                radius=radius,
                elongation=self._range("elongation"),
                distortion=self._range("distortion"),
                softness=self._range("softness"),
                generator=generator,
                density=density,
            )
            weights = weights * alpha.view(-1, 1, 1, 1)
            content = replacement_textures(
                images, owner, kind, displacement, texture_images=supplied, generator=generator
            )
        return _lay_over(images, owner, slot, slots, weights, content)

    def _range(self, name: str) -> tuple[float, float]:
        """Return a parameter as (low, high), checked."""
        low, high, kind = _LIMITS[name]
        value, is_open = getattr(self, name), name == "radius"
        is_pair = isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim)
        pair = tuple(value) if is_pair else (value, value)
        valid = len(pair) == 2 and all(
            isinstance(v, kind) and not isinstance(v, bool) and low <= v <= high and np.isfinite(v)
            for v in pair
        )
        if not valid or pair[0] > pair[1] or (is_open and pair[0] == low):
            noun = "an integer" if kind is Integral else "a number"
            limits = f"{'above' if is_open else 'at least'} {low:g}"
            limits += "" if np.isinf(high) else f" and at most {high:g}"
            raise ValueError(
                f"{name} must be {noun} or a pair (low, high), {limits}, got {value!r} instead."
            )
        return float(pair[0]), float(pair[1])

    def _weights(self, textures: Sequence[str]) -> list[float]:
        """Return the relative weights of ``textures``, checked."""
        given: Any = {self.texture: 1.0} if isinstance(self.texture, str) else self.texture
        try:
            given = given if isinstance(given, Mapping) else dict.fromkeys(given, 1.0)
            by_name = {name: float(given.get(name, 0.0)) for name in TEXTURES}
        except (TypeError, ValueError) as error:
            raise ValueError(
                "texture must be a name, a sequence of names, or a dict of names and numbers, got "
                f"{self.texture!r} instead."
            ) from error
        if not given or any(name not in TEXTURES for name in given):
            raise ValueError(
                f"texture must be taken from {list(TEXTURES)}, got {list(given)!r} instead."
            )
        numbers = list(by_name.values())
        if min(numbers) < 0 or sum(numbers) == 0 or not np.isfinite(numbers).all():
            raise ValueError(
                "The weights of texture must be finite, at least 0 and not all 0, got "
                f"{self.texture!r} instead."
            )
        weights = [by_name[name] for name in textures]
        if not any(weights):
            raise ValueError(
                f"texture must name one of {list(textures)} for vectors, got {self.texture!r} "
                "instead."
            )
        return weights

    def _texture_images(self) -> NDArray[Any] | None:
        """Return ``texture_images`` as an array, checked."""
        if self.texture_images is None:
            return None
        check_unmasked(self.texture_images, "texture_images")
        textures = np.asarray(self.texture_images)
        if textures.ndim not in (3, 4) or textures.size == 0 or textures.dtype.kind not in "buif":
            raise ValueError(
                "texture_images must be real numbers of shape (n, h, w) or (n, h, w, c) with n > 0,"
                f" got an array of shape {textures.shape} and dtype {textures.dtype} instead."
            )
        return textures

    def _draw_texture_images(
        self, images: Tensor, count: int, generator: torch.Generator
    ) -> Tensor | None:
        """Draw up to ``count`` texture images, with the size, channels and range of ``images``."""
        textures = self._texture_images()
        if textures is None:
            return None
        size = (min(count, len(textures)),)
        chosen = torch.randint(len(textures), size, generator=generator, device=generator.device)
        low, high = float(textures.min()), float(textures.max())
        scaled = (textures[chosen.cpu().numpy()].astype(np.float32) - low) / max(high - low, 1e-12)
        tensor = torch.from_numpy(scaled).to(images.device)
        tensor = tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
        if tensor.shape[1] != images.shape[1]:
            tensor = tensor.mean(1, keepdim=True).expand(-1, images.shape[1], -1, -1)
        tensor = torch.nn.functional.interpolate(
            tensor, size=images.shape[-2:], mode="bilinear", antialias=True
        )
        floor = images.amin(dim=(0, 2, 3), keepdim=True)
        return floor + tensor * (images.amax(dim=(0, 2, 3), keepdim=True) - floor)


def _lay_over(
    images: Tensor, owner: Tensor, slot: Tensor, slots: int, weights: Tensor, content: Tensor
) -> tuple[Tensor, Tensor]:
    """Blend the patches into their images, later ones on top."""
    corrupted = images.clone()
    remaining = weights.new_ones(len(images), *weights.shape[1:])
    for layer in range(slots):
        (patches,) = torch.nonzero(slot == layer, as_tuple=True)
        below = owner[patches]
        if len(below) == len(images):
            # In the lowest layers every image has a patch, in order: no indexing is needed.
            corrupted.lerp_(content[patches], weights[patches])
            remaining.mul_(1.0 - weights[patches])
        else:
            corrupted[below] = torch.lerp(corrupted[below], content[patches], weights[patches])
            remaining[below] = remaining[below] * (1.0 - weights[patches])
    return corrupted, 1.0 - remaining
