"""The linear network, whose optimal weights are known in closed form."""

from torch import nn

from ._dense import EncoderDecoder


class LinearAutoencoder(EncoderDecoder):
    """Affine map of rows, f(x) = A x + b: (b, n_features) → (b, n_features).

    See :ref:`theory` for what each detector learns with it in closed form. With a low rank and
    little noise, that is principal component analysis.

    Parameters
    ----------
    n_features : int
        Length of a row.
    rank : int or None, default=None
        Largest rank of A, which is then a product of two matrices; None is full rank.

    Raises
    ------
    ValueError
        If ``rank`` is not from 1 to ``n_features``.

    Examples
    --------
    >>> import torch
    >>> from skanomaly.networks import LinearAutoencoder
    >>> LinearAutoencoder(5, rank=2)(torch.zeros(3, 5)).shape
    torch.Size([3, 5])
    """

    def __init__(self, n_features: int, *, rank: int | None = None) -> None:
        super().__init__()
        if rank is not None and not 1 <= rank <= n_features:
            raise ValueError(
                f"rank must be None or from 1 to the number of features, {n_features}, got {rank} "
                "instead."
            )
        size = n_features if rank is None else rank
        self.encoder = nn.Linear(n_features, size)
        self.decoder = nn.Identity() if rank is None else nn.Linear(size, n_features)
