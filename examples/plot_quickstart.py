"""
==========
Quickstart
==========

Learn from good images alone what a surface looks like, then find what is wrong on new ones, and
where. This takes half a minute on one core, and nothing is downloaded.
"""

# %%
# Good images to learn from, and others to judge
# ----------------------------------------------
# :func:`~skanomaly.datasets.make_textured_surfaces` cuts a photograph of a brick wall into pieces.
# A hundred of one half train. Tiles of the other half test: each as it is, and with artificial
# defects. As in all of scikit-learn's outlier detection, 1 is normal and -1 is anomalous.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.inspection import ScoreHistogramDisplay
from skanomaly.metrics import pixel_roc_auc_score

data = make_textured_surfaces("brick", random_state=0)
print("to train on:", data.X_train.shape, data.X_train.dtype)
print("to test on: ", data.X_test.shape, "of which normal:", np.sum(data.y_test == 1))

# %%
# Fit
# ---
# :class:`~skanomaly.SelfSupervisedAutoencoderDetector` takes the images as they are. It damages
# them at random and trains a network to repair the damage. ``max_iter`` is the number of training
# steps, which time is proportional to; more of them help, and the default is 3000. This wall looks
# as normal in a mirror, which ``augmentation`` makes use of: a hundred images are few.

detector = SelfSupervisedAutoencoderDetector(
    max_iter=250, augmentation=["flip_horizontal", "flip_vertical"], random_state=0
)
detector.fit(data.X_train)

# %%
# Score
# -----
# ``detect`` computes all that the methods ``score_samples``, ``decision_function``, ``predict``,
# ``anomaly_map`` and ``predict_mask`` return, from one pass through the network. A score is one
# number for each image, higher for a more normal one. The area under the ROC curve is the chance
# that a good image scores higher than one with a defect.

found = detector.detect(data.X_test)
print(f"ROC AUC of images: {roc_auc_score(data.y_test, found.score_samples):.3f}")

# %%
# The map is one number for each pixel, higher for a more anomalous one. Against the true masks:

print(f"ROC AUC of pixels: {pixel_roc_auc_score(data.masks_test, found.anomaly_map):.3f}")

# %%
# Look
# ----
# ``reconstruct`` gives what the network takes for normal: the wall without its defect. Where image
# and reconstruction differ, the anomaly map is high, and ``predict_mask`` is True where the map
# exceeds ``map_threshold_``. Below are the first good test image and the first of each kind of
# defect; red is the outline of the true mask.

kinds = ["good", "crack", "stain", "smear", "hole", "foreign"]
shown = [list(data.kinds_test).index(kind) for kind in kinds]
images = data.X_test[shown]
true_masks = data.masks_test[shown]

reconstructions = detector.reconstruct(images)
shown_maps = found.anomaly_map[shown]
predicted_masks = found.predict_mask[shown]

figure, axes = plt.subplots(4, len(kinds), figsize=(9.6, 6.8), layout="constrained")
for column, kind in enumerate(kinds):
    axes[0, column].imshow(images[column], cmap="gray", vmin=0, vmax=255)
    axes[1, column].imshow(reconstructions[column], cmap="gray", vmin=0, vmax=255)
    heat = axes[2, column].imshow(
        shown_maps[column], cmap="inferno", vmin=0, vmax=4 * detector.map_threshold_
    )
    axes[3, column].imshow(predicted_masks[column], cmap="gray", vmin=0, vmax=1)
    if true_masks[column].any():
        axes[3, column].contour(true_masks[column], levels=[0.5], colors="red", linewidths=1.5)
    axes[0, column].set_title(kind)
for axis, label in zip(
    axes[:, 0], ["input", "reconstruction", "anomaly map", "predicted mask"], strict=True
):
    axis.set_ylabel(label)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
bar = figure.colorbar(heat, ax=axes[2, :], shrink=0.9, pad=0.01)
bar.ax.axhline(detector.map_threshold_, color="white", linewidth=2)
plt.show()

# %%
# The white line in the colour bar is ``map_threshold_``.
#
# Decide
# ------
# ``predict`` compares the scores with ``offset_``, which ``fit`` has set so that about one in a
# hundred normal images should fall below it (``contamination`` takes another fraction). Twenty of
# the hundred images were held out from training to tell how new ones score. More of the good test
# images fall below here: they are of the other half of the wall, which no training image shows. The
# histogram shows what another threshold would do.

labels = found.predict
is_normal = data.y_test == 1
print(f"defects found: {np.mean(labels[~is_normal] == -1):.0%}")
print(f"good images taken for anomalous: {np.mean(labels[is_normal] == -1):.0%}")

ScoreHistogramDisplay.from_predictions(found.score_samples, data.y_test, threshold=detector.offset_)
plt.show()
