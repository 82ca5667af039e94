"""
=============================
Inside the convex combination
=============================

Look at the two outputs that the default network combines: an image from its decoder, and a fraction
for each pixel that says how much of the input is passed through. The reconstruction is the convex
combination of input and decoder.
"""

# %%
# Train a detector
# ----------------
# "sdcc", the default network for images, computes :math:`f(x) = \beta \odot x + (1 - \beta) \odot
# d(x)`, where :math:`d(x)` is the image from the decoder and :math:`\beta` is the fraction of the
# input, from 0 to 1. ``mask_weight=0.5`` makes the repair stronger, which helps in short training.

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
    mask_weight=0.5,
    augmentation=["flip_horizontal", "flip_vertical"],
    random_state=0,
)
detector.fit(data.X_train)
LossCurveDisplay.from_estimator(detector)
plt.show()

# %%
# The input of the network
# ------------------------
# ``network_`` takes standardized images, with their local contrast as a second channel. A forward
# hook of torch records them.

batches = []
hook = detector.network_.register_forward_pre_hook(
    lambda network, inputs: batches.append(inputs[0])
)
reconstructions = detector.reconstruct(data.X_test)
hook.remove()
images = torch.cat(batches)
images.shape

# %%
# ``decode`` returns the two parts. Their convex combination is the output of the network:

with torch.inference_mode():
    decoded, fraction = detector.network_.decode(images)
    mixed = fraction * images + (1 - fraction) * decoded
    print("largest difference:", (mixed - detector.network_(images)).abs().max().item())

# %%
# The two parts
# -------------
# The figure shows a good tile and one defect of each kind, with the outline of the true mask in the
# row of the fraction. Where the fraction is bright, the input is passed through; where it is dark,
# the decoder decides.

kinds = ["good", "crack", "stain", "smear", "hole", "foreign"]
shown = [list(data.kinds_test).index(kind) for kind in kinds]
rows = {
    "image": images[shown, 0],
    "decoder": decoded[shown, 0],
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
# The decoder draws a smooth wall, without grain and without most of the defects. The fraction is
# low at the edges of the mortar and at most of the defects. This is its mean in the good tiles, and
# inside the true masks:

values = fraction[:, 0].numpy()
inside = {
    kind: values[chosen][data.masks_test[chosen]].mean()
    for kind in kinds[1:]
    for chosen in [data.kinds_test == kind]
}
pd.Series({"good tiles": values[data.kinds_test == "good"].mean(), **inside}).round(2)

# %%
# Why combine them
# ----------------
# The decoder cannot know the grain of an image; the combination takes it from the input. This table
# compares the decoder and the combination with the input. The errors are squared differences, in
# units of the variance of the images.

normal = ~data.masks_test
errors = {
    name: (image - images)[:, 0].numpy() ** 2
    for name, image in {"decoder": decoded, "combination": mixed}.items()
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
# The combination reduces the error at normal pixels more than at defective ones, so that the ratio,
# which tells them apart, is higher.

# sphinx_gallery_thumbnail_number = 2
