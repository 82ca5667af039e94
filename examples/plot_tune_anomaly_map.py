"""
====================
Tune the anomaly map
====================

Choose how the anomaly map is smoothed, how far the neighbourhood of a pixel counts, and how a map
becomes a score. These parameters need no training. The best values depend on the size and the
contrast of the defects.
"""

# %%
# Train once, calibrate often
# ---------------------------
# The images are tiles of a brick wall with artificial defects. The detector is trained once.
# ``calibrate`` then applies other parameters of maps and scores: it computes the thresholds and the
# expected map again, from good images that were not used for training, and leaves the network as it
# is.

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
    max_iter=200,
    crop_size=32,
    augmentation=["flip_horizontal", "flip_vertical"],
    random_state=0,
).fit(X_train)


def calibrated(**parameters):
    """Copy the detector, with other parameters of maps and scores."""
    return copy.deepcopy(trained).set_params(**parameters).calibrate(X_calibrate)


detectors = {
    "smoothing_size=1": calibrated(smoothing_size=1, region_size=None),
    "smoothing_size=3": calibrated(smoothing_size=3, region_size=None),
    "smoothing_size=15": calibrated(smoothing_size=15, region_size=None),
    "region_size=0.6": calibrated(smoothing_size=3, region_size=0.6),
}

# %%
# Smoothing
# ---------
# ``smoothing_size`` is the side of a mean filter, which is applied ``smoothing_passes`` times,
# twice by default. Without smoothing, the map is sharp and noisy. A wide filter suits large, faint
# defects and blurs small ones. The figure shows a crack and a stain: solid lines outline the pixels
# above ``map_threshold_``, dashed lines the true masks.

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
# The metrics for all test images:

reports = {}
for name, detector in detectors.items():
    found = detector.detect(data.X_test)
    reports[name] = image_report(
        data.masks_test, found.anomaly_map, y_true=data.y_test, scores=found.score_samples
    )
table = pd.DataFrame(reports).T
table[["pixel_roc_auc", "pixel_average_precision", "per_region_overlap"]].round(3)

# %%
# The medium filter, which is the default, is best in all three.
#
# Neighbourhood
# -------------
# With ``region_size``, the neighbourhood of a pixel counts as well. This is for large, faint
# defects, whose pixels differ only a little. To show it, a shadow of 15 grey levels out of 255 is
# drawn on up to a third of each good test image.

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
            "shadows, image ROC AUC": roc_auc_score(y, detectors[key].score_samples(both)),
            "defects, image ROC AUC": reports[key]["image_roc_auc"],
            "defects, per-region overlap": reports[key]["per_region_overlap"],
        }
        for name, key in {
            "region_size=None": "smoothing_size=3",
            "region_size=0.6": "region_size=0.6",
        }.items()
    }
).T.round(3)

# %%
# The default is 0.6 of the shorter side. Here it finds shadows and locates small defects slightly
# better.
#
# From map to score
# -----------------
# ``score_aggregation="max"`` takes the highest value of the map, "mean" the mean of all values, and
# a number the mean of that fraction of the highest values. The default is 0.01.

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
# Cracks stand out with each choice here. Smears are large and faint: many of their pixels are a
# little higher, so that the mean of the highest tenth finds them better than the highest value
# does. In large images, the mean hides small defects.
#
# To choose these parameters without labels, use
# :class:`~skanomaly.model_selection.SyntheticDefectScorer`: see
# :ref:`sphx_glr_auto_examples_plot_model_selection_without_labels.py`.
