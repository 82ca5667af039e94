"""The network for plain vectors."""

from torch import Tensor, nn


class DenseAutoencoder(nn.Module):
    """Fully connected network: (b, n_features) → (b, n_features).

    Parameters
    ----------
    n_features : int
        Length of a row.
    width : int, default=128
        Units of each of the two hidden layers.
    n_components : int or None, default=None
        Units of a linear layer between the hidden ones, through which all has to pass; None
        leaves it out. What it learns is held in check by the corruption either way.

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
        narrow = [] if n_components is None else [nn.Linear(width, n_components)]
        self.encoder = nn.Sequential(nn.Linear(n_features, width), nn.SiLU(), *narrow)
        self.decoder = nn.Sequential(
            nn.Linear(n_components or width, width),
            nn.SiLU(),
            nn.Linear(width, n_features),
        )

    def encode(self, rows: Tensor) -> Tensor:
        """Compute the code.

        Parameters
        ----------
        rows : Tensor of shape (b, n_features)

        Returns
        -------
        Tensor of shape (b, n_components), or (b, width) without a narrow layer
        """
        return self.encoder(rows)

    def forward(self, rows: Tensor) -> Tensor:
        """Repair rows.

        Parameters
        ----------
        rows : Tensor of shape (b, n_features)

        Returns
        -------
        Tensor of the same shape
        """
        return self.decoder(self.encode(rows))
