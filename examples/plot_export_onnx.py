"""
==============
Export to ONNX
==============

A fitted detector becomes one file that runs without this library, without torch and without
Python if need be: :func:`~skanomaly.export.to_onnx` writes scaling, network, map, score and
thresholds as one ONNX graph. This takes the extra ``onnx``: ``pip install "skanomaly[onnx]"``.
"""

# %%
# Train and export
# ----------------
# Any of the three detectors will do, with any network that torch can export. The graph takes over
# the thresholds as they are now: set them before, or ``calibrate`` the detector.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.export import to_onnx

data = make_textured_surfaces("brick", image_size=64, random_state=0)
detector = SelfSupervisedAutoencoderDetector(max_iter=150, crop_size=32, random_state=0)
detector.fit(data.X_train)

temporary = tempfile.TemporaryDirectory()
file = Path(temporary.name) / "brick.onnx"
to_onnx(detector, file)
print(f"{file.stat().st_size / 1e6:.1f} MB")

# %%
# Run
# ---
# What follows knows nothing of the detector. ``images`` are uint8 as they come from a camera, of
# any number and size. The outputs bear the names of the detector's methods.

session = onnxruntime.InferenceSession(file)
for values in (*session.get_inputs(), *session.get_outputs()):
    print(f"{values.name:18} {values.type:15} {values.shape}")

# %%
# Ask for those outputs that are needed. The images are two good ones and one with each kind of
# defect; what the graph marks is outlined in red. Maps are on a logarithmic scale around the
# threshold, which is in the middle of the colours.

kinds, first = np.unique(data.kinds_test, return_index=True)
images = data.X_test[[1, *first[kinds == "good"], *first[kinds != "good"]]]
maps, masks, scores, verdicts = session.run(
    ["anomaly_map", "predict_mask", "score_samples", "predict"], {"images": images}
)

figure, axes = plt.subplots(
    2, 7, figsize=(9.6, 3.2), layout="constrained", subplot_kw={"xticks": [], "yticks": []}
)
for column, (image, anomaly_map, mask) in enumerate(zip(images, maps, masks, strict=True)):
    axes[0, column].imshow(image, cmap="gray", vmin=0, vmax=255)
    limit = detector.map_threshold_
    values = anomaly_map.clip(min=limit / 100)
    axes[1, column].imshow(values, cmap="inferno", norm="log", vmin=limit / 100, vmax=100 * limit)
    if mask.any():
        axes[0, column].contour(mask, levels=[0.5], colors="red", linewidths=1)
    verdict = "anomalous" if verdicts[column] == -1 else "normal"
    axes[0, column].set_title(f"{verdict}\n{scores[column]:.1f}", fontsize=9)
axes[0, 0].set_ylabel("image, mask")
axes[1, 0].set_ylabel("anomaly map")
plt.show()

# %%
# The same as the detector
# ------------------------
# ``to_onnx`` compares the two before it writes a file. Here once more on images of another size,
# twice as large:

larger = make_textured_surfaces("brick", image_size=128, random_state=0).X_test
(graph_scores,) = session.run(["score_samples"], {"images": larger})
scores = detector.score_samples(larger)
print(f"largest relative difference: {np.max(np.abs(graph_scores / scores - 1)):.1e}")
temporary.cleanup()

# %%
# Where images are of one size, name it with ``image_size=(height, width)``: some runtimes and
# networks want that. ``input_dtype`` is for images in uint16 or float32.
