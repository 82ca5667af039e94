"""Networks applied to overlapping windows."""

import numpy as np
import pytest
import torch
from torch import nn

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.networks import apply_in_windows


class Position(nn.Module):
    """Returns the distance of each pixel from the centre of the input, and notes its sizes."""

    def __init__(self):
        super().__init__()
        self.sizes, self.largest_pass = set(), 0

    def forward(self, images):
        height, width = images.shape[2:]
        self.sizes.add((height, width))
        self.largest_pass = max(self.largest_pass, images[:, 0].numel())
        rows = (torch.arange(height) - (height - 1) / 2).abs()
        columns = (torch.arange(width) - (width - 1) / 2).abs()
        return torch.maximum(rows.unsqueeze(1), columns).expand_as(images)


@pytest.mark.parametrize("window", [(16, 16), (16, 100), (7, 5), (49, 29), (1, 1), (50, 30)])
@pytest.mark.parametrize("size", [(50, 30), (16, 16), (17, 90)])
def test_windows_cover_each_pixel_of_the_image(window, size):
    images = torch.rand(2, 3, *size)
    assert apply_in_windows(nn.Identity(), images, window).equal(images)


def test_windows_have_the_size_of_the_training_images_and_pixels_are_in_their_middle():
    network = Position()
    images = torch.zeros(2, 1, 100, 70)
    distance = apply_in_windows(network, images, (16, 20))[0, 0]
    assert network.sizes == {(16, 20)}
    # Windows start every 8 and 10 pixels, so that the nearest centre is a quarter of a side away.
    assert distance[8:-8, 10:-10].max() <= 5
    assert distance.max() <= 10
    assert network.largest_pass <= images.numel()


def test_an_image_that_is_no_larger_is_one_window():
    network = Position()
    apply_in_windows(network, torch.zeros(2, 1, 12, 20), (16, 20))
    apply_in_windows(network, torch.zeros(2, 1, 100, 70), None)
    apply_in_windows(network, torch.zeros(2, 1, 12, 30), (16, 20))
    assert network.sizes == {(12, 20), (100, 70)}


def test_small_windows_do_not_fill_the_memory():
    network = Position()
    apply_in_windows(network, torch.zeros(2, 1, 64, 64), (1, 1))
    # A network that pads a window to 16 × 16 pixels sees no more than the images have.
    assert 1 < network.largest_pass * 16**2 <= 2 * 64 * 64


def test_batches_do_not_mix():
    images = torch.rand(3, 2, 40, 50)

    class Mean(nn.Module):
        def forward(self, images):
            return images - images.mean((1, 2, 3), keepdim=True)

    together = apply_in_windows(Mean(), images, (16, 16))
    for alone, one in zip(images, together, strict=True):
        torch.testing.assert_close(apply_in_windows(Mean(), alone[None], (16, 16))[0], one)


def test_large_images_are_reconstructed_as_well_as_those_trained_on():
    grass = make_textured_surfaces("grass", image_size=32, n_train=60, random_state=0)
    large = make_textured_surfaces("grass", image_size=96, n_train=4, random_state=0).X_train
    detector = SelfSupervisedAutoencoderDetector(
        max_iter=60, augmentation=None, random_state=0, device="cpu"
    ).fit(grass.X_train)
    assert detector.model_.window == (32, 32)

    def error(images):
        return float(np.square(images / 1.0 - detector.reconstruct(images)).mean())

    in_windows = error(large)
    detector.model_.window = None
    assert in_windows < 0.8 * error(large)
