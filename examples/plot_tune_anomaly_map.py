"""
====================
Tune the anomaly map
====================

Between the reconstruction and the score stand three choices that no training depends on: how much
the map is smoothed, whether the surroundings of a pixel count for it, and how a map becomes one
number. What is best depends on what defects look like.
"""

# %%
# One network, several maps
# -------------------------
# A brick wall with artificial defects. The detector is trained once. Parameters that say how maps
# and scores are made take effect in ``fit`` and in ``calibrate``, which takes thresholds and the
# expected map anew and leaves the network as it is. It gets good images that were not trained on.

import copy
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.inspection import AnomalyMapDisplay
from skanomaly.metrics import image_report
from skanomaly.networks import ConvolutionalAutoencoder

data = make_textured_surfaces("brick", n_train=130, n_defects=60, random_state=0)
is_good = data.kinds_test == "good"
X_train, X_calibrate = np.split(data.X_train, [100])
trained = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16),
    max_iter=100,
    crop_size=32,
    augmentation=["flip_horizontal", "flip_vertical"],
    random_state=0,
).fit(X_train)


def calibrated(**parameters):
    """Make a detector with the same network and other parameters of maps and scores."""
    return copy.deepcopy(trained).set_params(**parameters).calibrate(X_calibrate)


settings = {
    "smoothing_size=1": {"smoothing_size": 1, "region_size": None},
    "smoothing_size=5": {"smoothing_size": 5, "region_size": None},
    "smoothing_size=15": {"smoothing_size": 15, "region_size": None},
    "the same, region_size=0.6": {"smoothing_size": 5, "region_size": 0.6},
}
detectors = {name: calibrated(**parameters) for name, parameters in settings.items()}

# %%
# Smoothing
# ---------
# ``smoothing_size`` is the side of a mean filter, which ``smoothing_passes`` applies twice. Without
# it the map is as sharp, and as grainy, as the difference of two images. A wide filter finds faint
# spots of its own size, and blurs everything that is smaller. All three miss the stain after so
# short a training.

shown = [list(data.kinds_test).index(kind) for kind in ("crack", "stain")]
figure, axes = plt.subplots(1, 3, figsize=(9.6, 4.2), layout="constrained")
for axis, (name, detector) in zip(axes, detectors.items(), strict=False):
    axis.set_title(name, pad=14)
    AnomalyMapDisplay.from_predictions(
        data.X_test[shown],
        detector.anomaly_map(data.X_test[shown]),
        map_threshold=detector.map_threshold_,
        masks=data.masks_test[shown],
        ax=axis,
    )
plt.show()

# %%
# In figures, for all test images:

reports = {}
for name, detector in detectors.items():
    found = detector.detect(data.X_test)
    reports[name] = image_report(
        data.masks_test, found.anomaly_map, y_true=data.y_test, scores=found.score_samples
    )
table = pd.DataFrame(reports).T
table[["pixel_roc_auc", "pixel_average_precision", "per_region_overlap"]].round(3)

# %%
# The middle one locates defects best by all three. By average precision, which asks that the very
# highest pixels be right, the sharpest map comes near, and the widest is far behind.
#
# Surroundings
# ------------
# ``region_size`` makes the surroundings of a pixel count. It is for defects that are large and
# faint: none of their pixels stands out, but all of them differ a little. To show it, up to a third
# of each good test image is put into a slight shadow, of 15 grey levels out of 255.

rows, columns = np.indices(data.X_test.shape[1:])
centres = np.random.RandomState(0).uniform(16, 48, (is_good.sum(), 2, 1, 1))
distances = np.hypot(rows - centres[:, 0], columns - centres[:, 1])
shadows = distances < 20
shadowed = np.clip(data.X_test[is_good] - 15.0 * shadows, 0, 255).astype(np.uint8)

y = np.repeat([1, -1], is_good.sum())
both = np.concatenate([data.X_test[is_good], shadowed])
pd.DataFrame(
    {
        name: {
            "wide shadows found (ROC AUC)": roc_auc_score(y, detectors[key].score_samples(both)),
            "small defects found (ROC AUC)": reports[key]["image_roc_auc"],
            "small defects placed (overlap)": reports[key]["per_region_overlap"],
        }
        for name, key in {
            "region_size=None": "smoothing_size=5",
            "region_size=0.6": "the same, region_size=0.6",
        }.items()
    }
).T.round(3)

# %%
# The default, 0.6 of the shorter side, finds the shadows a little better, and locates small defects
# about as well: it multiplies the map, so that what is usual stays low.
#
# From map to score
# -----------------
# ``score_aggregation``: "max" takes the highest value, a number the mean of that fraction of the
# highest, "mean" that of all. ``calibrate`` sets ``offset_`` to go with it.

aucs = {}
for aggregation in ("max", 0.01, 0.1, "mean"):
    scores = calibrated(score_aggregation=aggregation).score_samples(data.X_test)
    aucs[aggregation] = {
        kind: roc_auc_score(data.y_test[chosen], scores[chosen])
        for kind in ("crack", "smear", "stain")
        for chosen in [is_good | (data.kinds_test == kind)]
    }
aucs = pd.DataFrame(aucs)
aucs.round(3)

# %%

figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
for (kind, values), style in zip(aucs.iterrows(), ("o-", "s--", "^:"), strict=True):
    axis.plot([str(name) for name in values.index], values, style, label=kind)
axis.set(xlabel="score_aggregation", ylabel="ROC AUC of images")
axis.legend()
plt.show()

# %%
# A crack is a few pixels wide: the mean over the image tells it less well than the highest values
# do. A stain or a smear covers more, and the mean over many pixels, which a few noisy ones do not
# decide, tells it better. The default, the highest hundredth, is between the two.
# :class:`~skanomaly.model_selection.SyntheticDefectScorer` chooses among such settings where there
# are no labels: see :ref:`sphx_glr_auto_examples_plot_model_selection_without_labels.py`.
