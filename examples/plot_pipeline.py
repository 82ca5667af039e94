"""
=============================
A pipeline with preprocessing
=============================

Use a detector as the last step of a :class:`sklearn.pipeline.Pipeline`. The preprocessing, here a
correction of uneven light, then becomes part of the model: it is applied to each image that is
scored, and can be tuned and saved with the detector.
"""

# %%
# Even and uneven light
# ---------------------
# The training images are tiles of a brick wall under even light. The test images are lit from one
# side: each image gets darker in a random direction.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import ndimage
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.inspection import AnomalyMapDisplay
from skanomaly.networks import ConvolutionalAutoencoder


def light_from_one_side(images, seed):
    """Darken each image (h, w), uint8, in a random direction, to a third at most."""
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, (len(images), 1, 1))
    rows, columns = np.indices(images.shape[1:]) / images.shape[1] - 0.5
    slope = np.sin(angles) * rows + np.cos(angles) * columns
    return np.rint(images * (0.67 + 0.45 * slope)).clip(0, 255).astype(np.uint8)


data = make_textured_surfaces("brick", random_state=0)
X_test = light_from_one_side(data.X_test, seed=0)

# %%
# Detector and pipeline
# ---------------------
# The preprocessing step divides each image by a blurred copy of itself, which approximates the
# light. ``FunctionTransformer`` makes a transformer of the function. The result is float with
# values around 1, which the detector standardizes.


def even_out(images, size):
    """Divide images (n, h, w) by their light, estimated with a Gaussian filter."""
    light = ndimage.gaussian_filter(images.astype(np.float32), (0, size, size), mode="nearest")
    return images / (light + 1)


detector = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16),
    max_iter=300,
    crop_size=32,
    augmentation=["flip_horizontal", "flip_vertical"],
    random_state=0,
)
pipeline = Pipeline(
    [
        ("even_out", FunctionTransformer(even_out, kw_args={"size": 8})),
        ("detector", detector),
    ]
)
aucs = {}
for name, model in {"detector": detector, "pipeline": pipeline}.items():
    model.fit(data.X_train)
    aucs[name] = {
        "even light": roc_auc_score(data.y_test, model.score_samples(data.X_test)),
        "light from one side": roc_auc_score(data.y_test, model.score_samples(X_test)),
    }
pd.DataFrame(aucs).T.round(3)

# %%
# With uneven light, the ROC AUC of the detector alone drops, since it takes darker regions for
# defects. That of the pipeline hardly changes.
#
# Show the maps
# -------------
# A display accepts the pipeline. It draws the input images, and the maps and the threshold of the
# last step. Solid lines outline the pixels above the threshold, dashed lines the true masks. The
# smear is missed after this short training.

kinds = ["good", "crack", "stain", "smear", "hole", "foreign"]
shown = [list(data.kinds_test).index(kind) for kind in kinds]
AnomalyMapDisplay.from_estimator(pipeline, X_test[shown], masks=data.masks_test[shown], names=kinds)
plt.show()

# %%
# Tune
# ----
# The prefixes ``even_out__`` and ``detector__`` give access to the parameters of both steps, for
# instance in a grid search:

clone(pipeline).set_params(
    even_out__kw_args={"size": 4},
    detector__corruption__radius=(0.02, 0.2),
)

# %%
# The pipeline can replace the detector elsewhere too, for instance in ``GridSearchCV`` with
# :class:`~skanomaly.model_selection.NormalOnlySplit`, and in
# :class:`~skanomaly.model_selection.ConformalDetector`, which sets a threshold.
