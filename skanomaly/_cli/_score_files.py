"""The files that ``skanomaly score`` writes for each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from .._files import atomic_write
from ..inspection import overlay_anomaly_map

WriteFiles = Callable[[int, NDArray[Any], NDArray[np.float64]], None]


def file_writer(
    folder: Path, suffixes: Mapping[str, str], names: Sequence[str], threshold: float
) -> WriteFiles:
    """Make what writes the files of an image, by its index.

    Parameters
    ----------
    folder : Path
    suffixes : mapping of str to str
        Of the files in the subfolders "overlays", "maps" and "masks" that are wanted.
    names : sequence of str
        Of all images.
    threshold : float
        That of the maps.
    """
    targets = {kind: _name_files(names, folder / kind, suffix) for kind, suffix in suffixes.items()}

    def write(index: int, image: NDArray[Any], anomaly_map: NDArray[np.float64]) -> None:
        from PIL import Image

        if anomaly_map.shape != image.shape[:2]:
            anomaly_map = resize(
                anomaly_map, image.shape[:2], order=1, mode="edge", anti_aliasing=False
            )
        for kind, paths in targets.items():
            paths[index].parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(paths[index]) as aside, aside.open("wb") as file:
                if kind == "overlays":
                    overlay = overlay_anomaly_map(image, anomaly_map, threshold)
                    Image.fromarray(overlay).save(file, format="PNG")
                elif kind == "masks":
                    mask = (anomaly_map > threshold).astype(np.uint8) * 255
                    Image.fromarray(mask).save(file, format="PNG")
                elif suffixes[kind] == ".npy":
                    np.save(file, anomaly_map.astype(np.float32))
                else:
                    Image.fromarray(anomaly_map.astype(np.float32)).save(file, format="TIFF")

    return write


def _name_files(names: Sequence[str], folder: Path, suffix: str) -> list[Path]:
    """Name files as their images; a.jpg beside a.png makes all keep their suffixes, too."""
    files = [folder / Path(name).with_suffix(suffix) for name in names]
    if len({str(path).casefold() for path in files}) == len(names):
        return files
    return [folder / f"{name}{suffix}" for name in names]
