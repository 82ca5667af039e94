"""
============================
Three detectors, one problem
============================

The denoising and the contractive autoencoder are the classical ways to teach a network what is
normal. They stand in this library for comparison, with the same interface as the main detector:
whatever takes one takes the others. Here all three look for the same defects.
"""

# %%
# Fit them alike
# --------------
# Crops of a brick wall to learn from, and others with artificial defects of five kinds to find. The
# detectors get the same few training steps.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.metrics import image_report

data = make_textured_surfaces("brick", random_state=0)
detectors = {
    "self-supervised": SelfSupervisedAutoencoderDetector(max_iter=150, random_state=0),
    "denoising": DenoisingAE(max_iter=150, random_state=0),
    "contractive": ContractiveAE(max_iter=150, random_state=0),
}
found = {name: d.fit(data.X_train).detect(data.X_test) for name, d in detectors.items()}

# %%
# How well they do
# ----------------
# :func:`~skanomaly.metrics.image_report` computes the usual figures: those of images from the
# scores, and those of pixels from the maps.

columns = ["image_roc_auc", "image_f1_max", "pixel_roc_auc", "per_region_overlap"]
reports = {
    name: image_report(data.masks_test, result.anomaly_map, scores=result.score_samples)
    for name, result in found.items()
}
pd.DataFrame(reports).T[columns].astype(float).round(3)

# %%
# The area under the ROC curve by kind of defect, each against all good images:

is_good = data.y_test == 1
by_kind = {
    name: {
        kind: roc_auc_score(
            data.y_test[is_good | (data.kinds_test == kind)],
            result.score_samples[is_good | (data.kinds_test == kind)],
        )
        for kind in np.unique(data.kinds_test[~is_good])
    }
    for name, result in found.items()
}
pd.DataFrame(by_kind).T.round(3)

# %%
# Where they look
# ---------------
# One defect of each kind. Each detector has a logarithmic scale of its own, around its threshold of
# maps: what is above the threshold is in the lighter half.

shown = [
    np.flatnonzero(data.kinds_test == kind)[0] for kind in np.unique(data.kinds_test[~is_good])
]
figure, axes = plt.subplots(
    2 + len(found), 5, figsize=(8, 8), layout="constrained", subplot_kw={"xticks": [], "yticks": []}
)
for line, (name, images) in zip(
    axes, {"image": data.X_test, "defect": data.masks_test}.items(), strict=False
):
    line[0].set_ylabel(name)
    for axis, index in zip(line, shown, strict=True):
        axis.imshow(images[index], cmap="gray", vmin=0, vmax=images[shown].max())
for line, (name, result) in zip(axes[2:], found.items(), strict=True):
    line[0].set_ylabel(name)
    limit = detectors[name].map_threshold_
    for axis, index in zip(line, shown, strict=True):
        values = result.anomaly_map[index].clip(min=limit / 100)
        axis.imshow(values, cmap="magma", norm="log", vmin=limit / 100, vmax=100 * limit)
for axis, index in zip(axes[0], shown, strict=True):
    axis.set_title(data.kinds_test[index])
plt.show()

# %%
# What they take for normal
# -------------------------
# The maps come from the difference between an image and its reconstruction. A baseline is never
# told that a patch has to go: it may reconstruct the defect itself, and then nothing shows.

rows = {"image": data.X_test, **{name: d.reconstruct(data.X_test) for name, d in detectors.items()}}
figure, axes = plt.subplots(
    len(rows), 5, figsize=(8, 6.5), layout="constrained", subplot_kw={"xticks": [], "yticks": []}
)
for line, (name, images) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for axis, index in zip(line, shown, strict=True):
        axis.imshow(images[index], cmap="gray", vmin=0, vmax=255)
plt.show()
