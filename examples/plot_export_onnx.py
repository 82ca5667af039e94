"""
==============
Export to ONNX
==============

Export a fitted detector to one ONNX file and run it without skanomaly and torch, in Python or in
another language. :func:`~skanomaly.export.to_onnx` writes scaling, network, anomaly map, score and
thresholds as one graph. It needs the extra ``onnx``: ``pip install "skanomaly[onnx]"``.
"""

# %%
# Train and export
# ----------------
# All three detectors can be exported, with any network that torch can export. The graph contains
# the current thresholds: set them, or ``calibrate`` the detector, before the export.

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
# The code below uses onnxruntime only. ``images`` is uint8 by default, with any number and size of
# images. The outputs are named after the methods of the detector.

session = onnxruntime.InferenceSession(file)
for values in (*session.get_inputs(), *session.get_outputs()):
    print(f"{values.name:18} {values.type:15} {values.shape}")

# %%
# ``run`` takes the names of the outputs that are needed. The figure shows two good tiles and one
# defect of each kind, with the outline of the predicted mask in red. The maps are drawn on a
# logarithmic colour scale with ``map_threshold_`` in the middle.

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
# Compare with the detector
# -------------------------
# ``to_onnx`` compares the outputs of the graph with the detector before it writes the file. Here
# they are compared on images twice as large:

larger = make_textured_surfaces("brick", image_size=128, random_state=0).X_test
(graph_scores,) = session.run(["score_samples"], {"images": larger})
scores = detector.score_samples(larger)
print(f"largest relative difference: {np.max(np.abs(graph_scores / scores - 1)):.1e}")
temporary.cleanup()

# %%
# Some runtimes and networks need a fixed image size: pass ``image_size=(height, width)``. For
# images in uint16 or float32, pass ``input_dtype``.
