"""plot_anomaly_maps: what is drawn where."""

import sys

import numpy as np
import pytest

from skanomaly.inspection import plot_anomaly_maps


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, 16, 20), dtype=np.uint8)
    maps = random.random((3, 16, 20))
    return images, images // 2, maps, maps > 0.9


def test_figure(pictures, tmp_path):
    images, _, maps, _ = pictures
    figure = plot_anomaly_maps(*pictures, threshold=0.3, titles=["good", "crack", "hole"])
    *axes, bar = figure.axes
    assert len(axes) == 12
    assert [ax.get_title() for ax in axes[:3]] == ["good", "crack", "hole"]
    labels = [ax.get_ylabel() for ax in axes[::3]]
    assert labels == ["input", "reconstruction", "anomaly map", "true mask"]
    np.testing.assert_array_equal(axes[1].images[0].get_array(), images[1])
    assert axes[0].images[0].get_cmap().name == "gray"
    assert axes[0].images[0].get_clim() == (0, 255)
    scales = {ax.images[0].get_clim() for ax in axes[6:9]}
    assert len(scales) == 1
    lowest, highest = scales.pop()
    assert lowest == 0 and 0.6 <= highest <= maps.max()
    assert "0.3" in bar.get_xlabel()
    figure.savefig(tmp_path / "figure.png")


def test_without_masks_titles_and_threshold(pictures):
    figure = plot_anomaly_maps(*pictures[:3], row_labels=False)
    assert len(figure.axes) == 3 * 3 + 1
    assert all(ax.get_ylabel() == "" for ax in figure.axes[:-1])


def test_colour_images_in_a_given_figure(pictures):
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    color = np.repeat(pictures[0][..., np.newaxis] / 255.0, 3, axis=3)
    blocks = figure.subfigures(1, 2)
    assert plot_anomaly_maps(color, color, pictures[2], figure=blocks[1]) is blocks[1]
    assert len(blocks[0].axes) == 0
    assert blocks[1].axes[0].images[0].get_array().shape == (16, 20, 3)


def test_constant_maps(pictures):
    figure = plot_anomaly_maps(pictures[0], pictures[1], np.zeros((3, 16, 20)), threshold=0.5)
    assert figure.axes[6].images[0].get_clim() == (0, 1)


def test_without_matplotlib(pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install \"skanomaly\[plot\]\""):
        plot_anomaly_maps(*pictures)
