"""A self-contained HTML page of scored images, written image by image."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import __version__
from .._arrays import open_container
from .._estimators import detect, find_attribute, find_method, find_threshold
from .._files import atomic_write, check_output_file
from ._images import check_channels
from ._overlay import _COLORS, overlay_anomaly_map, resize_map, to_rgb

# Longer side in pixels of images in the page: 40 kB for an image with its map and overlay.
_IMAGE_SIDE = 256
_MAP_SIDE = 128
_LEVELS = 64
# The colour scale of maps ends at this multiple of the threshold, and begins at the inverse.
_SATURATION = 8.0
_INFERNO = np.vstack([[(0, 0, 4), (22, 11, 57)], _COLORS])
_BATCH_PIXELS = 2**20
_METHODS = ("score_samples", "decision_function", "anomaly_map")

# Adds a row: name, image and map, and the keywords score, decision, kind, mask and error.
AddImage = Callable[..., None]


def write_html_report(
    detector: Any,
    X: Any,
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    masks: Sequence[ArrayLike] | None = None,
    title: str = "Anomaly report",
) -> None:
    """Score images and write an HTML page with scores, decisions and anomaly maps.

    The page is self-contained and loads nothing. It has a table to sort by score and to filter by
    kind of defect, decision and name, and a histogram with the threshold. A click on an image shows
    its anomaly map and the region above the threshold. Images are scored and written batch by
    batch, shrunk to 256 pixels on the longer side and compressed as JPEG.

    Parameters
    ----------
    detector : estimator
        Fitted, with `score_samples`. Maps are shown if it has `anomaly_map` and `map_threshold_`,
        decisions if it has `decision_function`.
    X : array-like of shape (n, h, w) or (n, h, w, c), or ImageSequence
        Grey or RGB images, as for the detector.
    path : str or path-like
        File to write. An existing file is replaced when the page is complete.
    names : sequence of n str, default=None
        Names of the images. None means the paths in an `ImageSequence`, relative to their common
        folder, or else numbers.
    kinds : sequence of n str, default=None
        Kind of defect of each image, or "good", as in ``kinds_test`` of
        `skanomaly.datasets.load_mvtec_ad`.
    masks : sequence of n array-like of shape (h, w), default=None
        True where an image is defective; shown beside the map.
    title : str, default="Anomaly report"
        Title of the page.

    Raises
    ------
    ValueError
        If X does not hold images, the detector has no scores, or `names`, `kinds` or `masks` has
        another length.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skanomaly import SelfSupervisedAutoencoderDetector
    >>> from skanomaly.datasets import make_bar_images
    >>> from skanomaly.inspection import write_html_report
    >>> data = make_bar_images(n_train=20, n_test=6, image_size=16, random_state=0)
    >>> detector = SelfSupervisedAutoencoderDetector(max_iter=2, random_state=0)
    >>> detector = detector.fit(data.X_train)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = Path(folder) / "report.html"
    ...     write_html_report(detector, data.X_test, page, kinds=data.kinds_test)
    ...     page.read_text(encoding="utf-8").count("<bdi>") == len(data.X_test)
    True
    """
    paths = getattr(X, "paths", None)
    images = np.asarray(open_container(X)) if paths is None else X
    if images.ndim not in (3, 4):
        raise ValueError(
            f"X must be images of shape (n, h, w) or (n, h, w, c). Got {images.shape} instead."
        )
    check_channels(images.shape[3] if images.ndim == 4 else 1)
    count = len(images)
    if find_method(detector, "score_samples") is None:
        raise ValueError(
            f"'detector' must have score_samples, got {type(detector).__name__} instead."
        )
    names, kinds, masks = map(_by_position, (names, kinds, masks))
    for label, values in (("names", names), ("kinds", kinds), ("masks", masks)):
        if values is not None and len(values) != count:
            raise ValueError(
                f"'{label}' must have one value for each of the {count} images. Got {len(values)} "
                "values instead."
            )
    if names is None:
        names = names_within_folder(paths) if paths else [str(index) for index in range(count)]
    map_threshold = find_attribute(detector, "map_threshold_")
    methods = _METHODS if map_threshold is not None else _METHODS[:2]
    size = max(1, _BATCH_PIXELS // (images.shape[1] * images.shape[2]))
    check_output_file(Path(path), "path")
    with html_report(
        Path(path),
        title=title,
        facts={"detector": " ".join(repr(detector).split())},
        threshold=find_threshold(detector),
        map_threshold=map_threshold,
    ) as add:
        for start in range(0, count, size):
            part = slice(start, start + size)
            batch = np.asarray(images[part])
            found = detect(detector, batch, *methods)
            truth = (None if values is None else values[part] for values in (kinds, masks))
            add_images(add, names[part], batch, *(found.get(name) for name in _METHODS), *truth)


@contextmanager
def html_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    threshold: float | None,
    map_threshold: float | None,
    kind_label: str = "defect kind",
) -> Iterator[AddImage]:
    """Open a page for writing; the file exists once all images are added.

    Parameters
    ----------
    path : Path
    title : str
    facts : mapping of str to str
        Shown below the title.
    threshold, map_threshold : float or None
        Thresholds of scores and of maps. Without the latter, maps are not shown.
    kind_label : str
        Heading of the column of kinds.

    Yields
    ------
    add : callable
        Adds an image with its map and results. Nothing is kept in memory.
    """
    head, tail = _page(title, facts, threshold, map_threshold, kind_label)

    def add(
        name: str,
        image: ArrayLike,
        anomaly_map: ArrayLike | None = None,
        *,
        score: float | None,
        decision: float | None,
        kind: str = "",
        mask: ArrayLike | None = None,
        error: str = "",
    ) -> None:
        pixels = _shrink(to_rgb(np.asarray(image)))
        layers = {}
        if anomaly_map is not None and map_threshold is not None:
            values = np.nan_to_num(np.asarray(anomaly_map, dtype=np.float64))
            # The threshold is 0 for maps of perfectly learned images.
            limit = max(map_threshold, float(np.finfo(np.float32).tiny))
            if (values > limit).any():
                overlay = overlay_anomaly_map(pixels, values, limit, saturation=_SATURATION)
                layers["where the map exceeds the threshold"] = _data(overlay, "JPEG")
            layers["anomaly map"] = _map_png(values, limit)
        if mask is not None:
            mask_pixels = np.asarray(mask, dtype=bool).astype(np.uint8) * 255
            mask_pixels = resize_map(mask_pixels, _fit_within(mask_pixels.shape, _IMAGE_SIDE))
            layers["true mask"] = _data(mask_pixels, "PNG")
        file.write(_row(name, kind, score, decision, error, _data(pixels, "JPEG"), layers))

    with (
        atomic_write(path) as aside,
        # Bytes of a file name that are not valid text are written as \udcff.
        aside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        file.write(head)
        yield add
        file.write(tail)


def add_images(add: AddImage, names: Sequence[str], images: Any, scores: Any, *others: Any) -> None:
    """Add images with their scores, and with decisions, maps, kinds and masks or None."""
    for index, name in enumerate(names):
        decision, anomaly_map, kind, mask = (
            None if values is None else values[index] for values in others
        )
        known = {"score": scores[index], "decision": decision, "mask": mask}
        add(str(name), images[index], anomaly_map, kind="" if kind is None else str(kind), **known)


def _by_position(values: Any) -> Any:
    """Make a list of a pandas Series, whose index may have another order, and the like."""
    return values if values is None or isinstance(values, np.ndarray) else list(values)


def names_within_folder(paths: Sequence[Path]) -> list[str]:
    """Return paths relative to the common folder."""
    full = [Path(os.path.abspath(path)) for path in paths]
    folder = os.path.commonpath([path.parent for path in full])
    return [path.relative_to(folder).as_posix() for path in full]


def _page(
    title: str,
    facts: Mapping[str, str],
    threshold: float | None,
    map_threshold: float | None,
    kind_label: str,
) -> tuple[str, str]:
    """Return the parts of the page before and after the rows."""
    folder = resources.files(__package__)
    template = folder.joinpath("_html_report.html").read_text(encoding="utf-8")
    script = folder.joinpath("_html_report.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    note = ""
    if map_threshold is not None:
        note = (
            f"Anomaly maps share one logarithmic scale, from black at 1/{_SATURATION:.0f} of the "
            f"map threshold, which is {map_threshold:.3g}, to pale yellow at {_SATURATION:.0f} "
            "times the threshold. Outlines surround values above the threshold."
        )
    values = {
        "title": _escape(title),
        "facts": "".join(
            f"<dt>{_escape(name)}</dt><dd>{_escape(fact)}</dd>" for name, fact in facts.items()
        ),
        "kind_title": _escape(kind_label.capitalize()),
        "threshold": _number(threshold),
        "map_note": note,
        "footer": f"Written by skanomaly {_escape(__version__)}. Images are shown at up to "
        f"{_IMAGE_SIDE} pixels, maps at up to {_MAP_SIDE}.",
        "script": script,
        # The browser runs no other script, even if a file name contains one.
        "script_hash": base64.b64encode(digest).decode(),
    }
    filled = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)
    head, _, tail = filled.partition("<!-- rows -->\n")
    return head, tail


def _row(
    name: str,
    kind: str,
    score: float | None,
    decision: float | None,
    error: str,
    image: str,
    layers: Mapping[str, str],
) -> str:
    verdict = "" if decision is None else "normal" if decision >= 0 else "anomalous"
    verdict = "unreadable" if error else verdict
    reason = f" <small>{_escape(error)}</small>" if error else ""
    shown = _number(score) and f"{score:.4g}"
    # Browsers decode images in a template only when it is used.
    stored = "".join(f'<img alt="{label}" src="{data}">' for label, data in layers.items())
    return (
        f'<tr data-score="{_number(score)}" data-decision="{verdict}">'
        f'<td><button type="button" class="open" aria-label="open {_escape(name)}">'
        f'<img alt="" loading="lazy" src="{image}"></button><template>{stored}</template></td>'
        f'<td><bdi>{_escape(name)}</bdi>{reason}</td><td class="kind">{_escape(kind)}</td>'
        f'<td class="number">{shown}</td><td>{verdict}</td></tr>\n'
    )


def _escape(text: str) -> str:
    # Browsers read a carriage return as a line feed.
    return html.escape(text).replace("\r", "&#13;")


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else repr(float(value))


def _fit_within(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of (h, w[, 3]) shrunk to at most ``side`` on the longer side."""
    height, width = shape[:2]
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink an image (h, w, 3) for the page."""
    from PIL import Image

    height, width = _fit_within(pixels.shape, _IMAGE_SIDE)
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _map_png(values: NDArray[np.float64], threshold: float) -> str:
    """Encode a map on a logarithmic scale around the threshold, as a PNG with a palette."""
    multiples = np.maximum(resize_map(values, _fit_within(values.shape, _MAP_SIDE)), 0) / threshold
    with np.errstate(divide="ignore"):
        fraction = 0.5 + 0.5 * np.log(multiples) / math.log(_SATURATION)
    indices = np.rint(np.clip(fraction, 0, 1) * (_LEVELS - 1)).astype(np.uint8)
    stops = np.linspace(0, 1, len(_INFERNO))
    levels = np.linspace(0, 1, _LEVELS)
    palette = np.column_stack([np.interp(levels, stops, channel) for channel in _INFERNO.T])
    return _data(indices, "PNG", np.rint(palette).astype(np.uint8).tobytes())


def _data(pixels: NDArray[np.uint8], kind: str, palette: bytes | None = None) -> str:
    from PIL import Image

    image = Image.fromarray(pixels)
    options: dict[str, Any] = {}
    if palette is not None:
        image.putpalette(palette)
        options = {"optimize": True}
    elif kind == "JPEG":
        # Full colour resolution: outlines are one pixel wide.
        options = {"quality": 85, "subsampling": 0}
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
