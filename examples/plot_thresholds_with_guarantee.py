"""
===========================
Thresholds with a guarantee
===========================

Set a threshold without any anomalous image, for a rate of false alarms that you choose.
:class:`~skanomaly.model_selection.ConformalDetector` takes the threshold from normal images that
were held out from training. The probability that a new normal image is flagged is then at most
``alpha``, for any detector and however short its training.
"""

# %%
# Train and calibrate
# -------------------
# :func:`~skanomaly.datasets.make_bar_images` draws independent images of a bright bar. Of 260
# normal images, 200 are held out for calibration, and the detector is trained on the other 60. It
# has its own threshold too: with ``contamination=0.05``, one in twenty of its *training* images
# falls below it. Both thresholds are now applied to new images.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import ShuffleSplit

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_bar_images, make_circle, make_textured_surfaces
from skanomaly.model_selection import ConformalDetector
from skanomaly.networks import ConvolutionalAutoencoder

bars = make_bar_images(n_train=260, n_test=1000, noise=0.05, random_state=0)
normal, damaged = np.split(bars.X_test, 2)

detector = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16),
    max_iter=300,
    contamination=0.05,
    random_state=0,
)
calibrated = ConformalDetector(detector, alpha=0.05, calibration_size=200, random_state=0)
calibrated.fit(bars.X_train)
trained = calibrated.detectors_[0]


def fraction_flagged(detector, images):
    """Fraction of the images that are predicted to be anomalous."""
    return np.mean(detector.predict(images) == -1)


pd.DataFrame(
    {
        name: {
            "false alarms": fraction_flagged(judge, normal),
            "damaged bars found": fraction_flagged(judge, damaged),
        }
        for name, judge in {"contamination=0.05": trained, "alpha=0.05": calibrated}.items()
    }
).T.round(3)

# %%
# The network reconstructs its training images better than new ones, so that more than one in twenty
# new normal images fall below its own threshold. The calibrated threshold is lower. It gives fewer
# false alarms, and finds fewer damaged bars. If you have too few normal images to hold some out,
# ``cv`` uses all of them for training and for calibration, with a weaker guarantee: see
# :ref:`thresholds`.
#
# p-values
# --------
# The p-value of an image is the fraction of calibration images, counting the image itself, that
# score as low as it does or lower. An image is flagged if its p-value is at most ``alpha``. The
# p-values of new normal images are uniformly distributed, and those of damaged images are small.
#
# The guarantee holds on average over calibration sets. With one calibration set, the rate of false
# alarms varies around ``alpha``. To show how much, the trained network is calibrated ten times with
# 200 images each. scikit-learn's ``FrozenEstimator`` keeps it from being trained again.

alphas = np.arange(0.01, 0.21, 0.01)
rates = []
for seed in range(1, 11):
    others = make_bar_images(n_train=600, n_test=1, noise=0.05, random_state=seed).X_train
    frozen = ConformalDetector(FrozenEstimator(trained)).fit(others[:200])
    rates.append(np.mean(frozen.p_values(others[200:]) <= alphas[:, np.newaxis], axis=1))

known = np.delete(bars.X_train, calibrated.calibration_indices_[0], axis=0)
thresholds = np.quantile(trained.score_samples(known), alphas)
own_rates = np.mean(trained.score_samples(normal) < thresholds[:, np.newaxis], axis=1)

figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), layout="constrained")
bins = np.linspace(0, 1, 21)
axes[0].hist(calibrated.p_values(normal), bins, label="normal bars")
axes[0].hist(calibrated.p_values(damaged), bins, label="damaged bars", alpha=0.6)
axes[0].set(xlabel="p-value", ylabel="images", yscale="log")
axes[0].legend()
axes[1].plot(alphas, own_rates, color="tab:red", label="quantile of the training scores")
axes[1].plot(alphas, np.transpose(rates), color="tab:blue", alpha=0.2)
axes[1].plot(alphas, np.mean(rates, axis=0), color="tab:blue", label="calibrated, mean of ten")
axes[1].plot(alphas, alphas, color="black", linestyle="--", label="nominal rate")
axes[1].set(xlabel="alpha or contamination", ylabel="fraction of false alarms")
axes[1].legend()
plt.show()

# %%
# On the left, the p-values of both kinds of image. On the right, the rate of false alarms: each
# pale line is one calibration set.
#
# Any detector with ``score_samples`` can be calibrated, such as those of scikit-learn:

waves = make_circle(random_state=0)
forest = ConformalDetector(IsolationForest(random_state=0), alpha=0.05, random_state=0)
forest.fit(waves.X_train)
print(f"false alarms: {fraction_flagged(forest, waves.X_test[waves.y_test == 1]):.3f}")
print(f"damaged rows found: {fraction_flagged(forest, waves.X_test[waves.y_test == -1]):.3f}")

# %%
# When the guarantee does not hold
# --------------------------------
# Calibration images must come from the same distribution as new images, and the detector must not
# have been trained on them. Crops of one photograph overlap. Below, a detector is trained on 400
# crops of one half of a brick wall, and calibrated in two ways: on other crops of the same half,
# most of whose pixels it was trained on, and on tiles of the other half. The second is repeated for
# ten random splits of the tiles into calibration and test tiles.

wall = make_textured_surfaces("brick", image_size=32, n_train=700, n_defects=128, random_state=1)
train, crops, new_crops = np.split(wall.X_train, [400, 550])
tiles, defective = np.split(wall.X_test, 2)
frozen = FrozenEstimator(detector.set_params(max_iter=240).fit(train))

by_crops = ConformalDetector(frozen, alpha=0.05).fit(crops)
fractions = []
for some, rest in ShuffleSplit(10, test_size=0.5, random_state=0).split(tiles):
    by_tiles = ConformalDetector(frozen, alpha=0.05).fit(tiles[some])
    fractions.append([fraction_flagged(by_tiles, images[rest]) for images in (tiles, defective)])

print(
    f"calibrated on crops, false alarms on new crops: {fraction_flagged(by_crops, new_crops):.3f}"
)
pd.DataFrame(
    {
        "calibrated on crops": [
            fraction_flagged(by_crops, images) for images in (tiles, defective)
        ],
        "calibrated on tiles": np.mean(fractions, axis=0),
    },
    index=["false alarms on tiles", "defects found"],
).T.round(3)

# %%
# Calibrated on crops, the rate of false alarms is below ``alpha`` on other crops of the same half,
# and far above it on the other half. Calibrated on tiles, it is below ``alpha`` there as well. So
# calibrate on images that are like those to come and were not used for training. They need not
# include any defect.
#
# Predicted masks
# ---------------
# ``predict_mask`` has its own threshold with the same guarantee: the probability that any pixel of
# a new normal image is marked is at most ``alpha``. The figure shows the two good tiles with the
# lowest scores and one defect of each kind, none of them used for training or calibration. The
# lower rows are the masks predicted by the two calibrations, with the outline of the true mask in
# red.

last = rest[np.argsort(frozen.score_samples(tiles[rest]))]
kinds = wall.kinds_test[len(tiles) :][rest]
shown = [*last[:2], *(len(tiles) + rest[kinds == kind][0] for kind in np.unique(kinds))]
rows = {
    "image": wall.X_test[shown],
    "on crops": by_crops.predict_mask(wall.X_test[shown]),
    "on tiles": by_tiles.predict_mask(wall.X_test[shown]),
}
figure, axes = plt.subplots(
    3, 7, figsize=(9.5, 4.3), layout="constrained", subplot_kw={"xticks": [], "yticks": []}
)
for line, (name, images) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name)
    for axis, image, index in zip(line, images, shown, strict=True):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255 if name == "image" else 1)
        if wall.masks_test[index].any():
            axis.contour(wall.masks_test[index], levels=[0.5], colors="red", linewidths=1.5)
for axis, index in zip(axes[0], shown, strict=True):
    axis.set_title(wall.kinds_test[index])
plt.show()

# sphinx_gallery_thumbnail_number = 2
