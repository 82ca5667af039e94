from functools import partial

import numpy as np
import pytest
import torch

from skanomaly.networks import (
    NETWORKS,
    ROW_NETWORKS,
    ConvexCombination,
    ConvolutionalAutoencoder,
    StackedDilatedConv,
    find_encoder,
)
from skanomaly.networks._layers import DilatedConv

IMAGE_NETWORKS = [name for name in NETWORKS if name not in ROW_NETWORKS]


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (7, 50), (33, 18)])
def test_output_has_the_shape_of_the_input(name, channels, size):
    network = NETWORKS[name]((*size, channels), width=4).eval()
    for height, width in (size, (16, 16), (21, 40)):
        images = torch.randn(2, channels, height, width)
        assert network(images).shape == images.shape


@pytest.mark.parametrize("normalization", ["batch", "group", "none"])
def test_every_weight_learns(normalization):
    network = ConvolutionalAutoencoder((32, 32, 1), width=4, normalization=normalization)
    network(torch.randn(4, 1, 32, 32)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any()), name


def test_small_images_get_a_network_that_fits_them():
    assert ConvolutionalAutoencoder((128, 128, 1)).stride == 8
    assert ConvolutionalAutoencoder((16, 16, 1)).stride == 4
    assert ConvolutionalAutoencoder((4, 4, 1)).stride == 2
    dilations = [b.dilation[0] for b in ConvolutionalAutoencoder((16, 16, 1)).blocks[0].branches]
    assert dilations == [1, 2]


def test_dilation_sees_far():
    def reach(dilations):
        torch.manual_seed(0)
        layer = StackedDilatedConv(8, dilations, "none").double()
        features = torch.randn(1, 8, 33, 33, dtype=torch.double, requires_grad=True)
        layer(features)[0, :, 16, 16].sum().backward()
        assert features.grad is not None
        rows = torch.nonzero(features.grad.abs().sum((0, 1, 3)))
        return int(rows.max()) - 16

    assert reach([1]) == 1
    assert reach([1, 2, 4, 8]) == 8


@pytest.mark.parametrize("size", [(8, 8), (7, 20), (20, 3)])
def test_dilation_wider_than_the_map(size):
    """While training, a map is made wider: values and gradients stay."""
    convolution = DilatedConv(8, 4, 5, bias=True)
    features = torch.randn(2, 8, *size, generator=torch.Generator().manual_seed(0))
    results = []
    for convolve in (convolution, partial(torch.nn.Conv2d.forward, convolution)):
        values = convolve(features)
        (gradient,) = torch.autograd.grad(values.square().sum(), convolution.weight)
        results.append((values, gradient))
    torch.testing.assert_close(*results)


def test_convex_combination_stays_between_its_inputs():
    module = ConvexCombination(6)
    encoder, decoder = torch.randn(3, 6, 5, 5), torch.randn(3, 6, 5, 5)
    mixed = module(encoder, decoder)
    assert bool((mixed <= torch.maximum(encoder, decoder) + 1e-6).all())
    assert bool((mixed >= torch.minimum(encoder, decoder) - 1e-6).all())
    module.gate.bias.data.fill_(50.0)
    torch.testing.assert_close(module(encoder, decoder), encoder)
    module.gate.bias.data.fill_(-50.0)
    torch.testing.assert_close(module(encoder, decoder), decoder)


def test_the_image_itself_is_blended_in_at_full_resolution():
    network = ConvolutionalAutoencoder((32, 32, 2), width=4).eval()
    images = torch.randn(2, 2, 32, 32)
    decoded, weight = network.decode(images)
    torch.testing.assert_close(network(images), weight * images + (1 - weight) * decoded)
    assert NETWORKS["sdc"]((32, 32, 2), width=4).decode(images)[1] is None


def test_the_untrained_decoder_shows_no_checkerboard():
    torch.manual_seed(0)
    network = NETWORKS["sdc"]((64, 64, 1), width=8, normalization="none").eval()
    with torch.no_grad():
        decoded = network(torch.randn(4, 1, 64, 64))
    # The four pixels of one square of the stem start out equal.
    cells = decoded.unfold(2, 2, 2).unfold(3, 2, 2)
    assert float(cells.std((-1, -2)).max()) < 1e-6


def test_dense_reads_rows():
    assert NETWORKS["dense"](1)(torch.zeros(3, 1)).shape == (3, 1)
    assert NETWORKS["dense"](7, width=4, n_components=3)(torch.zeros(3, 7)).shape == (3, 7)


def test_too_many_dilations_for_the_channels_are_refused():
    with pytest.raises(ValueError, match="at least one channel for each dilation"):
        StackedDilatedConv(2, [1, 2, 4], "none")
    with pytest.raises(ValueError, match="normalization must be one of"):
        ConvolutionalAutoencoder((8, 8, 1), normalization="layer")


def test_a_network_reads_any_size_alike():
    """Far from the border, a crop is reconstructed like the same region of the whole image."""
    torch.manual_seed(0)
    network = partial(ConvolutionalAutoencoder, width=4, n_blocks=1, dilations=(1,))((64, 64, 1))
    network.eval()
    image = torch.randn(1, 1, 192, 192)
    with torch.no_grad():
        whole = network(image)[..., 80:112, 80:112]
        crop = network(image[..., 16:176, 16:176])[..., 64:96, 64:96]
    np.testing.assert_allclose(whole, crop, atol=1e-5)


def test_what_a_network_does_not_say_is_assumed():
    plain = torch.nn.Conv2d(1, 1, 3, padding=1)
    assert find_encoder(plain) is None
    plain.encode = plain.forward
    assert find_encoder(plain) == plain.encode
    plain.convex = True
    assert find_encoder(plain) is None
    for name, encodes in (("plain", True), ("sdc", True), ("sdcc", False)):
        network = NETWORKS[name]((32, 32, 1), width=4)
        assert (find_encoder(network) is not None) == encodes


def test_the_first_dilations_get_the_channels_left_over():
    """Saved weights depend on it."""
    layer = StackedDilatedConv(10, (1, 2, 4, 8), "none")
    assert [branch.out_channels for branch in layer.branches] == [3, 3, 2, 2]
