"""What the experiment ledger tries that is no parameter of the library."""

import torch

from skanomaly import SelfSupervisedAutoencoderDetector as SelfSupervised
from skanomaly.corruption import PatchCorruption
from skanomaly.scoring import smooth

# What these experiments began with; the defaults of today came out of them.
START_MASK_WEIGHT = 0.5
START_TEXTURES = ("image", "color", "noise", "deformation", "shade")


def start_corruption(**parameters):
    """The corruption that the experiments began with, changed."""
    return PatchCorruption(**{"texture": START_TEXTURES, **parameters})


class _OtherPatches:
    """Patches, of which a share are filled by other means."""

    share = 0.25

    def get_params(self, deep=True):
        """There are none."""
        return {}

    def set_params(self):
        """There are none."""
        return self

    def fill(self, images, draw, generator):
        """What such a patch holds; `draw` gives a random number from 0 to 1 for each image."""
        raise NotImplementedError

    def corrupt(self, images, generator):
        """Corrupt a batch as `PatchCorruption.corrupt` does."""
        corrupted, masks = start_corruption().corrupt(images, generator)

        def draw():
            return torch.rand(len(images), 1, 1, 1, generator=generator)

        filled = images + masks * (self.fill(images, draw, generator) - images)
        return torch.where(draw() < self.share, filled, corrupted), masks


class GrainyPatches(_OtherPatches):
    """White noise on top of the image, of a deviation from 0.2 to 2."""

    def fill(self, images, draw, generator):
        """The image with noise."""
        noise = torch.randn(images.shape, generator=generator)
        return images + 0.2 * 10.0 ** draw() * noise


class BlurredPatches(_OtherPatches):
    """The image, blurred along rows, columns or both."""

    share = 0.2

    def fill(self, images, draw, generator):
        """The image through a mean filter of 3 to 9 pixels."""
        size = 2 * int(torch.randint(1, 5, (), generator=generator)) + 1
        axis = int(torch.randint(0, 3, (), generator=generator))
        kernel = [(size, size), (size, 1), (1, size)][axis]
        return torch.nn.functional.avg_pool2d(
            images, kernel, 1, [side // 2 for side in kernel], count_include_pad=False
        )


class AveragedWeights(SelfSupervised):
    """Scores by an exponential moving average of the weights."""

    decay = 0.99

    def _make_objective(self, network, represent):
        objective = super()._make_objective(network, represent)
        self.average = None

        def average_along(network, images, generator):
            if network.training:
                state = network.state_dict()
                if self.average is None:
                    self.average = {name: value.clone() for name, value in state.items()}
                for name, value in state.items():
                    if value.is_floating_point():
                        self.average[name].lerp_(value, 1 - self.decay)
            return objective(network, images, generator)

        return average_along

    def _take_over(self, plan, network):
        network.load_state_dict(self.average)
        super()._take_over(plan, network)


class TwoNetworks(SelfSupervised):
    """The mean of the maps of two networks of different seeds."""

    def fit(self, X, y=None):
        """Fit both."""
        second = {**self.get_params(deep=False), "random_state": self.random_state + 1000}
        self.second = SelfSupervised(**second).fit(X)
        return super().fit(X)

    def _residual_map(self, piece):
        with torch.inference_mode():
            other = piece._replace(reconstructions=self.second.network_(piece.images))
        maps = [super(TwoNetworks, self)._residual_map(one) for one in (piece, other)]
        return torch.cat(maps, dim=1)


class _OtherResidual(SelfSupervised):
    """Maps from something else than the squared difference; `residual` says what."""

    def residual(self, images, reconstructions):
        """Values (b, k, h, w) to be smoothed."""
        raise NotImplementedError

    def _residual_map(self, piece):
        with torch.inference_mode():
            values = self.residual(piece.images, piece.reconstructions).double()
            maps = [
                smooth(kind, self.smoothing_size, self.smoothing_passes)
                for kind in values.unbind(1)
            ]
            return torch.stack(maps, dim=1)


class AbsoluteResidual(_OtherResidual):
    """The absolute difference instead of the squared one."""

    def residual(self, images, reconstructions):
        """|x - f(x)|."""
        return (images - reconstructions).abs()


class ImageResidual(_OtherResidual):
    """The image alone, without the local contrast that the network repairs too."""

    def residual(self, images, reconstructions):
        """Of the first channel."""
        return (images - reconstructions).square()[:, :1]


class ContrastResidual(_OtherResidual):
    """The local contrast alone."""

    def residual(self, images, reconstructions):
        """Of the last channel."""
        return (images - reconstructions).square()[:, -1:]


class MirroredPasses(_OtherResidual):
    """The mean over the image and its three mirror images."""

    def residual(self, images, reconstructions):
        """Squared differences, averaged over four passes."""
        total = (images - reconstructions).square()
        for axes in ((2,), (3,), (2, 3)):
            mirrored = images.flip(axes)
            total = total + (mirrored - self.network_(mirrored)).square().flip(axes)
        return total / 4


class SecondPass(_OtherResidual):
    """The difference to a repair that is repaired again."""

    def residual(self, images, reconstructions):
        """(x - f(f(x)))²."""
        return (images - self.network_(reconstructions)).square()


class GradientResidual(_OtherResidual):
    """The squared difference of the gradients beside that of the values."""

    def residual(self, images, reconstructions):
        """Both, one kind of map each."""
        difference = images - reconstructions
        rows, columns = torch.gradient(difference, dim=(2, 3))
        return torch.cat([difference.square(), rows.square() + columns.square()], dim=1)


class ReplacedShare(_OtherResidual):
    """1 - β of the convex combination at full resolution beside the squared difference."""

    def residual(self, images, reconstructions):
        """Both, one kind of map each."""
        share = self.network_.decode(images)[1]
        return torch.cat([(images - reconstructions).square(), (1 - share).square()], dim=1)


class CodeResidual(_OtherResidual):
    """What the encoder makes of the image and of its repair, beside the squared difference."""

    def residual(self, images, reconstructions):
        """Both, one kind of map each."""
        code, repaired = (self.network_._encode(x)[-1] for x in (images, reconstructions))
        difference = (code - repaired).square().mean(1, keepdim=True)
        wide = torch.nn.functional.interpolate(difference, size=images.shape[-2:], mode="bilinear")
        return torch.cat([(images - reconstructions).square(), wide], dim=1)
