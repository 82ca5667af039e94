"""Methods on flattened pixels: scikit-learn's PCA and IsolationForest, PyOD's AutoEncoder."""

import joblib
import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

MAP_SIGMA = 4 * 128 / 224
"""Standard deviation in pixels that maps are smoothed with: PatchCore's 4 at 224 pixels."""


def to_rows(X):
    """Flatten uint8 images to rows of floats from 0 to 1."""
    return X.reshape(len(X), -1).astype(np.float32) / 255


class PCAReconstruction:
    """Squared residual of the leading principal components, which explain 95 % of the variance."""

    def fit(self, X, folder, seconds, seed):
        """Compute the components."""
        self.pca = PCA(0.95, svd_solver="full", random_state=seed).fit(to_rows(X))
        return {"components": int(self.pca.n_components_)}

    def detect(self, X):
        """Smooth the squared residual; an image's score is the largest value."""
        rows = to_rows(X)
        residual = rows - self.pca.inverse_transform(self.pca.transform(rows))
        squares = np.square(residual).reshape(X.shape)
        squares = squares.mean(-1) if X.ndim == 4 else squares
        maps = np.stack([gaussian_filter(one, MAP_SIGMA) for one in squares])
        return -maps.max((1, 2)), maps

    def save(self, path):
        """Write the components."""
        joblib.dump(self.pca, path)


class Forest:
    """scikit-learn's IsolationForest with default parameters on raw pixels."""

    def fit(self, X, folder, seconds, seed):
        """Grow the trees."""
        self.forest = IsolationForest(random_state=seed).fit(to_rows(X))
        return {"trees": len(self.forest.estimators_)}

    def detect(self, X):
        """Score images; there is no map."""
        return self.forest.score_samples(to_rows(X)), None

    def save(self, path):
        """Write the trees."""
        joblib.dump(self.forest, path)
