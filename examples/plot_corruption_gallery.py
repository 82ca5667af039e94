"""
======================
Gallery of corruptions
======================

:class:`~skanomaly.SelfSupervisedAutoencoderDetector` is trained to repair artificial damage, which
:class:`~skanomaly.corruption.PatchCorruption` draws. This example shows what each of its parameters
does. The corruption also works alone, on arrays, so that you can look at it before training.

Each patch has a *shape*, a *texture* and an *opacity*. They are drawn at random for each patch,
from the ranges and lists given as parameters.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from skimage.exposure import rescale_intensity
from skimage.transform import resize
from sklearn.base import clone

from skanomaly.corruption import PatchCorruption

# %%
# Corrupt images
# --------------
# The images are six copies of a grey and of a colour photograph from scikit-image. A call returns
# the damaged images, in the shape and dtype of the input, and the masks, the fraction of each pixel
# that was replaced, from 0 to 1. Some of the damage is faint, like some real defects.

grey = rescale_intensity(data.brick()[:192, :192])
colour = resize(data.coffee()[:400, 100:500], (192, 192), anti_aliasing=True)
colour = (255 * colour).astype(np.uint8)

greys = np.stack([grey] * 6)
colours = np.stack([colour] * 6)

corruption = PatchCorruption(random_state=149)
damaged_greys, grey_masks = corruption(greys)
damaged_colours, colour_masks = corruption(colours)
print(damaged_greys.shape, damaged_greys.dtype, grey_masks.shape, grey_masks.dtype)
print(damaged_colours.shape, damaged_colours.dtype, colour_masks.shape, colour_masks.dtype)


def show(rows, labels, titles=None):
    """Draw rows of images with a label for each row and a title for each image."""
    n_rows, n_columns = len(rows), len(rows[0])
    _, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(1.5 * n_columns + 0.5, (1.75 if titles else 1.55) * n_rows),
        squeeze=False,
        layout="constrained",
    )
    for i, j in np.ndindex(axes.shape):
        image = rows[i][j]
        white = 1 if image.dtype.kind == "f" else 255
        axes[i, j].imshow(image, cmap="gray", vmin=0, vmax=white)
        axes[i, j].set(xticks=[], yticks=[])
        if titles is not None:
            axes[i, j].set_title(titles[i][j], fontsize=9)
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label, fontsize=11)
    plt.show()


show(
    [damaged_greys, grey_masks, damaged_colours, colour_masks],
    ["damaged", "mask", "damaged", "mask"],
)

# %%
# Texture
# -------
# ``texture`` is what a patch is filled with:
#
# - "image": another image of the batch or another part of the same image, rotated, mirrored and
#   warped;
# - "color": one uniform colour;
# - "noise": smooth noise of several scales;
# - "deformation": the image itself, warped;
# - "shade": the image itself, brighter or darker;
# - "blur": the image itself, blurred.
#
# By default, one of the first five is drawn for each patch. A dict sets their weights.

kinds = ["image", "color", "noise", "deformation", "shade", "blur"]
corruption = PatchCorruption(n_patches=1, radius=0.3, opacity=1, random_state=76)
show([corruption.set_params(texture=kind)(greys)[0] for kind in kinds], kinds)

# %%
# The same textures in colour:

show([corruption.set_params(texture=kind)(colours)[0] for kind in kinds], kinds)

# %%
# Shape and opacity
# -----------------
# Each row varies one parameter, with the same random numbers. ``radius`` is a fraction of the
# image's shorter side. ``elongation`` is the ratio of the longer to the shorter axis at equal area,
# and turns spots into scratches. ``distortion`` bends the outline. ``softness`` is the fraction of
# the radius over which a patch fades. ``opacity`` is the fraction of each covered pixel that the
# texture replaces.
#
# A number is a fixed value, and a pair is a range. Use ranges for training, so that the damage has
# all the sizes and strengths that real defects may have.

steps = {
    "radius": [0.03, 0.06, 0.12, 0.2, 0.3],
    "elongation": [1, 2, 4, 8, 16],
    "distortion": [0, 0.25, 0.5, 1, 1.5],
    "softness": [0.05, 0.25, 0.5, 0.75, 1],
    "opacity": [0.1, 0.2, 0.4, 0.7, 1],
}
base = PatchCorruption(
    n_patches=1,
    radius=0.25,
    elongation=1,
    distortion=0,
    softness=0.1,
    texture="color",
    opacity=1,
    random_state=53,
)
rows = []
for name, values in steps.items():
    rows.append([clone(base).set_params(**{name: value})(greys[:1])[0][0] for value in values])
show(rows, list(steps), list(steps.values()))

# %%
# Position
# --------
# With ``focus=0``, patches lie anywhere. With larger values, they concentrate on regions of high
# local contrast, such as a part on a plain background. The default is 2.

cell = resize(rescale_intensity(data.cell())[60:610], (192, 192), anti_aliasing=True)
cells = np.stack([(255 * cell / cell.max()).astype(np.uint8)] * 6)
corruption = PatchCorruption(radius=(0.03, 0.06), elongation=(1, 4), texture="color", opacity=1)
corruption.set_params(n_patches=6, random_state=3)
rows = [corruption.set_params(focus=focus)(cells)[0] for focus in (0, 2, 4)]
show(rows, ["focus = 0", "focus = 2", "focus = 4"])

# %%
# Your own textures
# -----------------
# ``texture_images`` adds images as one more texture, drawn as often as each of those in
# ``texture``. Use images of other surfaces, or of objects that may lie on your surface. Here half
# of the patches are filled with grass or gravel, and the others with one colour.

others = np.stack([data.grass(), data.gravel()])
corruption = PatchCorruption(
    radius=(0.1, 0.3), texture="color", texture_images=others, opacity=1, random_state=78
)
show([corruption(greys)[0]], ["brick"])

# %%
# Use in a detector
# -----------------
# Pass the corruption to the detector; the default is ``PatchCorruption()``. The prefix
# ``corruption__`` gives access to its parameters, for instance in a grid search: see
# :ref:`sphx_glr_auto_examples_plot_grid_search_corruption.py`.

from skanomaly import SelfSupervisedAutoencoderDetector

detector = SelfSupervisedAutoencoderDetector(
    corruption=PatchCorruption(radius=(0.02, 0.1), opacity=(0.4, 1))
)
detector.get_params()["corruption__radius"]
