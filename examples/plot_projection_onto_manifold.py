"""
========================
Detectors as projections
========================

Compare what the three detectors learn with the exact answer. Normal data lie near a manifold of few
dimensions, and an ideal detector maps any input to the normal one that belongs to it. Here the
manifolds are known, so that the self-supervised detector, the denoising and the contractive
autoencoder can be compared with the true projection.
"""

# %%
# Points near a circle
# --------------------
# :func:`~skanomaly.datasets.make_circle` draws points near a circle, here in the plane. In the
# figure, an arrow starts at each point x of a grid and points to f(x), the reconstruction of x, at
# 0.4 of the true length. The colour is the distance of f(x) from the circle.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_bar_images, make_circle
from skanomaly.metrics import projection_report
from skanomaly.networks import ConvolutionalAutoencoder

plane = make_circle(n_features=2, noise=0.05, random_state=0)
training = {"max_iter": 1000, "batch_size": 64, "random_state": 0}
detectors = {
    "self-supervised": SelfSupervisedAutoencoderDetector(mask_weight=0.5, **training),
    "denoising": DenoisingAE(noise=0.3, **training),
    "contractive": ContractiveAE(penalty_weight=0.1, **training),
}
horizontal, vertical = np.meshgrid(*2 * [np.linspace(-1.4, 1.4, 17)])
grid = np.column_stack([horizontal.ravel(), vertical.ravel()])
curve = plane.projection.embed(np.linspace(0, 2 * np.pi, 200))

figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained", sharey=True)
for axis, (name, detector) in zip(axes, detectors.items(), strict=True):
    repaired = detector.fit(plane.X_train).reconstruct(grid)
    left = np.linalg.norm(repaired - plane.projection(repaired), axis=1)
    axis.plot(*curve.T, color="black", linewidth=1)
    arrows = axis.quiver(
        *grid.T,
        *(0.4 * (repaired - grid)).T,
        left,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.005,
        cmap="viridis_r",
        clim=(0, 0.5),
    )
    axis.set(title=name, aspect="equal")
figure.colorbar(arrows, ax=axes, label="distance of f(x) to the curve", shrink=0.9)
plt.show()

# %%
# The arrows of both baselines are orthogonal to the circle, as those of the true projection are.
# The self-supervised detector learns to restore damaged coordinates from the others. With only two
# coordinates, one of them allows two points of the circle, on opposite sides, so that the repair is
# ambiguous. In a plane, the baselines are better projections.
#
# A damaged section
# -----------------
# The result is different with more coordinates. These rows are sine waves of 16 samples, whose
# phase is the position on a circle. In the test rows, a section of four samples is replaced.
# :func:`~skanomaly.metrics.projection_report` compares f with the true projection P. x is a normal
# row and x̂ is the same row with the damaged section.

fields = {
    "normal_error": "f(x) - x, normal",
    "repair_error": "f(x̂) - x, damaged section",
    "idempotence_corrupted": "idempotence",
    "tangent_share": "tangent share",
    "projection_distance_corrupted": "f(x̂) - P(x̂)",
    "restoration_distance": "f(x̂) - P(x)",
    "restoration_distance_of_projection": "P(x̂) - P(x)",
}


def compare(data, detectors, **options):
    """Report on damaged rows, with one line per detector."""
    damaged = data.y_test == -1
    lines = {}
    for name, detector in detectors.items():
        report = projection_report(
            detector.fit(data.X_train),
            data.X_test_clean[damaged],
            corrupted=data.X_test[damaged],
            true_projection=data.projection,
            **options,
        )
        lines[name] = {title: report.to_dict()[field] for field, title in fields.items()}
    return pd.DataFrame(lines).T


waves = make_circle(random_state=0)
detectors["denoising"].set_params(noise=1.0)
for detector in detectors.values():
    detector.set_params(max_iter=1500)
compare(waves, detectors, tangent_dimension=1).round(3)

# %%
# The self-supervised detector comes closest to P(x), the undamaged row. It is even closer than
# P(x̂), the point of the circle nearest to the damaged row: the damage moves the nearest point, by
# the distance in the last column. The denoising autoencoder comes closest to P(x̂).
#
# Images of bars
# --------------
# :func:`~skanomaly.datasets.make_bar_images` makes images of one bar at any angle and offset, a
# manifold of two dimensions. The bar that is nearest to a damaged image is nearly always the
# original one, so that P(x̂) and P(x) hardly differ. All detectors get the same network and the
# same number of training steps.

bars = make_bar_images(n_test=40, random_state=0)
network = partial(ConvolutionalAutoencoder, convex=False, width=16)
training = {"network": network, "max_iter": 200, "random_state": 0}
detectors = {
    "self-supervised": SelfSupervisedAutoencoderDetector(mask_weight=0.5, **training),
    "denoising": DenoisingAE(**training),
    "contractive": ContractiveAE(**training),
}
compare(bars, detectors, tangent_dimension=2, n_tangent_spaces=3).round(3)

# %%
# After this short training, all three come about equally close to P(x). The figure shows five
# damaged images, their reconstructions by each detector, and the nearest bar.

shown = np.flatnonzero(bars.y_test == -1)[:5]
columns = {
    "damaged": bars.X_test[shown],
    **{name: detector.reconstruct(bars.X_test[shown]) for name, detector in detectors.items()},
    "nearest bar": bars.projection(bars.X_test[shown]),
}
figure, axes = plt.subplots(
    5, len(shown), figsize=(7, 7), layout="constrained", subplot_kw={"xticks": [], "yticks": []}
)
for row, (name, images) in zip(axes, columns.items(), strict=True):
    row[0].set_ylabel(name)
    for axis, image in zip(row, images, strict=True):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
plt.show()

# sphinx_gallery_thumbnail_number = 2
