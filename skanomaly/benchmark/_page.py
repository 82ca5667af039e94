"""The HTML page of a run: its test images with scores, maps and true masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from ..inspection._html_report import find_threshold, html_report, names_within_folder

# Where a detector has no threshold of its own, of the maps of good test images.
_QUANTILE = 0.99


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    detector: Any,
    data: Bunch,
    scores: NDArray[np.float64],
    decisions: NDArray[np.float64] | None,
    maps: NDArray[np.float64] | None,
) -> None:
    """Write the page of a detector on the test images of a dataset.

    Parameters
    ----------
    path : Path
        In a folder that is made.
    title : str
    facts : mapping of str to str
        What stands below the title.
    detector : estimator
        Fitted.
    data : Bunch
        With X_test, kinds_test and masks_test.
    scores, decisions : ndarray of shape (n,)
    maps : ndarray of shape (n, h, w) or None
    """
    images = data.X_test
    kinds = np.asarray(data.kinds_test)
    if hasattr(images, "paths"):
        names = names_within_folder(images.paths)
    else:
        names = [f"{kind} {index}" for index, kind in enumerate(kinds)]
    map_threshold = getattr(detector, "map_threshold_", None)
    if map_threshold is None and maps is not None and (kinds == "good").any():
        map_threshold = float(np.quantile(maps[kinds == "good"], _QUANTILE))
        source = f"{_QUANTILE:.0%} quantile of the good test images"
        facts = {**facts, "threshold of maps": source}
    path.parent.mkdir(parents=True, exist_ok=True)
    with html_report(
        path,
        title=title,
        facts=facts,
        threshold=find_threshold(detector),
        map_threshold=map_threshold,
    ) as add:
        for index, name in enumerate(names):
            add(
                name,
                images[index],
                None if maps is None else maps[index],
                score=float(scores[index]),
                decision=None if decisions is None else float(decisions[index]),
                kind=str(kinds[index]),
                mask=None if data.masks_test is None else data.masks_test[index],
            )
