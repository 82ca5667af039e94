"""Make torchvision importable where its compiled part does not fit the build of torch.

PyPI's torchvision is compiled for CUDA and does not load its operators beside the CPU build of
torch. anomalib imports it; of the operators, the models compared here use only the reading of
images. With a matching torchvision this module changes nothing.
"""

import numpy as np
import torch
from PIL import Image

try:
    import torchvision.io
except RuntimeError:
    _LIBRARY = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision.io

    def _read_image(path, mode):
        image = np.array(Image.open(path).convert(mode.name))
        return torch.from_numpy(image).permute(2, 0, 1)

    torchvision.io.read_image = _read_image
