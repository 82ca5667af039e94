"""
==================
A folder of images
==================

From a folder of good images to a list of suspicious ones, worst first, and a detector in a file.
So that it runs anywhere, this example first draws its images, of sewing buttons; with a folder of
your own, begin at `Learn from the good folder`_ and see `What to change`_ at the end.
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
# Two folders of PNG files
# ------------------------
# Each button lies a little differently under a light that varies. ``good`` holds seventy flawless
# ones. ``new`` holds a mixture that someone would like to have sorted out: the names of its files
# say what is wrong with each, which the detector does not know.


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
# Learn from the good folder
# --------------------------
# :func:`~skanomaly.datasets.load_image_folder` lists the files, and reads none of them yet:
# training reads them batch by batch, so that a folder may be larger than the memory. ``size`` is
# what each image is resized to on reading. Time grows with the number of pixels, and defects must
# still be a few pixels wide.

good = load_image_folder(good_folder, size=64)
print(good)
print(good.shape, good.dtype)

# %%
# A button turned by 90° or seen in a mirror would be a good button as well, but for the light from
# above. ``flip_horizontal`` is safe.

detector = SelfSupervisedAutoencoderDetector(
    max_iter=200, augmentation="flip_horizontal", random_state=0
)
detector.fit(good)

LossCurveDisplay.from_estimator(detector)
plt.show()

# %%
# The curve should have become flat; if it still falls, give ``max_iter`` more steps.
#
# Score another folder
# --------------------
# Read it in the same size. Scores are higher for more normal images, so that sorting puts the worst
# first. ``predict`` says -1 where a score is below ``offset_``.

new = load_image_folder(new_folder, size=64)
found = detector.detect(new)
scores, labels = found.score_samples, found.predict
order = np.argsort(scores)

for index in order:
    verdict = "anomalous" if labels[index] == -1 else "normal"
    print(f"{new.paths[index].name:20} {scores[index]:9.1f}  {verdict}")

# %%
# Where is it? The anomaly map is laid over each image, the lighter the higher it is, with an
# outline of ``predict_mask``. ``new[order[:12]]`` is a shorter list of files, as lazy as the whole.

worst = new[order[:12]]
AnomalyMapDisplay.from_estimator(detector, worst, names=[path.stem for path in worst.paths])
plt.show()

# %%
# Keep it
# -------
# A fitted detector is stored in a file, and loaded where it is needed, on a machine with a GPU or
# without. Unlike a pickle, the file holds no code.

model = Path(temporary.name) / "buttons.safetensors"
detector.save(model)
loaded = skanomaly.load(model)
print(f"{model.stat().st_size / 1e6:.1f} MB")
print("same scores:", np.array_equal(loaded.score_samples(new), scores))
temporary.cleanup()

# %%
# What to change
# --------------
# - **Folders.** Pass your own to ``load_image_folder``; subfolders are searched too, and
#   ``mode="gray"`` or ``mode="rgb"`` makes a mixed folder uniform. The good folder must hold good
#   images alone, of all the variety that is normal: what is not in it is going to be reported.
# - **Size.** ``size=128`` or ``size=256`` where defects are small, ``size=(height, width)`` where
#   images are not square: see :ref:`image_size`.
# - **Training.** Leave ``max_iter`` at its default of 3000 for a detector that you mean to use.
#   ``augmentation`` may name only what leaves your images normal; the default finds it.
# - **Corruption.** Where you know how large and how strong defects are, say so, with
#   ``corruption``: see :ref:`sphx_glr_auto_examples_plot_corruption_gallery.py`.
# - **Threshold.** It comes from the good folder, where some images are held out for it; with few
#   images it is rough. A better one comes from more good images that the detector has not seen:
#   ``detector.calibrate(other_good_images)``, see :ref:`calibrating`.
# - **No code.** ``python -m skanomaly fit``, ``score`` and ``calibrate`` do all this on the command
#   line.
