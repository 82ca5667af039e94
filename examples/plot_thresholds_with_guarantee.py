"""
===========================
Thresholds with a guarantee
===========================

Where to draw the line between normal and anomalous? Without anomalies to look at, one can still
say how many false alarms are acceptable. :class:`~skanomaly.model_selection.ConformalDetector`
takes the threshold from normal images that were kept from training. The chance that a new normal
image is flagged is then at most ``alpha``, whatever the detector and however little it has learned.
"""

# %%
# Trained and held-out images
# ---------------------------
# :func:`~skanomaly.datasets.make_bar_images` draws images of a bright bar, each independent of all
# others. Of 260 good ones, 200 are held out to calibrate, and the detector is trained on the other
# 60. It has a threshold of its own as well: with ``contamination=0.05``, one in twenty of the
# images that it was *trained* on falls beyond it. Both now judge new bars.

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
    """Fraction of the images that are called anomalous."""
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
# The network knows the few bars that it was trained on better than any others, and new ones fall
# beyond its own threshold more often than one in twenty. The calibrated threshold is about
# right. It also finds fewer damaged bars, which is the price of fewer false alarms: scores and maps
# are the same. Where good images are too few to hold some out, ``cv`` makes all of them serve to
# train and to calibrate, with a weaker guarantee: see :ref:`thresholds`.
#
# p-values
# --------
# The p-value of an image is the fraction of calibration images, itself counted among them, that
# look as anomalous as it does. Those of new normal images are spread evenly, so that one in twenty
# is at most 0.05, and those of damaged ones are small.
#
# The chance is one over the drawing of the calibration images, too. With one set of them, the rate
# of false alarms may be somewhat above ``alpha`` or below. To see how much, the network is
# calibrated twenty times, on 200 images each. It is not trained again: scikit-learn's
# ``FrozenEstimator`` keeps a detector as it is. Nor does another ``alpha`` take another
# calibration: flagged are images with a p-value up to ``alpha``.

alphas = np.arange(0.01, 0.21, 0.01)
rates = []
for seed in range(1, 21):
    others = make_bar_images(n_train=700, n_test=1, noise=0.05, random_state=seed).X_train
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
axes[1].plot(alphas, own_rates, color="tab:red", label="fraction of the training images")
axes[1].plot(alphas, np.transpose(rates), color="tab:blue", alpha=0.2)
axes[1].plot(alphas, np.mean(rates, axis=0), color="tab:blue", label="calibrated, mean of twenty")
axes[1].plot(alphas, alphas, color="black", linestyle="--", label="as many as asked for")
axes[1].set(xlabel="alpha, or contamination", ylabel="false alarms")
axes[1].legend()
plt.show()

# %%
# Any detector with ``score_samples`` will do, those of scikit-learn too:

waves = make_circle(random_state=0)
forest = ConformalDetector(IsolationForest(random_state=0), alpha=0.05, random_state=0)
forest.fit(waves.X_train)
print(f"false alarms: {fraction_flagged(forest, waves.X_test[waves.y_test == 1]):.3f}")
print(f"damaged rows found: {fraction_flagged(forest, waves.X_test[waves.y_test == -1]):.3f}")

# %%
# Where the guarantee does not hold
# ---------------------------------
# The images to calibrate on must be to the detector what new ones will be. Crops of one photograph
# overlap: below, 400 crops of one half of a brick wall train, and others of the same half, of which
# the detector has seen most pixels, calibrate. Then come tiles of the other half, where no brick is
# known. For comparison the same detector is calibrated on half of those tiles and judged on the
# rest, on average over twenty ways to split them.

wall = make_textured_surfaces("brick", image_size=32, n_train=700, n_defects=128, random_state=1)
train, crops, new_crops = np.split(wall.X_train, [400, 550])
tiles, defective = np.split(wall.X_test, 2)
frozen = FrozenEstimator(detector.set_params(max_iter=240).fit(train))

by_crops = ConformalDetector(frozen, alpha=0.05).fit(crops)
fractions = []
for some, rest in ShuffleSplit(20, test_size=0.5, random_state=0).split(tiles):
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
# On new crops of the known half the rate is near ``alpha``. On the other half it is far above, for
# there the detector meets what it has not learned; nothing in the calibration images could tell.
# Images of the kind that is to be judged, kept from training, set it right. No image of a defect is
# needed for that.
#
# Marked pixels
# -------------
# ``predict_mask`` has a threshold of its own, with the same guarantee: the chance that anything at
# all is marked on a new normal image is at most ``alpha``. First the two good tiles with the lowest
# scores, then a defect of each kind, all of them unknown to the detector and to its calibration on
# tiles. Red is the outline of the true mask.

last = rest[np.argsort(frozen.score_samples(tiles[rest]))]
kinds = wall.kinds_test[len(tiles) :][rest]
shown = [*last[:2], *(len(tiles) + rest[kinds == kind][0] for kind in np.unique(kinds))]
rows = {
    "image": wall.X_test[shown],
    "by crops": by_crops.predict_mask(wall.X_test[shown]),
    "by tiles": by_tiles.predict_mask(wall.X_test[shown]),
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
