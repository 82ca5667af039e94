"""
=====================
Evaluate anomaly maps
=====================

Measure how well a detector finds defective images and pixels, choose between the metrics, and
compute them for more maps than fit into memory. The first part shows a case in which two pixel
metrics disagree.
"""

# %%
# Two maps, two rankings
# ----------------------
# An image has one large and eight small defects. One of two anomaly maps shows only the large
# defect. The other one shows all nine, but only the rim of the large one.

import warnings
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import ndimage
from sklearn.metrics import f1_score, roc_curve

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.metrics import (
    f1_max_score,
    image_report,
    make_pixel_scorer,
    per_region_overlap_score,
    pixel_roc_auc_score,
)
from skanomaly.networks import ConvolutionalAutoencoder

rows, columns = np.indices((128, 128))
large = np.hypot(rows - 50, columns - 44) < 30
small = np.zeros_like(large)
small[[12, 30, 52, 76, 94, 100, 112, 116], [100, 116, 98, 112, 88, 28, 60, 110]] = True
small = ndimage.binary_dilation(small, iterations=4)
rim = large & ~ndimage.binary_erosion(large, iterations=4)
mask = large | small

noise = ndimage.gaussian_filter(np.random.RandomState(0).normal(size=mask.shape), 1.5)
noise /= noise.std()
two_maps = {"large one only": noise + 4 * large, "all nine": noise + 4 * (small | rim)}

pd.DataFrame(
    {
        name: {
            "pixel ROC AUC": pixel_roc_auc_score([mask], [found]),
            "per-region overlap": per_region_overlap_score([mask], [found]),
        }
        for name, found in two_maps.items()
    }
).T.round(3)

# %%
# The ROC AUC counts pixels: it is the probability that a defective pixel has a higher value than a
# normal one. Most of the defective pixels belong to the large defect, so that it dominates. The
# per-region overlap (AUPRO) counts defects: it is the fraction of each defect that is marked,
# averaged over the defects, eight of which are small.
#
# Both are areas under curves of the same kind. The per-region overlap weights each defective pixel
# by one over the size of its region. Its area ends at a false-positive rate of 0.3 and is divided
# by 0.3. Rates above this (grey) mark too much of a good image to be useful.

regions, _ = ndimage.label(mask, structure=np.ones((3, 3)))
one_over_size = np.where(mask, 1 / np.bincount(regions.ravel())[regions], 1)

figure, axes = plt.subplots(1, 5, figsize=(13, 2.9), layout="constrained")
for axis, (name, image) in zip(axes, {"defects": mask, **two_maps}.items(), strict=False):
    axis.imshow(image, cmap="gray" if image is mask else "inferno")
    axis.set(title=name, xticks=[], yticks=[])
for name, found in two_maps.items():
    for axis, weights in zip(axes[3:], [np.ones(mask.shape), one_over_size], strict=True):
        curve = roc_curve(mask.ravel(), found.ravel(), sample_weight=weights.ravel())
        axis.plot(curve[0], curve[1], label=name)
axes[3].set(title="pixels", xlabel="false-positive rate", ylabel="fraction of defective pixels")
axes[4].set(title="regions", xlabel="false-positive rate", ylabel="mean fraction of a region")
axes[4].axvspan(0.3, 1, color="lightgray")
axes[4].legend(loc="lower right")
plt.show()

# %%
# Metrics of a detector
# ---------------------
# The training images are crops of a brick wall, the test images have artificial defects. The
# network is narrow and training is short, to be quick.

data = make_textured_surfaces("brick", n_defects=60, random_state=0)
detector = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16),
    max_iter=300,
    crop_size=32,
    augmentation=["flip_horizontal", "flip_vertical"],
    random_state=0,
)
detector.fit(data.X_train)
found = detector.detect(data.X_test)
scores, maps = found.score_samples, found.anomaly_map

# %%
# :func:`~skanomaly.metrics.image_report` computes the usual metrics in one pass over the maps. The
# image metrics use the scores, with anomalous images as the positive class, and the pixel metrics
# use the maps. Here it is called for all images, and for the good images and one kind of defect.

is_good = data.kinds_test == "good"
chosen = {"all": np.ones(len(is_good), dtype=bool)}
for kind in np.unique(data.kinds_test[~is_good]):
    chosen[kind] = is_good | (data.kinds_test == kind)
reports = pd.DataFrame(
    {
        kind: image_report(data.masks_test[where], maps[where], scores=scores[where])
        for kind, where in chosen.items()
    }
).T
reports[
    [
        "image_roc_auc",
        "image_f1_max",
        "pixel_roc_auc",
        "pixel_average_precision",
        "per_region_overlap",
    ]
].round(3)

# %%
# Average precision is the fraction of defective pixels among the pixels with the highest values. It
# differs more between kinds of defect than the ROC AUC of pixels, which is high even where the map
# is poor: most pixels are normal and far from any defect, and are easy to rank.
#
# The map of a strong defect extends beyond its edge, and the normal pixels there have higher values
# than a faint defect in another image. This is the fraction of the highest 2% of normal pixels that
# lie within five pixels of a defect:

defects, their_maps = data.masks_test[~is_good], maps[~is_good]
distances = np.stack([ndimage.distance_transform_edt(~mask) for mask in defects])
limit = np.quantile(maps[~data.masks_test], 0.98)
n_highest = np.sum(maps[~data.masks_test] >= limit)
print(f"{np.sum((their_maps >= limit) & (distances > 0) & (distances <= 5)) / n_highest:.0%}")

# %%
# The figure shows a foreign body and a smear, and their maps on the same logarithmic scale. Red is
# the outline of the true mask. White is the outline of the pixels whose value is in the highest 2%
# of normal pixels.

shown = [list(data.kinds_test).index(kind) for kind in ("foreign", "smear")]
figure, axes = plt.subplots(
    1, 4, figsize=(9, 2.5), layout="constrained", subplot_kw={"xticks": [], "yticks": []}
)
for (left, right), index in zip(axes.reshape(2, 2), shown, strict=True):
    left.imshow(data.X_test[index], cmap="gray", vmin=0, vmax=255)
    right.imshow(maps[index], cmap="inferno", norm="log", vmin=limit / 100, vmax=10 * limit)
    right.contour(maps[index], levels=[limit], colors="white", linewidths=1)
    for axis in (left, right):
        axis.contour(data.masks_test[index], levels=[0.5], colors="red", linewidths=1.5)
    left.set_title(data.kinds_test[index])
    right.set_title("anomaly map")
plt.show()

# %%
# More maps than fit into memory
# ------------------------------
# Instead of two arrays, metrics accept an iterator of pairs (mask, map). With ``max_bins`` they
# keep histograms of at most this many values instead of the maps. ``pixel_error`` is an upper bound
# on the resulting error of the pixel metrics.


def score_batch_by_batch():
    """Yield pairs of mask and map, with one batch of maps in memory at a time."""
    batches = detector.detect_batches(data.X_test)
    maps = (anomaly_map for batch in batches for anomaly_map in batch.anomaly_map)
    yield from zip(data.masks_test, maps, strict=True)


streamed = image_report(score_batch_by_batch(), max_bins=100_000)
table = pd.DataFrame({"all pixels": reports.loc["all"], "100,000 bins": streamed})
table.loc[["pixel_roc_auc", "pixel_average_precision", "per_region_overlap", "pixel_error"]]

# %%
# The threshold with the best F1
# ------------------------------
# :func:`~skanomaly.metrics.f1_max_score` takes labels and scores as in scikit-learn's outlier
# detection: 1 is normal, -1 is anomalous, and higher scores are more normal. Images whose score is
# *below* the returned threshold are anomalous, as with ``offset_``.

best, threshold = f1_max_score(data.y_test, scores, return_threshold=True)
labels = np.where(scores < threshold, -1, 1)
print(f"best F1: {best:.3f}")
print(f"F1 of the labels: {f1_score(data.y_test, labels, pos_label=-1):.3f}")

# %%
# This threshold was chosen with the test labels, so that the F1 of new images will be lower.
# :ref:`sphx_glr_auto_examples_plot_thresholds_with_guarantee.py` sets a threshold without labels.
#
# A warning is issued if the scores appear to have the wrong sign:

with warnings.catch_warnings(record=True, action="always") as caught:
    f1_max_score(data.y_test, -scores)
print(caught[0].message)

# %%
# Scorers for model selection
# ---------------------------
# :func:`~skanomaly.metrics.make_pixel_scorer` makes a scikit-learn scorer of a pixel metric.
# :ref:`sphx_glr_auto_examples_plot_grid_search_corruption.py` uses one in ``GridSearchCV``.

scorer = make_pixel_scorer(per_region_overlap_score, max_fpr=0.3)
print(f"{scorer(detector, data.X_test, masks=data.masks_test):.3f}")
