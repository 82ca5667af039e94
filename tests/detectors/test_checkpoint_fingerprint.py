"""A checkpoint is continued if, and only if, the training would be the same."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_images import make_images

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly._validation import ValidatedInput
from skanomaly.datasets import ImageSequence
from skanomaly.detectors._checkpoint import fingerprint
from skanomaly.networks import ConvolutionalAutoencoder

IMAGES = make_images(12, size=(16, 16))
SMALL = partial(ConvolutionalAutoencoder, width=4, n_blocks=1)
OPTIONS = {"network": SMALL, "crop_size": 8, "augmentation": "rotate", "random_state": 0}


def printed(X=IMAGES, width=4, kind=SelfSupervisedAutoencoderDetector, **parameters):
    """Fingerprint of a training."""
    source = X if isinstance(X, ImageSequence) else X[..., np.newaxis]
    detector = kind(**{**OPTIONS, **parameters})
    data = ValidatedInput(source, (*X.shape[1:3], 1))
    return fingerprint(detector, data, torch.nn.Linear(width, 1), continued=False)


def of_width(width, shape):
    return ConvolutionalAutoencoder(shape, width=width, n_blocks=1)


def with_default(value):
    def network(shape, width=value):
        return of_width(width, shape)

    return network


def with_keyword(value):
    def network(shape, *, width=value):
        return of_width(width, shape)

    return network


def with_an_empty_cell(width):
    def network(shape):
        return of_width(width, shape) if width else later

    if not width:
        later = None
    return network


class Maker:
    def __init__(self, width):
        self.width = width

    def make(self, shape):
        return of_width(self.width, shape)


def among(numbers):
    # Compiled alone, since equal constants of a module are one object.
    return eval(f"lambda shape: SMALL(shape) if shape[0] in {numbers} else None")


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (partial(of_width, 4), partial(of_width, 4), partial(of_width, 8)),
        (with_default(4), with_default(4), with_default(8)),
        (with_keyword(4), with_keyword(4), with_keyword(8)),
        (with_an_empty_cell(4), with_an_empty_cell(4), with_an_empty_cell(8)),
        (Maker(4).make, Maker(4).make, Maker(8).make),
        (lambda n: n.eval(), lambda n: n.eval(), lambda n: n.train()),
        (among("{0, 8}"), among("{8, 0}"), among("{0, 9}")),
    ],
    ids=["partial", "default", "keyword", "cell", "method", "names", "set"],
)
def test_what_a_function_holds_is_part_of_the_fingerprint(one, same, other):
    assert printed(network=one) == printed(network=same) != printed(network=other)


def test_what_does_not_change_the_training_is_not_part_of_the_fingerprint():
    other = {"verbose": 1, "checkpoint": "elsewhere", "smoothing_size": 7, "smoothing_passes": 3}
    other |= {"normalize_map": False, "region_size": 0.3, "score_aggregation": "mean"}
    assert printed(**other) == printed()
    for name, value in {"augmentation": None, "crop_size": 4, "standardization": "none"}.items():
        assert printed(**{name: value}) != printed(), name


def test_seeds_of_any_integer_type_are_part_of_the_fingerprint():
    assert printed(random_state=np.int64(3)) == printed(random_state=3)
    assert printed(random_state=np.int64(3)) != printed(random_state=np.int64(4))


class OfOnesOwn(SelfSupervisedAutoencoderDetector):
    pass


def test_a_subclass_and_other_shapes_of_weights_have_another_fingerprint():
    assert len({printed(), printed(width=5), printed(kind=OfOnesOwn)}) == 3


def test_the_shape_and_every_image_are_part_of_the_fingerprint(tmp_path):
    assert printed(IMAGES.reshape(12, 8, 32)) != printed()
    for index in (0, 5, -1):
        changed = IMAGES.copy()
        changed[index, 3, 3] += 1e-6
        assert printed(changed) != printed(), index
    paths = [tmp_path / f"{index}.bmp" for index in range(3)]
    for path in paths:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    before = printed(ImageSequence(paths))
    for path in paths[1:]:
        Image.fromarray(np.ones((8, 8), np.uint8)).save(path)
        before, last = printed(ImageSequence(paths)), before
        assert before != last
