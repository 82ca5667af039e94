"""
============================================
Detectors as projections onto what is normal
============================================

Normal data fill a small part of the space that they live in: a curve, or a surface of few
dimensions. A detector that works finds, for any input, the normal one that belongs to it. Here the
normal sets are known exactly, so that the three detectors of this library can be compared with the
truth: the self-supervised one, which trains on the repair of damage, and the denoising and the
contractive autoencoder.
"""

# %%
# Arrows onto a circle
# --------------------
# :func:`~skanomaly.datasets.make_circle` draws points near a circle, in the plane if asked for two
# coordinates. From each point x of a grid, an arrow leads a part of the way to f(x), what a
# detector takes for normal. The colour tells how far f(x) still is from the circle.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_bar_images, make_circle
from skanomaly.metrics import projection_report

plane = make_circle(n_features=2, noise=0.05, random_state=0)
training = {"max_iter": 1500, "batch_size": 64, "random_state": 0}
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
# Noise and contraction come from all sides: the arrows of both baselines run square to the circle,
# as those of the true projection do. The self-supervised detector has learned something else, to
# replace one damaged coordinate by what the others tell. Here there is but one other, which leaves
# two points on the circle, one on each side, and does not tell which coordinate was the damaged
# one. Inside the circle the mean of all that is possible is about where the point lies. In a plane
# the baselines are the better projections.
#
# When a part is damaged
# ----------------------
# With more coordinates the difference shows. These rows are waves of 16 samples, whose phase is the
# position on a circle; in the test rows a section of four samples is replaced. Then
# :func:`~skanomaly.metrics.projection_report` compares f with the true projection P.

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
    """Report on damaged rows, a line for each detector."""
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
compare(waves, detectors, tangent_dimension=1).round(3)

# %%
# All three are close to idempotent, and what the baselines take away is orthogonal to the circle,
# where 0.25 would be chance. The denoising autoencoder comes closest to P(x̂), the nearest point of
# the circle to the damaged row. But damage moves the nearest point too, by as much as the last
# column says. The self-supervised detector has learned which samples do not fit the others, leaves
# them out and comes closest to P(x), the point that the row came from: closer than P itself.
#
# Images of bars
# --------------
# :func:`~skanomaly.datasets.make_bar_images` makes images of one soft bar at any angle and offset,
# which is a surface of two dimensions among 1024. The nearest bar to a damaged image is almost
# always the right one, so that P(x̂) and P(x) hardly differ. All three detectors have the same
# network and get the same number of training steps.

bars = make_bar_images(image_size=32, n_test=40, random_state=0)
training = {"network": "sdc", "max_iter": 300, "random_state": 0}
detectors = {
    "self-supervised": SelfSupervisedAutoencoderDetector(mask_weight=0.5, **training),
    "denoising": DenoisingAE(**training),
    "contractive": ContractiveAE(**training),
}
compare(bars, detectors, tangent_dimension=2, n_tangent_spaces=3).round(3)

# %%
# Five damaged images, what each detector makes of them, and the nearest bar:

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
