"""
==============================
Choose settings without labels
==============================

Compare settings when you have no images of defects.
:class:`~skanomaly.model_selection.SyntheticDefectScorer` draws artificial defects on held-out
normal images and measures how well a detector finds them. It works as ``scoring`` in
:class:`~sklearn.model_selection.GridSearchCV`, which needs no ``y``.
"""

# %%
# Load good images
# ----------------
# The data are 100 crops of one half of a brick wall. The other half, with labelled defects, is only
# used at the end, to check the choice.

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
# Show the artificial defects
# ---------------------------
# There are seven kinds, from faint to strong, so that some settings find them and others do not.
# They are not drawn like the damage used for training, and are the same for each candidate. The
# lower row shows their masks. If a kind is no defect on your images, list the others in ``kinds``.

scorer = SyntheticDefectScorer(n_defects=100, random_state=0)
defects = scorer.make_defects(X)
kinds = list(dict.fromkeys(defects.kinds))
figure, axes = plt.subplots(2, len(kinds), figsize=(10, 3.2), layout="constrained")
for column, kind in enumerate(kinds):
    of_kind = np.flatnonzero(defects.kinds == kind)
    # The strongest of ten, since many are too faint for this figure.
    difference = np.abs(defects.images[of_kind] - X[defects.indices[of_kind]].astype(float))
    shown = of_kind[np.argmax(difference[:10].sum(axis=(1, 2)))]
    axes[0, column].imshow(defects.images[shown], cmap="gray", vmin=0, vmax=255)
    axes[0, column].set_title(kind, fontsize=10)
    axes[1, column].imshow(defects.masks[shown], cmap="gray")
for axis in axes.flat:
    axis.set_axis_off()
plt.show()

# %%
# Search
# ------
# With ``cv=2``, each candidate is trained on one half of the good images and scored on the other.
# To be quick, this example uses a narrow network and few steps on small crops. For the comparison
# below, each candidate is also scored with true labels. In your own search, ``scoring=scorer`` is
# enough.

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
# Compare with the labels
# -----------------------

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
axis.margins(0.1)
axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8)
plt.show()

# %%
# Both scores rank the settings with low opacity below those with high opacity. This is what the
# score without labels can tell: which corruptions do not work. Otherwise the two rankings differ,
# above all on ``mask_weight=1.0``, which the score without labels puts last.
#
# Limits
# ------
# - The score is for comparison only. It does not estimate how well real defects are found, since
#   many of the artificial defects are faint on purpose.
# - The artificial defects are local changes in the appearance of a region. The score tells nothing
#   about missing, wrong or misplaced parts.
# - The labelled defects of this example are artificial too, so that the agreement is better than
#   with real ones. :ref:`label_free_selection` has the results for real defects.
# - If you have a few labelled defects, see
#   :ref:`sphx_glr_auto_examples_plot_grid_search_corruption.py`.
