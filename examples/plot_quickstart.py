"""
==========
Quickstart
==========

Train a detector on good images, then find which new images have a defect, and where. This takes
about half a minute on one core and downloads nothing.
"""

# %%
# Load images
# -----------
# :func:`~skanomaly.datasets.make_textured_surfaces` cuts tiles out of a photograph of a brick wall.
# A hundred tiles of one half of the wall are for training. The test tiles come from the other half,
# some of them with artificial defects. Labels follow scikit-learn's outlier detection: 1 is normal
# and -1 is anomalous.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.inspection import ScoreHistogramDisplay
from skanomaly.metrics import pixel_roc_auc_score

data = make_textured_surfaces("brick", random_state=0)
print("training images:", data.X_train.shape, data.X_train.dtype)
print("test images:    ", data.X_test.shape, "of which normal:", np.sum(data.y_test == 1))

# %%
# Fit
# ---
# :class:`~skanomaly.SelfSupervisedAutoencoderDetector` takes the images as they are. It adds random
# damage to them and trains a network to repair it. ``max_iter`` is the number of training steps:
# the default is 1000 to 3000, and this example uses fewer to be quick. ``augmentation`` adds
# mirrored copies, since a mirrored brick wall looks normal as well.

detector = SelfSupervisedAutoencoderDetector(
    max_iter=250, augmentation=["flip_horizontal", "flip_vertical"], random_state=0
)
detector.fit(data.X_train)

# %%
# Score
# -----
# ``detect`` runs the network once and returns the results of ``score_samples``,
# ``decision_function``, ``predict``, ``anomaly_map`` and ``predict_mask``. The score is one number
# per image, higher for more normal images. The area under the ROC curve is the probability that a
# good image scores higher than one with a defect.

found = detector.detect(data.X_test)
print(f"ROC AUC of images: {roc_auc_score(data.y_test, found.score_samples):.3f}")

# %%
# The anomaly map is one number per pixel, higher for more anomalous pixels. It is compared with the
# true masks:

print(f"ROC AUC of pixels: {pixel_roc_auc_score(data.masks_test, found.anomaly_map):.3f}")

# %%
# Show the maps
# -------------
# ``reconstruct`` returns the image without its defect, as far as the network can tell. The anomaly
# map is high where image and reconstruction differ. ``predict_mask`` is True where the map is above
# ``map_threshold_``, the white line in the colour bar. The figure shows the first good test image
# and the first one of each kind of defect, with the outline of the true mask in red.

kinds = ["good", "crack", "stain", "smear", "hole", "foreign"]
shown = [list(data.kinds_test).index(kind) for kind in kinds]
rows = {
    "input": data.X_test[shown],
    "reconstruction": detector.reconstruct(data.X_test[shown]),
    "anomaly map": found.anomaly_map[shown],
    "predicted mask": found.predict_mask[shown],
}
styles = {
    "input": {"cmap": "gray", "vmin": 0, "vmax": 255},
    "reconstruction": {"cmap": "gray", "vmin": 0, "vmax": 255},
    "anomaly map": {"cmap": "inferno", "vmin": 0, "vmax": 4 * detector.map_threshold_},
    "predicted mask": {"cmap": "gray", "vmin": 0, "vmax": 1},
}
figure, axes = plt.subplots(
    4, 6, figsize=(9.6, 6.8), layout="constrained", subplot_kw={"xticks": [], "yticks": []}
)
for line, (name, images) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for axis, image in zip(line, images, strict=True):
        axis.imshow(image, **styles[name])
for column, index in enumerate(shown):
    axes[0, column].set_title(kinds[column])
    if data.masks_test[index].any():
        axes[3, column].contour(data.masks_test[index], levels=[0.5], colors="red")
bar = figure.colorbar(axes[2, 0].images[0], ax=axes[2, :], shrink=0.9, pad=0.01, extend="max")
bar.ax.axhline(detector.map_threshold_, color="white", linewidth=2)
plt.show()

# %%
# Decide
# ------
# ``predict`` returns -1 where the score is below ``offset_``. ``fit`` sets this threshold from
# training images that were held out, such that about one normal image in a hundred falls below it;
# a number for ``contamination`` is a fraction of the training images instead. Here more of the good
# test images fall below, because they come from the other half of the wall, which the detector has
# not seen. See :ref:`sphx_glr_auto_examples_plot_thresholds_with_guarantee.py` for a better
# threshold.

is_normal = data.y_test == 1
print(f"defects found: {np.mean(found.predict[~is_normal] == -1):.0%}")
print(f"false alarms:  {np.mean(found.predict[is_normal] == -1):.0%}")

# %%
# The histogram shows what other thresholds would do:

ScoreHistogramDisplay.from_predictions(found.score_samples, data.y_test, threshold=detector.offset_)
plt.show()
