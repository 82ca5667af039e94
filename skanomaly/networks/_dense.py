"""Fully connected networks for plain vectors."""

from torch import Tensor, nn


class EncoderDecoder(nn.Module):
    """Base class of networks of rows that are an ``encoder`` and a ``decoder``."""

    encoder: nn.Module
    decoder: nn.Module

    def encode(self, rows: Tensor) -> Tensor:
        """Compute the code.

        Parameters
        ----------
        rows : Tensor of shape (b, n_features)

        Returns
        -------
        Tensor of shape (b, n_components)
            The output of the encoder.
        """
        return self.encoder(rows)

    def forward(self, rows: Tensor) -> Tensor:
        """Reconstruct rows.

        Parameters
        ----------
        rows : Tensor of shape (b, n_features)

        Returns
        -------
        Tensor of the same shape
        """
        return self.decoder(self.encode(rows))


class DenseAutoencoder(EncoderDecoder):
    """Fully connected autoencoder: (b, n_features) → (b, n_features).

    Parameters
    ----------
    n_features : int
        Length of a row.
    width : int, default=128
        Units of each of the two hidden layers.
    n_components : int or None, default=None
        Units of a linear bottleneck between the hidden layers; None is no bottleneck.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.networks import DenseAutoencoder
    >>> DenseAutoencoder(5)(torch.zeros(2, 5)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self, n_features: int, *, width: int = 128, n_components: int | None = None
    ) -> None:
        super().__init__()
        bottleneck = [] if n_components is None else [nn.Linear(width, n_components)]
        self.encoder = nn.Sequential(nn.Linear(n_features, width), nn.SiLU(), *bottleneck)
        self.decoder = nn.Sequential(
            nn.Linear(n_components or width, width), nn.SiLU(), nn.Linear(width, n_features)
        )
