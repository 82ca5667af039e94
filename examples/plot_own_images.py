"""
==================
A folder of images
==================

Train a detector on a folder of good images, list the images of another folder from worst to best,
and save the detector to a file. This example draws its own images of sewing buttons. With your own
folder, start at `Train on the good folder`_ and read `What to change`_ at the end.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from skimage import draw, io

import skanomaly
from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import load_image_folder
from skanomaly.inspection import AnomalyMapDisplay, LossCurveDisplay

# %%
# Draw two folders of PNG files
# -----------------------------
# The folder ``good`` holds seventy buttons without defects, whose position and lighting vary. The
# folder ``new`` holds good and defective buttons. The names of its files say which is which; the
# detector does not use them.


def draw_button(rng, defect=None):
    """Draw a button of 128 x 128 pixels, RGB as uint8, with a defect if one is named."""
    row, column = 64 + rng.uniform(-3, 3, 2)
    rows, columns = np.indices((128, 128))
    distance = np.hypot(rows - row, columns - column)
    table = np.array([205, 196, 180]) - 0.15 * rows[..., None]
    image = np.where(distance[..., None] < 48, [52, 98, 142], table)
    image[(distance > 37) & (distance < 48)] += 28
    image += np.where(distance < 48, 0.4 * (row - rows), 0)[..., None]
    turn = rng.uniform(0, np.pi / 2)
    for angle in turn + np.arange(4) * np.pi / 2:
        hole = draw.disk((row + 15 * np.sin(angle), column + 15 * np.cos(angle)), 6.5)
        image[hole] = [70, 62, 54]

    if defect == "chip":
        angle = rng.uniform(0, 2 * np.pi)
        chip = draw.disk((row + 48 * np.sin(angle), column + 48 * np.cos(angle)), 12)
        image[chip] = table[chip]
    if defect in ("scratch", "thread"):
        points = np.rint(np.tile([row, column], 3) + rng.uniform(-34, 34, 6)).astype(int)
        for shift in range(2):
            curve = draw.bezier_curve(*(points + [shift, 0] * 3), weight=2)
            image[curve] = image[curve] + 60 if defect == "scratch" else [230, 205, 70]
    if defect == "stain":
        centre = (row + rng.uniform(-32, 32), column + rng.uniform(-32, 32))
        stain = draw.ellipse(*centre, 10, 15, rotation=rng.uniform(0, np.pi))
        image[stain] = 0.5 * image[stain] + 0.5 * np.array([120, 70, 20])
    image = image * rng.uniform(0.9, 1.1) + rng.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


rng = np.random.default_rng(0)
temporary = tempfile.TemporaryDirectory()
good_folder = Path(temporary.name) / "good"
new_folder = Path(temporary.name) / "new"
good_folder.mkdir()
new_folder.mkdir()

for number in range(70):
    io.imsave(good_folder / f"{number:03}.png", draw_button(rng), check_contrast=False)
for kind, count in {"good": 10, "chip": 2, "scratch": 2, "stain": 2, "thread": 2}.items():
    for number in range(count):
        image = draw_button(rng, defect=kind)
        io.imsave(new_folder / f"{kind}_{number}.png", image, check_contrast=False)

# %%
# Train on the good folder
# ------------------------
# :func:`~skanomaly.datasets.load_image_folder` lists the files without reading them. Training reads
# them batch by batch, so that a folder may be larger than memory. Each image is resized to ``size``
# when it is read. Time is proportional to the number of pixels, but defects must remain a few
# pixels wide.

good = load_image_folder(good_folder, size=64)
print(good)
print(good.shape, good.dtype)

# %%
# The light comes from above, so that a button that is upside down does not look normal. A button
# that is mirrored left to right does, and ``augmentation`` says so. The loss curve shows whether
# ``max_iter`` is large enough: it should become flat.

detector = SelfSupervisedAutoencoderDetector(
    max_iter=200, augmentation="flip_horizontal", random_state=0
)
detector.fit(good)

LossCurveDisplay.from_estimator(detector)
plt.show()

# %%
# Score another folder
# --------------------
# The images are read in the same size. Scores are higher for more normal images, so that the worst
# come first when sorted. ``predict`` is -1 where the score is below ``offset_``.

new = load_image_folder(new_folder, size=64)
found = detector.detect(new)
scores, labels = found.score_samples, found.predict
order = np.argsort(scores)

for index in order:
    verdict = "anomalous" if labels[index] == -1 else "normal"
    print(f"{new.paths[index].name:20} {scores[index]:9.1f}  {verdict}")

# %%
# :class:`~skanomaly.inspection.AnomalyMapDisplay` shows where the defects are. It draws the twelve
# worst images, and below each of them its anomaly map with the outline of ``predict_mask``.

worst = new[order[:12]]
AnomalyMapDisplay.from_estimator(detector, worst, names=[path.stem for path in worst.paths])
plt.show()

# %%
# Save the detector
# -----------------
# ``save`` writes the fitted detector to a file, and ``load`` reads it on any machine, with or
# without a GPU. Unlike a pickle, the file holds no code.

model = Path(temporary.name) / "buttons.safetensors"
detector.save(model)
loaded = skanomaly.load(model)
print(f"{model.stat().st_size / 1e6:.1f} MB")
print("same scores:", np.array_equal(loaded.score_samples(new), scores))
temporary.cleanup()

# %%
# What to change
# --------------
# - **Folders.** Pass your own folders to ``load_image_folder``. It searches subfolders too, and
#   ``mode="gray"`` or ``mode="rgb"`` converts all images to one mode. The good folder must contain
#   good images only, and all the variety that is normal: anything else is reported as anomalous.
# - **Size.** Use ``size=128`` or ``size=256`` if defects are small, and ``size=(height, width)`` if
#   images are not square. See :ref:`image_size`.
# - **Training.** Leave ``max_iter`` at its default, 1000 to 3000 steps, for production use.
#   ``augmentation`` may list only transformations that keep your images normal; the default chooses
#   them.
# - **Corruption.** If you know how large and how strong defects are, set ``corruption``. See
#   :ref:`sphx_glr_auto_examples_plot_corruption_gallery.py`.
# - **Threshold.** It comes from images of the good folder that were held out, and is imprecise if
#   they are few. With more good images, ``detector.calibrate(other_good_images)`` improves it. See
#   :ref:`calibrating`.
# - **Command line.** ``python -m skanomaly fit``, ``score`` and ``calibrate`` do the same without
#   code.
