"""
======================================
Comparison with classical autoencoders
======================================

Compare :class:`~skanomaly.SelfSupervisedAutoencoderDetector` with two baselines,
:class:`~skanomaly.DenoisingAE` and :class:`~skanomaly.ContractiveAE`, on the same defects. All
three have the same interface, so that one can replace another.
"""

# %%
# Fit the detectors
# -----------------
# The training images are crops of a brick wall, and the test images have artificial defects of five
# kinds. All detectors get the same network and the same number of training steps.
# ``mask_weight=0.5`` makes the repair stronger, which helps in short training.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.metrics import image_report
from skanomaly.networks import ConvolutionalAutoencoder

data = make_textured_surfaces("brick", random_state=0)
parameters = {
    "network": partial(ConvolutionalAutoencoder, width=16),
    "max_iter": 200,
    "crop_size": 32,
    "augmentation": ["flip_horizontal", "flip_vertical"],
    "random_state": 0,
}
detectors = {
    "self-supervised": SelfSupervisedAutoencoderDetector(mask_weight=0.5, **parameters),
    "denoising": DenoisingAE(**parameters),
    "contractive": ContractiveAE(**parameters),
}
found = {name: d.fit(data.X_train).detect(data.X_test) for name, d in detectors.items()}

# %%
# Metrics
# -------
# :func:`~skanomaly.metrics.image_report` computes the usual metrics: those of images from the
# scores, and those of pixels from the maps.

columns = ["image_roc_auc", "image_f1_max", "pixel_roc_auc", "per_region_overlap"]
reports = {
    name: image_report(data.masks_test, result.anomaly_map, scores=result.score_samples)
    for name, result in found.items()
}
pd.DataFrame(reports).T[columns].astype(float).round(3)

# %%
# The ROC AUC of images by kind of defect, against all good images:

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
# Anomaly maps
# ------------
# The figure shows one defect of each kind, its true mask, and the maps of the three detectors. Each
# detector has its own logarithmic colour scale with its ``map_threshold_`` in the middle.

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
# Reconstructions
# ---------------
# The maps are computed from the difference between an image and its reconstruction. A defect that
# is reconstructed too does not show in the map. The contractive autoencoder keeps most of the
# crack, and its map of the crack is the faintest of the three.

rows = {"image": data.X_test, **{name: d.reconstruct(data.X_test) for name, d in detectors.items()}}
figure, axes = plt.subplots(
    len(rows), 5, figsize=(8, 6.5), layout="constrained", subplot_kw={"xticks": [], "yticks": []}
)
for line, (name, images) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for axis, index in zip(line, shown, strict=True):
        axis.imshow(images[index], cmap="gray", vmin=0, vmax=255)
for axis, index in zip(axes[0], shown, strict=True):
    axis.set_title(data.kinds_test[index])
plt.show()
