"""
=====================
Evaluate anomaly maps
=====================

How well does a detector find the pixels? Several figures are in use, and they answer different
questions. Here is a case in which two of them disagree; then a detector is measured as a whole, by
kind of defect, and in memory that does not grow with the number of images.
"""

# %%
# Two maps, two verdicts
# ----------------------
# An image with one large and eight small defects, and two maps of it. One map shows the large
# defect and nothing else. The other one shows all nine, but of the large one only the rim.

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
two_maps = {"the large one": noise + 4 * large, "all nine": noise + 4 * (small | rim)}

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
# The area under the ROC curve counts pixels: how often has a defective one a higher value than a
# normal one? The large defect owns most of the defective pixels, and decides. The per-region
# overlap (AUPRO) counts defects: what fraction of each is found, on average over the defects? Eight
# of nine are small.
#
# Both are areas under the same kind of curve. For the per-region overlap, each defective pixel
# weighs one over the size of its region, and the area is taken from the left up to a false-positive
# rate of 0.3 and divided by 0.3. Beyond, in grey, too much of a good image is marked to be of
# use.

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
# A detector, measured
# --------------------
# Crops of a brick wall to learn from, and tiles with artificial defects to find. The network is
# narrow and training short, to be quick.

data = make_textured_surfaces("brick", n_defects=60, random_state=0)
detector = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16), max_iter=150, random_state=0
)
detector.fit(data.X_train)
found = detector.detect(data.X_test)
scores, maps = found.score_samples, found.anomaly_map

# %%
# :func:`~skanomaly.metrics.image_report` computes the usual figures in one pass over the maps:
# those of images from the scores, with anomalous images as the positive class, and those of pixels
# from the maps. Here it does so for all images, and for each kind of defect with the good ones.

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
# Smears, which are blurred regions, are hardest in every column. The ROC AUC of pixels shows it
# least: most pixels are normal and far from any defect, and easy to rank. Average precision asks
# how many of the highest pixels are defective, and differs most from kind to kind.
#
# The per-region overlap of all images is below what its kinds average to. The map of a defect that
# is plain to see spills over its edge, and these normal pixels rank above a faint smear in another
# image. Take the normal pixels with the highest values, one in fifty. So many of them lie within
# five pixels of a defect:

defects, their_maps = data.masks_test[~is_good], maps[~is_good]
distances = np.stack([ndimage.distance_transform_edt(~mask) for mask in defects])
limit = np.quantile(maps[~data.masks_test], 0.98)
n_highest = np.sum(maps[~data.masks_test] >= limit)
print(f"{np.sum((their_maps >= limit) & (distances > 0) & (distances <= 5)) / n_highest:.0%}")

# %%
# A hole and a smear, with their maps on one logarithmic scale. Red is the outline of the true mask,
# and white that of the pixels with such high values.

shown = [list(data.kinds_test).index(kind) for kind in ("hole", "smear")]
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
plt.show()

# %%
# More maps than fit into memory
# ------------------------------
# Instead of two arrays, metrics take an iterator of pairs (mask, map). With ``max_bins`` they count
# at most so many distinct values, of normal and of defective pixels each, and keep no map.
# ``pixel_error`` bounds how far a pixel metric can then be from its exact value.


def score_batch_by_batch():
    """Give pairs of mask and map, and never hold more than a batch of maps."""
    batches = detector.detect_batches(data.X_test)
    maps = (anomaly_map for batch in batches for anomaly_map in batch.anomaly_map)
    yield from zip(data.masks_test, maps, strict=True)


streamed = image_report(score_batch_by_batch(), max_bins=100_000)
table = pd.DataFrame({"all pixels": reports.loc["all"], "100,000 bins": streamed})
table.loc[["pixel_roc_auc", "pixel_average_precision", "per_region_overlap", "pixel_error"]]

# %%
# The threshold with the best F1
# ------------------------------
# :func:`~skanomaly.metrics.f1_max_score` takes labels and scores as they are in scikit-learn's
# outlier detection: 1 is normal, -1 is anomalous, a higher score is more normal. Images *below* the
# threshold that it gives are anomalous, as with ``offset_``.

best, threshold = f1_max_score(data.y_test, scores, return_threshold=True)
labels = np.where(scores < threshold, -1, 1)
print(f"best F1: {best:.3f}")
print(f"F1 of the labels: {f1_score(data.y_test, labels, pos_label=-1):.3f}")

# %%
# The threshold was chosen with the answers in hand: this is the most that one could hope for, and
# not what new images will show.
# :ref:`sphx_glr_auto_examples_plot_thresholds_with_guarantee.py` sets one without any anomaly.
#
# Scores that are higher for more *anomalous* images are turned around. One is told so:

with warnings.catch_warnings(record=True, action="always") as caught:
    f1_max_score(data.y_test, -scores)
print(caught[0].message)

# %%
# In scikit-learn's tools
# -----------------------
# A scorer is made of a pixel metric in a line.
# :ref:`sphx_glr_auto_examples_plot_grid_search_corruption.py` hands one to ``GridSearchCV``.

scorer = make_pixel_scorer(per_region_overlap_score, max_fpr=0.3)
print(f"{scorer(detector, data.X_test, masks=data.masks_test):.3f}")
