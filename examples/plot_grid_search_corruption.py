"""
====================================
Choose the corruption by grid search
====================================

Choose the parameters of the corruption with scikit-learn's
:class:`~sklearn.model_selection.GridSearchCV` and a few labelled defects. The labels are used to
*score* detectors and never to train them. Training damage works best if its sizes and strengths are
those of real defects.
"""

# %%
# Labels
# ------
# Labels follow scikit-learn's outlier detection: 1 is normal and -1 is anomalous. With these labels
# ``scoring="roc_auc"`` is correct, since ``decision_function`` is higher for normal images. With 1
# for a defect, the ROC AUC would be reversed without any error.
#
# The data are 100 good crops of one half of a brick wall, and 24 tiles of the other half with a
# defect. The good crops overlap, so that the folds are not independent. This is good enough to rank
# settings. To report a result, use independent test images.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.metrics import make_pixel_scorer, pixel_roc_auc_score
from skanomaly.model_selection import NormalOnlySplit
from skanomaly.networks import ConvolutionalAutoencoder

data = make_textured_surfaces("brick", n_defects=24, random_state=0)
has_defect = data.y_test == -1
X = np.concatenate([data.X_train, data.X_test[has_defect]])
y = np.concatenate([np.full(len(data.X_train), 1), data.y_test[has_defect]])
masks = np.concatenate([np.zeros(data.X_train.shape, dtype=bool), data.masks_test[has_defect]])
print(X.shape, "normal:", np.sum(y == 1), "anomalous:", np.sum(y == -1))

# %%
# Train on normal images only
# ---------------------------
# :class:`~skanomaly.model_selection.NormalOnlySplit` removes the anomalous images from each
# training fold, and keeps both classes in the test folds.

cv = NormalOnlySplit(2)
for train, test in cv.split(X, y):
    print(f"train: {len(train)} normal", end="; ")
    print(f"test: {np.sum(y[test] == 1)} normal, {np.sum(y[test] == -1)} anomalous")

# %%
# Search
# ------
# The prefix ``corruption__`` gives access to the parameters of the corruption, also if the detector
# has the default ``corruption=None``. To be quick, this example uses a narrow network and few steps
# on small crops. The winner can be trained for longer.

detector = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16),
    max_iter=100,
    batch_size=8,
    crop_size=32,
    normalize_map=False,
    random_state=0,
)
grid = {
    "corruption__radius": [(0.01, 0.03), (0.03, 0.1), (0.1, 0.4)],
    "corruption__opacity": [(0.05, 0.2), (0.2, 1.0)],
}

# %%
# The search computes two scores: the ROC AUC of images and that of pixels.
# :func:`~skanomaly.metrics.make_pixel_scorer` makes a scorer of a metric that compares maps with
# masks. scikit-learn's metadata routing passes the masks to the scorer: they are given to ``fit``
# and split into folds like ``X``.
#
# ``refit=False`` is needed, since a refit would train on all of ``X``, including the anomalies.

search = GridSearchCV(
    detector,
    grid,
    scoring={"image": "roc_auc", "pixel": make_pixel_scorer(pixel_roc_auc_score)},
    cv=cv,
    refit=False,
)
with sklearn.config_context(enable_metadata_routing=True):
    search.fit(X, y, masks=masks)

# %%
# Results
# -------

results = pd.DataFrame(search.cv_results_).rename(
    columns=lambda name: name.removeprefix("param_corruption__")
)
columns = ["radius", "opacity", "mean_test_image", "mean_test_pixel", "mean_fit_time"]
results[columns].sort_values("mean_test_image", ascending=False).round(3)

# %%
# The same results as heat maps:


def label(limits):
    """Format a range."""
    return f"{limits[0]} to {limits[1]}"


radii, opacities = grid.values()
figure, axes = plt.subplots(1, 2, figsize=(9, 2.9), layout="constrained", sharey=True)
for axis, kind in zip(axes, ["image", "pixel"], strict=True):
    scores = np.array(search.cv_results_[f"mean_test_{kind}"]).reshape(len(opacities), len(radii))
    drawn = axis.imshow(scores, cmap="viridis")
    for row, column in np.ndindex(scores.shape):
        is_dark = scores[row, column] < scores.min() + 0.6 * np.ptp(scores)
        axis.text(
            column,
            row,
            f"{scores[row, column]:.3f}",
            ha="center",
            va="center",
            color="white" if is_dark else "black",
        )
    axis.set_xticks(range(len(radii)), [label(radius) for radius in radii])
    axis.set(xlabel="radius", title=f"ROC AUC of {kind}s")
    figure.colorbar(drawn, ax=axis, shrink=0.9)
axes[0].set_yticks(range(len(opacities)), [label(opacity) for opacity in opacities])
axes[0].set_ylabel("opacity")
plt.show()

# %%
# Both scores are lower with low opacity alone (upper row), since such damage is too faint. Among
# the radii of the lower row, small differences mean nothing with 24 defects.
#
# Train the winner
# ----------------
# Train it on the normal images only. For production use, increase ``max_iter``.

best = search.cv_results_["params"][np.argmax(search.cv_results_["mean_test_image"])]
winner = clone(detector).set_params(**best)
winner.fit(X[y == 1])
best
