"""
=====================
Large images by tiles
=====================

Learn from small pieces, and judge an image of any size. Where a side is longer than 1792 pixels,
the image is taken apart into overlapping tiles and the map put together again, so that memory
stays small and no seam is seen.
"""

# %%
# Small pieces to learn from
# --------------------------
# A cloth is woven, in a drawing that can be made as large as one likes. A hundred pieces of 64 x 64
# pixels, cut out of a good one, are what the detector learns from.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import ndimage

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.inspection import AnomalyMapDisplay
from skanomaly.networks import ConvolutionalAutoencoder


def weave(height, width, seed):
    """Draw cloth, (height, width) as uint8: two sets of threads that wander a little."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((height, width))
    wander = 12 * ndimage.gaussian_filter(rng.normal(size=(2, height, width)), (0, 12, 12))
    warp, weft = np.sin((columns + wander[0]) * 0.8), np.sin((rows + wander[1]) * 0.8)
    grain = ndimage.gaussian_filter(rng.normal(size=(height, width)), 0.7)
    return np.clip(125 + 28 * warp + 28 * weft + 14 * warp * weft + 14 * grain, 0, 255).astype("u1")


cloth = weave(512, 512, seed=0)
rng = np.random.default_rng(0)
pieces = np.stack([cloth[r : r + 64, c : c + 64] for r, c in rng.integers(0, 448, (100, 2))])

detector = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16),
    standardization="dataset",
    max_iter=150,
    crop_size=32,
    random_state=0,
)
detector.fit(pieces)
print("learned from", pieces.shape)

# %%
# A large image to judge
# ----------------------
# Another cloth of 1000 x 2400 pixels has a stain, a slub where a thread is too thick, and a patch
# that was darned: there the threads run askew.

good = weave(1000, 2400, seed=1)
rows, columns = np.indices(good.shape)
slub = (np.abs(rows - 300) < 7) & (columns > 400) & (columns < 800)
stain = np.hypot((rows - 700) / 60, (columns - 1400) / 100) < 1
patch = (np.abs(rows - 350) < 50) & (np.abs(columns - 2000) < 50)
mask = slub | stain | patch

askew = ndimage.rotate(good[:400, :400], 30, reshape=False)[150:250, 150:250]
damaged = good.copy()
damaged[slub] = damaged[slub] // 2 + 90
damaged[stain] = 0.7 * damaged[stain]
np.place(damaged, patch, askew)
print(f"{mask.mean():.1%} of the pixels are damaged")

# %%
# ``anomaly_map`` takes it as it takes any other image. One more axis makes it a list of one.

maps = detector.anomaly_map(damaged[np.newaxis])
print(maps.shape)

# %%
# A threshold for large images
# ----------------------------
# ``map_threshold_`` is meant to be exceeded somewhere in about one in a hundred good images *of the
# size of those in* ``fit``. This image is as large as 586 of them, and has far fewer borders for
# its size. What is normal in a large image is told by a large image: here the highest value in
# the cloth before the damage. With several good ones, ``calibrate`` sets both thresholds by them.

limit = detector.anomaly_map(good[np.newaxis]).max()
far = ndimage.distance_transform_edt(~mask) > 40
pd.DataFrame(
    {
        name: {
            "threshold": threshold,
            "damage marked": np.mean(maps[0][mask] > threshold),
            "spots marked far from it": ndimage.label((maps[0] > threshold) & far)[1],
        }
        for name, threshold in {"pieces": detector.map_threshold_, "large image": limit}.items()
    }
).T.round(3)

# %%
# The two come out near each other here: the automatic threshold of the pieces is a cautious one, as
# few of them were held out. Only the second one knows what an image of this size holds when nothing
# is wrong. Neither marks much that lies more than 40 pixels away from the damage.

figure, axis = plt.subplots(figsize=(7, 7), layout="constrained")
AnomalyMapDisplay.from_predictions(
    damaged[np.newaxis], maps, map_threshold=limit, masks=mask[np.newaxis], ax=axis
)
plt.show()

# %%
# No seams
# --------
# Tiles overlap as far as the network and the filters of the map look, and only what lies inside is
# kept. Below is the map of a part of the image, which is just small enough to be looked at as a
# whole, against the same part of the map above. Then the image is cut into four pieces of 600
# pixels by hand and without overlap.

part = slice(400, 2192)
whole = detector.anomaly_map(damaged[np.newaxis, :, part])[0]
inside = slice(200, -200)  # the part has borders of its own
difference = np.abs(whole - maps[0][:, part])[:, inside]
print(f"by tiles: differs by {difference.max():.0e} at most, where maps reach {whole.max():.0f}")

by_hand = np.concatenate([*detector.anomaly_map(np.stack(np.split(damaged, 4, axis=1)))], axis=1)
difference = np.abs(by_hand - maps[0])
print(f"by hand: differs by {difference.max():.1f} at most")

figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
axis.plot(difference.max(axis=0))
axis.set(xlabel="column", ylabel="largest difference", title="cut by hand")
plt.show()

# %%
# Cut by hand, the map is wrong around each cut, where the network misses the neighbours.
#
# One parameter was set for this comparison: ``standardization="dataset"`` scales all images alike.
# By default each one is scaled by itself: those that the library takes apart as a whole, and each
# piece that was cut by hand alone.
