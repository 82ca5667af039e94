"""
=====================
Large images by tiles
=====================

Train on small crops and score an image of any size. If a side is longer than 1536 pixels, the image
is scored in overlapping tiles. The anomaly map is the same as without tiles, has no seams, and
needs less memory.
"""

# %%
# Train on small crops
# --------------------
# ``weave`` draws woven cloth of any size. The detector is trained on a hundred crops of 64 x 64
# pixels of a good cloth.

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
crops = np.stack([cloth[r : r + 64, c : c + 64] for r, c in rng.integers(0, 448, (100, 2))])

detector = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16),
    standardization="dataset",
    max_iter=150,
    crop_size=32,
    random_state=0,
)
detector.fit(crops)
print("training images:", crops.shape)

# %%
# Score a large image
# -------------------
# Another cloth of 800 x 2048 pixels has three defects: a thick thread, a stain, and a patch whose
# threads run in another direction.

good = weave(800, 2048, seed=1)
rows, columns = np.indices(good.shape)
thread = (np.abs(rows - 300) < 7) & (columns > 300) & (columns < 700)
stain = np.hypot((rows - 560) / 60, (columns - 1100) / 100) < 1
patch = (np.abs(rows - 280) < 50) & (np.abs(columns - 1600) < 50)
mask = thread | stain | patch

rotated = ndimage.rotate(good[:400, :400], 30, reshape=False)[150:250, 150:250]
damaged = good.copy()
damaged[thread] = damaged[thread] // 2 + 90
damaged[stain] = 0.7 * damaged[stain]
np.place(damaged, patch, rotated)
print(f"{mask.mean():.1%} of the pixels are defective")

# %%
# ``anomaly_map`` takes the image like any other. The first axis is the number of images.

maps = detector.anomaly_map(damaged[np.newaxis])
print(maps.shape)

# %%
# A threshold for large images
# ----------------------------
# ``map_threshold_`` depends on the size of the training images: in about one of a hundred good
# images *of that size*, the map is above it somewhere. A large image has many more pixels that may
# exceed it. Its threshold should come from good images of its own size. Here it is the largest
# value in the map of the good cloth; with several good images, ``calibrate`` sets both thresholds.

limit = detector.anomaly_map(good[np.newaxis]).max()
far = ndimage.distance_transform_edt(~mask) > 40
pd.DataFrame(
    {
        name: {
            "threshold": threshold,
            "defective pixels marked": np.mean(maps[0][mask] > threshold),
            "regions marked elsewhere": ndimage.label((maps[0] > threshold) & far)[1],
        }
        for name, threshold in {"crops": detector.map_threshold_, "large image": limit}.items()
    }
).T.round(3)

# %%
# The last column counts the marked regions that are more than 40 pixels away from any defect. The
# threshold of the crops is the higher one here: it comes from few held-out images, and is set high
# for this reason. The figure shows the image and its map, with the outline of the marked pixels
# (solid) and of the true mask (dashed).

figure, axis = plt.subplots(figsize=(7, 7), layout="constrained")
AnomalyMapDisplay.from_predictions(
    damaged[np.newaxis], maps, map_threshold=limit, masks=mask[np.newaxis], ax=axis
)
plt.show()

# %%
# No seams
# --------
# The network sees large images in overlapping windows of the size that it was trained on. Tiles
# overlap by such a window and by the reach of the filters, and only the inner part of each tile is
# kept. To check this, the map of a part that is small enough to be scored at once is
# compared with the same part of the map from tiles. For comparison, the image is then cut into four
# pieces by hand, without overlap.

part = slice(256, 2048)
whole = detector.anomaly_map(damaged[np.newaxis, :, part])[0]
inside = slice(200, None)  # the part has a border of its own on the left
difference = np.abs(whole - maps[0][:, part])[:, inside]
print(f"tiles: largest difference {difference.max():.0e}, largest value {whole.max():.0f}")

by_hand = np.concatenate([*detector.anomaly_map(np.stack(np.split(damaged, 4, axis=1)))], axis=1)
difference = np.abs(by_hand - maps[0])
print(f"by hand: largest difference {difference.max():.1f}")

figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
axis.plot(difference.max(axis=0))
axis.set(xlabel="column", ylabel="largest difference", title="cut by hand")
plt.show()

# %%
# Cut by hand, the map is wrong near each cut, since the network does not see beyond it.
#
# This comparison needs ``standardization="dataset"``, which scales all images alike. By default
# each image is scaled by its own mean and standard deviation, and each piece cut by hand would be
# scaled separately.
