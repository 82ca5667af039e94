"""The network for plain vectors."""

from torch import Tensor, nn


class DenseAutoencoder(nn.Module):
    """Fully connected autoencoder: (b, n_features) → (b, n_features).

    Parameters
    ----------
    n_features : int
        Length of a row.
    width : int, default=128
        Units of each hidden layer.
    n_components : int or None, default=None
        Units of the narrowest layer; None is half of the features, at least 2.

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
        narrow = max(2, n_features // 2) if n_components is None else n_components
        self.layers = nn.Sequential(
            nn.Linear(n_features, width),
            nn.SiLU(),
            nn.Linear(width, narrow),
            nn.SiLU(),
            nn.Linear(narrow, width),
            nn.SiLU(),
            nn.Linear(width, n_features),
        )

    def forward(self, rows: Tensor) -> Tensor:
        """(b, n_features) → (b, n_features)."""
        return self.layers(rows)
