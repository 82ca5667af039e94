"""
====================================
Choose the corruption by grid search
====================================

The damage that a detector trains on should be of the sizes and strengths of real defects. A few
images with labelled defects are enough to choose it, with scikit-learn's own
:class:`~sklearn.model_selection.GridSearchCV`: the labels serve to *score* detectors and never to
train them.
"""

# %%
# Labels: 1 is normal, -1 is anomalous
# ------------------------------------
# This is scikit-learn's convention for outlier detection, and ``scoring="roc_auc"`` is right with
# it: it reads ``decision_function``, which is higher for normal images, and takes the higher label
# for the positive class. Labelled the other way round, 1 for a defect, every score would silently
# be turned upside down.
#
# We take 100 good crops of one half of a brick wall, and 24 tiles of the other half with a defect.
# The good crops overlap one another, so that folds share some bricks: good enough to rank settings,
# while a figure to report needs test images that have nothing in common with those trained on.

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
# Folds that train on normal images alone
# ---------------------------------------
# :class:`~skanomaly.model_selection.NormalOnlySplit` drops the anomalies from each training fold,
# and keeps both kinds in the test folds.

cv = NormalOnlySplit(2)
for train, test in cv.split(X, y):
    print(f"train: {len(train)} normal", end="; ")
    print(f"test: {np.sum(y[test] == 1)} normal, {np.sum(y[test] == -1)} anomalous")

# %%
# The search
# ----------
# The parameters of the corruption are reached by the prefix ``corruption__``. The detector may keep
# its default ``corruption=None``: a parameter with the prefix makes it a ``PatchCorruption`` of its
# own. To be quick, this one takes few and small steps, crops of 32 pixels, eight in each, and a
# narrow network. The ranking of settings is what counts here; the winner can be trained for longer.

detector = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16),
    max_iter=130,
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
# Two scores are of interest: does a detector tell bad images from good ones, and does it find the
# pixels? :func:`~skanomaly.metrics.make_pixel_scorer` makes a scorer of a metric that compares maps
# with masks. The masks come in by scikit-learn's metadata routing: given to ``fit`` of the search,
# they are cut into folds along with ``X`` and reach the scorer.
#
# ``refit=False`` matters: a refit would train on all of ``X``, anomalies included.

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
# What came out
# -------------

results = pd.DataFrame(search.cv_results_).rename(
    columns=lambda name: name.removeprefix("param_corruption__")
)
columns = ["radius", "opacity", "mean_test_image", "mean_test_pixel", "mean_fit_time"]
results[columns].sort_values("mean_test_image", ascending=False).round(3)

# %%
# The same as two heat-maps:


def label(limits):
    """Write a range."""
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
# Faint damage alone, in the upper row, teaches too little. Which radius is best in the lower one
# cannot be told here: with 24 defects in all, differences of some hundredths mean nothing.
#
# Train the winner
# ----------------
# On the normal images alone, and for as long as you like. With two scores, which one decides is up
# to you.

best = search.cv_results_["params"][np.argmax(search.cv_results_["mean_test_image"])]
winner = clone(detector).set_params(**best)
winner.fit(X[y == 1])
best
