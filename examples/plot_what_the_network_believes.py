"""
==========================
What the network believes
==========================

A network with convex combinations makes two things of an image: a version of its own, from what it
has learned, and a weight for each pixel that says how far the image itself is to be trusted. The
reconstruction is their mixture. Both can be looked at.
"""

# %%
# A trained detector
# ------------------
# "sdcc", the default network for images, ends in :math:`f(x) = \beta \odot x + (1 - \beta) \odot
# d(x)`: the decoder's image :math:`d(x)`, and the fraction :math:`\beta` of the image, from 0 to 1.
# The training is short; ``mask_weight=0.5`` then makes for a bolder repair.

from functools import partial

import matplotlib.pyplot as plt
import pandas as pd
import torch

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.inspection import LossCurveDisplay
from skanomaly.networks import ConvolutionalAutoencoder

data = make_textured_surfaces("brick", random_state=0)
detector = SelfSupervisedAutoencoderDetector(
    network=partial(ConvolutionalAutoencoder, width=16),
    max_iter=250,
    crop_size=32,
    mask_weight=0.5,
    augmentation=["flip_horizontal", "flip_vertical"],
    random_state=0,
)
detector.fit(data.X_train)
LossCurveDisplay.from_estimator(detector)
plt.show()

# %%
# What the network reads
# ----------------------
# ``network_`` reads images that the detector has standardised, with their local contrast as one
# more channel. A hook of torch catches them on their way. (On the CPU the last batch is filled up,
# and the rest of it dropped.)

read = []
hook = detector.network_.register_forward_pre_hook(lambda network, inputs: read.append(inputs[0]))
reconstructions = detector.reconstruct(data.X_test)
hook.remove()
images = torch.cat(read)[: len(data.X_test)]
images.shape

# %%
# ``decode`` gives the two parts; mixed, they are what the network gives.

with torch.inference_mode():
    decoded, fraction = detector.network_.decode(images)
    mixed = fraction * images + (1 - fraction) * decoded
    print("largest difference:", (mixed - detector.network_(images)).abs().max().item())

# %%
# Look
# ----
# A good tile and one of each kind of defect, in the channel of the values. In the fraction, light
# means that the image passes through, and dark that the decoder has the word.

kinds = ["good", "crack", "stain", "smear", "hole", "foreign"]
shown = [list(data.kinds_test).index(kind) for kind in kinds]
rows = {
    "image": images[shown, 0],
    "decoder's image": decoded[shown, 0],
    "fraction": fraction[shown, 0],
    "reconstruction": mixed[shown, 0],
}
figure, axes = plt.subplots(
    4, 6, figsize=(9.6, 6), layout="compressed", subplot_kw={"xticks": [], "yticks": []}
)
for line, (name, drawings) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name)
    is_fraction = name == "fraction"
    for axis, image, index in zip(line, drawings, shown, strict=True):
        limits = (0, 1) if is_fraction else (-3, 3)
        drawn = axis.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1])
        if is_fraction and data.masks_test[index].any():
            axis.contour(data.masks_test[index], levels=[0.5], colors="white", linestyles="dashed")
    if is_fraction:
        figure.colorbar(drawn, ax=line, shrink=0.9)
for axis, kind in zip(axes[0], kinds, strict=True):
    axis.set_title(kind)
plt.show()

# %%
# The decoder's image is a smooth wall, without grain and without most of the damage. The fraction
# is low along the edges of mortar, and lowest at most of the defects, outlined by dashes. In
# figures, the mean fraction in the good tiles, and inside the true masks:

values = fraction[:, 0].numpy()
inside = {
    kind: values[chosen][data.masks_test[chosen]].mean()
    for kind in kinds[1:]
    for chosen in [data.kinds_test == kind]
}
pd.Series({"good tiles": values[data.kinds_test == "good"].mean(), **inside}).round(2)

# %%
# Of a good tile about half of each value is passed through, and of most defects very little. A
# smear, whose values are those of the wall, is trusted more than the other defects.
#
# What the fraction is good for
# -----------------------------
# Without it, all fine grain would have to come out of the decoder, which cannot know it. Compare
# how far the decoder's image and the mixture are from the image, in squared standard deviations:

normal = ~data.masks_test
errors = {
    name: (image - images)[:, 0].numpy() ** 2
    for name, image in {"decoder's image": decoded, "mixture": mixed}.items()
}
pd.DataFrame(
    {
        name: {
            "normal pixels": error[normal].mean(),
            "defective pixels": error[~normal].mean(),
            "ratio": error[~normal].mean() / error[normal].mean(),
        }
        for name, error in errors.items()
    }
).T.round(3)

# %%
# The mixture is closer to normal pixels by more than half, while defective ones lose less than a
# third of their difference: the ratio, which is what tells them apart, nearly doubles.

# sphinx_gallery_thumbnail_number = 2
