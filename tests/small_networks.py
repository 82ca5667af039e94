"""Networks for tests that are not about the network, with the layers and optimizers of all."""

from functools import partial

from skanomaly.networks import ConvolutionalAutoencoder

# The default network with a quarter of the channels: of the same depth and receptive field.
NARROW = partial(ConvolutionalAutoencoder, width=16)
# Quickest to train, by Muon and AdamW.
SMALL = partial(ConvolutionalAutoencoder, width=8, n_blocks=1)
