"""One HTML page of scored images, written image by image, that needs nothing but a browser."""

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
from .._estimators import detect, find_attribute
from .._files import atomic_write, check_output_file
from ._overlay import _COLORS, overlay_anomaly_map, to_rgb

# Longer side in pixels of what the page holds: 40 kB for an image with its map and overlay.
_IMAGE_SIDE = 256
_MAP_SIDE = 128
_LEVELS = 64
# The colours of a map end at this multiple of the threshold, and begin at the inverse.
_SATURATION = 8.0
_INFERNO = np.vstack([[(0, 0, 4), (22, 11, 57)], _COLORS])
_BATCH_PIXELS = 2**20


# Adds a line to the table: name, image and map, and by name score, decision, kind and mask.
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
    """Score images and write one HTML page that shows scores, decisions and anomaly maps.

    The page holds all that it shows and loads nothing: a table that can be sorted by score and
    filtered by kind of defect, decision and name, a histogram with the threshold, and for each
    image on a click the anomaly map and where it exceeds the detector's threshold. Images are
    scored and written batch by batch, shrunk to 256 pixels on the longer side and compressed as
    JPEG.

    Parameters
    ----------
    detector : estimator
        Fitted, with `score_samples`. Without `anomaly_map` and `map_threshold_` no maps are
        shown, without `decision_function` no decisions.
    X : array-like of shape (n, h, w) or (n, h, w, c), or ImageSequence
        The images, as the detector takes them, grey or RGB.
    path : str or path-like
        File to write, overwritten if it exists, once all is done.
    names : sequence of n str, default=None
        What the table calls the images. None takes the file names of an `ImageSequence`, within the
        folder that all are in, or else numbers.
    kinds : sequence of n str, default=None
        Kind of defect of each, "good" where there is none; as ``kinds_test`` of
        `skanomaly.datasets.load_mvtec_ad`.
    masks : sequence of n array-like of shape (h, w), default=None
        True where an image is defective, to be shown beside the map.
    title : str, default="Anomaly report"
        Headline of the page.

    Raises
    ------
    ValueError
        If X is not made of images, or `names`, `kinds` or `masks` are of another length.

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
    images = np.asarray(X) if paths is None else X
    if images.ndim not in (3, 4):
        raise ValueError(
            f"X must be images of shape (n, h, w) or (n, h, w, c). Got shape {images.shape}."
        )
    count = len(images)
    for label, values in (("names", names), ("kinds", kinds), ("masks", masks)):
        if values is not None and len(values) != count:
            raise ValueError(
                f"'{label}' must have one value for each of the {count} images. Got {len(values)}."
            )
    if names is None:
        names = names_within_folder(paths) if paths else [str(index) for index in range(count)]
    map_threshold = find_attribute(detector, "map_threshold_")
    methods = ["score_samples", "decision_function"]
    if map_threshold is not None:
        methods.append("anomaly_map")
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
            batch = np.asarray(images[start : start + size])
            found = detect(detector, batch, *methods)
            for offset, image in enumerate(batch):
                index = start + offset
                result = {name: found[name][offset] for name in found}
                add(
                    names[index],
                    image,
                    result.get("anomaly_map"),
                    score=result["score_samples"],
                    decision=result.get("decision_function"),
                    kind="" if kinds is None else str(kinds[index]),
                    mask=None if masks is None else masks[index],
                )


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
    """Open a page that images are added to, and which is there once all are.

    Parameters
    ----------
    path : Path
    title : str
    facts : mapping of str to str
        What stands below the title.
    threshold, map_threshold : float or None
        Of scores and of maps. Without the latter, maps are not shown.
    kind_label : str
        What the table calls the kind of an image.

    Yields
    ------
    add : callable
        Adds an image, its map, and what is known of it. Nothing is kept in memory.
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
    ) -> None:
        pixels = _shrink(to_rgb(np.asarray(image)), _IMAGE_SIDE)
        layers = {}
        if anomaly_map is not None and map_threshold is not None:
            values = np.nan_to_num(np.asarray(anomaly_map, dtype=np.float64))
            # Maps of what is learned perfectly can have a threshold of 0.
            limit = max(map_threshold, float(np.finfo(np.float32).tiny))
            if (values > limit).any():
                overlay = overlay_anomaly_map(pixels, values, limit, saturation=_SATURATION)
                layers["where the map exceeds the threshold"] = _jpeg(overlay)
            layers["anomaly map"] = _map_png(values, limit)
        if mask is not None:
            layers["true mask"] = _mask_png(np.asarray(mask, dtype=bool))
        file.write(_row(name, kind, score, decision, _jpeg(pixels), layers))

    with (
        atomic_write(path) as aside,
        # What of a file name is no valid text is written as \udcff.
        aside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        file.write(head)
        yield add
        file.write(tail)


def find_threshold(detector: Any) -> float | None:
    """Return the threshold of a detector's scores, if it has one."""
    offset = find_attribute(detector, "offset_")
    # That of a OneClassSVM is an array of one.
    return None if offset is None else float(np.ravel(offset)[0])


def names_within_folder(paths: Sequence[Path]) -> list[str]:
    """Name files by their paths within the folder that all of them are in."""
    folder = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(folder).as_posix() for path in paths]


def _page(
    title: str,
    facts: Mapping[str, str],
    threshold: float | None,
    map_threshold: float | None,
    kind_label: str,
) -> tuple[str, str]:
    """Fill in all but the rows: what comes before them, and what after."""
    folder = resources.files(__package__)
    template = folder.joinpath("_html_report.html").read_text(encoding="utf-8")
    script = folder.joinpath("_html_report.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    note = ""
    if map_threshold is not None:
        note = (
            f"Anomaly maps share one logarithmic scale, from 1/{_SATURATION:.0f} of the map's "
            f"threshold, {map_threshold:.3g}, in black to {_SATURATION:.0f} times that in pale "
            "yellow. Outlined is what exceeds the threshold."
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
        # The browser runs this script and no other, whatever a file is called.
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
    image: str,
    layers: Mapping[str, str],
) -> str:
    verdict = "" if decision is None else "normal" if decision >= 0 else "anomalous"
    shown = _number(score) and f"{score:.4g}"
    # A browser decodes what stands in a template once it is opened.
    stored = "".join(f'<img alt="{label}" src="{data}">' for label, data in layers.items())
    return (
        f'<tr data-score="{_number(score)}" data-decision="{verdict}">'
        f'<td><button type="button" class="open" aria-label="open {_escape(name)}">'
        f'<img alt="" loading="lazy" src="{image}"></button><template>{stored}</template></td>'
        f'<td><bdi>{_escape(name)}</bdi></td><td class="kind">{_escape(kind)}</td>'
        f'<td class="number">{shown}</td><td>{verdict}</td></tr>\n'
    )


def _escape(text: str) -> str:
    # A browser reads a carriage return as a line feed.
    return html.escape(text).replace("\r", "&#13;")


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else repr(float(value))


def _shrink(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """Shrink uint8 or float32 (h, w[, 3]) to at most ``side`` on the longer side."""
    from PIL import Image

    height, width = pixels.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def _map_png(values: NDArray[np.float64], threshold: float) -> str:
    """Draw a map on a logarithmic scale around the threshold, as a PNG of few colours."""
    from PIL import Image

    small = np.maximum(_shrink(values.astype(np.float32), _MAP_SIDE), 0)
    multiples = small.astype(np.float64) / threshold
    with np.errstate(divide="ignore"):
        fraction = 0.5 + 0.5 * np.log(multiples) / math.log(_SATURATION)
    small_map = Image.fromarray(np.rint(np.clip(fraction, 0, 1) * (_LEVELS - 1)).astype(np.uint8))
    stops = np.linspace(0, 1, len(_INFERNO))
    levels = np.linspace(0, 1, _LEVELS)
    palette = np.column_stack([np.interp(levels, stops, channel) for channel in _INFERNO.T])
    small_map.putpalette(np.rint(palette).astype(np.uint8).tobytes())
    return _data(small_map, "PNG", optimize=True)


def _mask_png(mask: NDArray[np.bool_]) -> str:
    from PIL import Image

    return _data(Image.fromarray(_shrink(mask.astype(np.uint8) * 255, _IMAGE_SIDE)), "PNG")


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    # Colours at full resolution: outlines are a pixel wide.
    return _data(Image.fromarray(pixels), "JPEG", quality=85, subsampling=0)


def _data(image: Any, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
