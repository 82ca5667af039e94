"""
==============================
Choose settings without labels
==============================

Often there is not one image of a defect when a detector is set up. Settings can then be compared on
artificial defects: :class:`~skanomaly.model_selection.SyntheticDefectScorer` draws them on normal
images that a detector was not trained on, and tells how well it finds them. This is a scorer like
those of scikit-learn, and :class:`~sklearn.model_selection.GridSearchCV` needs no ``y``.
"""

# %%
# Nothing but good images
# -----------------------
# 100 crops of one half of a photograph of a brick wall. The other half, with defects and labels, is
# kept for the end, to see whether the choice was a good one.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.model_selection import SyntheticDefectScorer
from skanomaly.networks import ConvolutionalAutoencoder

data = make_textured_surfaces("brick", random_state=0)
X = data.X_train
print(X.shape, X.dtype)

# %%
# Look at the defects
# -------------------
# Seven kinds of them, from faint to strong: a ranking needs defects that some settings find and
# others miss. They are drawn by other means than the damage that detectors are trained on, and are
# the same for each candidate: no setting wins by training on just what it is then measured with.
# The lower row shows their masks. If a kind is no defect on your images, name the others in
# ``kinds``.

scorer = SyntheticDefectScorer(n_defects=100, random_state=0)
defects = scorer.make_defects(X)
kinds = list(dict.fromkeys(defects.kinds))
figure, axes = plt.subplots(2, len(kinds), figsize=(10, 3.2), layout="constrained")
for column, kind in enumerate(kinds):
    of_kind = np.flatnonzero(defects.kinds == kind)
    # The plainest of the first few: on this page many are too faint to be seen.
    difference = np.abs(defects.images[of_kind] - X[defects.indices[of_kind]].astype(float))
    shown = of_kind[np.argmax(difference[:10].sum(axis=(1, 2)))]
    axes[0, column].imshow(defects.images[shown], cmap="gray", vmin=0, vmax=255)
    axes[0, column].set_title(kind)
    axes[1, column].imshow(defects.masks[shown], cmap="gray")
for axis in axes.flat:
    axis.set_axis_off()
plt.show()

# %%
# The search
# ----------
# Plain folds of good images: each candidate is trained on one part and scored on the other. To be
# quick, the detector takes few and small steps, crops of 32 pixels and a narrow network.
#
# For the comparison below, and for it alone, each candidate is measured by true labels as well.
# Leave ``"by labels"`` out, and ``scoring=scorer`` is all that is needed.

detector = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16),
    max_iter=80,
    batch_size=8,
    crop_size=32,
    normalize_map=False,
    random_state=0,
)
grid = [
    {
        "corruption__radius": [(0.01, 0.03), (0.03, 0.1), (0.1, 0.4)],
        "corruption__opacity": [(0.02, 0.1), (0.2, 1.0)],
    },
    {"contrast_size": [None]},
    {"mask_weight": [1.0]},
]


def score_by_labels(estimator, X, y=None):
    """ROC AUC of the labelled test images, whichever X is passed."""
    return roc_auc_score(data.y_test == 1, estimator.score_samples(data.X_test))


search = GridSearchCV(
    detector,
    grid,
    scoring={"without labels": scorer, "by labels": score_by_labels},
    refit="without labels",
    cv=2,
)
search.fit(X)
search.best_params_

# %%
# Was it a good choice?
# ---------------------

results = pd.DataFrame(
    {
        "setting": [
            ", ".join(f"{name.removeprefix('corruption__')}={value}" for name, value in row.items())
            for row in search.cv_results_["params"]
        ],
        "without labels": search.cv_results_["mean_test_without labels"],
        "by labels": search.cv_results_["mean_test_by labels"],
    }
).sort_values("without labels", ascending=False, ignore_index=True)
results.round(3)

# %%

agreement = spearmanr(results["without labels"], results["by labels"]).statistic
figure, axis = plt.subplots(figsize=(8.5, 4), layout="constrained")
for position, row in results.iterrows():
    axis.scatter(row["without labels"], row["by labels"], label=f"{position}: {row['setting']}")
    axis.annotate(
        position,
        (row["without labels"], row["by labels"]),
        xytext=(5, 4),
        textcoords="offset points",
    )
axis.set(
    xlabel="score without labels",
    ylabel="ROC AUC by labels",
    title=f"Spearman correlation {agreement:.2f}",
)
axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8)
plt.show()

# %%
# Faint damage teaches too little, and the scores without labels put it below the stronger damage,
# as the labels do. That is the use of them: to tell what does not work from what does. Among the
# settings that do well the order is another one than that by the 48 labelled defects of this page.
#
# How far to trust it
# -------------------
# - Scores without labels are lower here, as many of the defects are meant to be hard. They are for
#   comparison only and do not say how well real defects will be found.
# - It measures what its defects probe: local changes of how a region looks. Of parts of the wrong
#   type or in the wrong position it knows nothing.
# - The labelled defects of this page are artificial too, which flatters the agreement.
#   :ref:`label_free_selection` has the figures for real ones.
# - With a few labelled defects at hand, compare with
#   :ref:`sphx_glr_auto_examples_plot_grid_search_corruption.py`.
