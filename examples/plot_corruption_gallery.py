"""
=======================================
What the detector is trained to repair
=======================================

:class:`~skanomaly.SelfSupervisedAutoencoderDetector` learns from damage that it does to normal
images itself. :class:`~skanomaly.corruption.PatchCorruption` says what that damage looks like, and
works alone as well, on plain arrays: the way to see what the detector is going to see.

A patch has a *shape*, a *texture* and an *opacity*, and each of them is drawn anew for every patch,
from ranges and choices that are parameters.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from skimage.exposure import rescale_intensity
from skimage.transform import resize
from sklearn.base import clone

from skanomaly.corruption import PatchCorruption

# %%
# Images go in, damaged ones come out
# -----------------------------------
# A grey and a colour photograph that ship with scikit-image, six copies of each. A call returns the
# damaged images, in the shape and dtype of those that went in, and the masks: how much of each
# pixel was replaced, from 0, untouched, to 1.

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
    """Draw rows of images, with a label in front of each row and a title on each image."""
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
# What is put into a patch
# ------------------------
# ``texture`` says what a patch is filled with. "image" takes another image of the batch or another
# part of the same one, turned, mirrored and warped; "color" is one uniform colour; "noise" is
# smooth noise of several scales; "deformation" warps the image where it is, and "shade" brightens
# or darkens it; "blur" smears it. The default draws one of the first five for each patch; a dict
# gives them weights.

kinds = ["image", "color", "noise", "deformation", "shade", "blur"]
corruption = PatchCorruption(n_patches=1, radius=0.3, opacity=1, random_state=76)
show([corruption.set_params(texture=kind)(greys)[0] for kind in kinds], kinds)

# %%
# The same in colour:

show([corruption.set_params(texture=kind)(colours)[0] for kind in kinds], kinds)

# %%
# Shape and opacity
# -----------------
# Here one parameter grows from left to right while the random numbers stay the same. ``radius`` is
# a fraction of the image's shorter side. ``elongation`` is the ratio of the longer to the shorter
# axis at equal area: spots become scratches. ``distortion`` bends the outline, ``softness`` is the
# fraction of the radius over which a patch fades, and ``opacity`` goes from a faint trace to full
# occlusion.
#
# A number stands for itself. A pair is a range to draw from, and that is what training wants:
# damage of all the sizes and strengths that real defects may have.

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
# Textures of your own
# --------------------
# ``texture_images`` are a further source, as likely as each of those in ``texture``. Give it
# images of what may come to lie on your surface, or of other surfaces. Here half of the patches
# are bits of grass and gravel, and the others are of one colour.

others = np.stack([data.grass(), data.gravel()])
corruption = PatchCorruption(
    radius=(0.1, 0.3), texture="color", texture_images=others, opacity=1, random_state=78
)
show([corruption(greys)[0]], ["brick"])

# %%
# In a detector
# -------------
# Pass the corruption to the detector; without one, it uses the default ``PatchCorruption()``. Its
# parameters are reached by the prefix ``corruption__``, which is what a grid search needs: see
# :ref:`sphx_glr_auto_examples_plot_grid_search_corruption.py`.

from skanomaly import SelfSupervisedAutoencoderDetector

detector = SelfSupervisedAutoencoderDetector(
    corruption=PatchCorruption(radius=(0.02, 0.1), opacity=(0.4, 1))
)
detector.get_params()["corruption__radius"]
