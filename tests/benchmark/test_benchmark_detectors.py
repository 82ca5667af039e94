"""What tables call a detector, and what tells one from another."""

from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skanomaly import ContractiveAE, PatchCorruption, SelfSupervisedAutoencoderDetector
from skanomaly.benchmark import PCAReconstruction
from skanomaly.benchmark._detectors import describe, detector_label, label_detectors
from skanomaly.networks import ConvolutionalAutoencoder


@pytest.mark.parametrize(
    ("detector", "label"),
    [
        (OneClassSVM(), "OneClassSVM"),
        (IsolationForest(n_estimators=7, random_state=3), "IsolationForest(n_estimators=7)"),
        (ContractiveAE(max_iter="auto"), "ContractiveAE"),
        (
            SelfSupervisedAutoencoderDetector(corruption=PatchCorruption(radius=(0.1, 0.2))),
            "SelfSupervisedAutoencoderDetector(corruption=PatchCorruption(radius=(0.1, 0.2)))",
        ),
        (
            ContractiveAE(network=partial(ConvolutionalAutoencoder, width=8)),
            "ContractiveAE(network=ConvolutionalAutoencoder(width=8))",
        ),
        (ContractiveAE(network=ConvolutionalAutoencoder), "ContractiveAE(network=Convol"),
    ],
)
def test_labels_name_what_is_not_at_its_default(detector, label):
    assert detector_label(detector).startswith(label)
    assert len(detector_label(detector)) == len(label) or label.endswith("Convol")


def test_labels_stay_short_and_in_a_line():
    label = detector_label(OneClassSVM(nu=np.linspace(0, 1, 90)))
    assert len(label) < 70 and "…" in label and "\n" not in label


def test_detectors_that_look_alike_are_numbered():
    first, second = (make_pipeline(PCAReconstruction(n)) for n in (10**50, 10**50 + 1))
    labels = list(label_detectors([first, clone(first), second]))
    assert labels == [labels[0], labels[0] + " #2"]
    assert list(label_detectors({"mine": first, "yours": first})) == ["mine", "yours"]


def test_an_ensemble_is_one_detector():
    assert list(label_detectors(IsolationForest())) == ["IsolationForest"]


def test_a_class_is_no_detector():
    with pytest.raises(TypeError, match=r"Got <class .*OneClassSVM'>, which is a class"):
        label_detectors([OneClassSVM])
    with pytest.raises(TypeError, match="lacks score_samples"):
        label_detectors(StandardScaler())


def make_detector(**changes):
    values = {"radius": (0.1, 0.2), "width": 8, "weights": np.arange(3.0), **changes}
    return make_pipeline(
        StandardScaler(),
        SelfSupervisedAutoencoderDetector(
            corruption=PatchCorruption(radius=values["radius"]),
            network=partial(ConvolutionalAutoencoder, width=values["width"]),
            image_shape=values["weights"],
        ),
    )


def test_a_description_is_the_same_for_the_same_detector_alone():
    description = describe(make_detector())
    assert describe(clone(make_detector())) == description
    assert "ConvolutionalAutoencoder(width=8)" in description
    for change in ({"radius": (0.1, 0.3)}, {"width": 9}, {"weights": np.arange(3.0) + 1e-9}):
        assert describe(make_detector(**change)) != description


def test_true_is_not_one_and_a_class_is_not_its_object():
    values = [True, 1, 1.0, "1", (1,), [1], {"a": 1}, OneClassSVM, OneClassSVM(), np.cos, None]
    assert len({describe(value) for value in values}) == len(values)
    assert describe({"a": 1, "b": 2}) == describe({"b": 2, "a": 1})


def test_functions_without_a_name_cannot_be_told_apart():
    with pytest.raises(ValueError, match="function without a name"):
        describe(ContractiveAE(network=lambda shape: None))
