"""Trainings to interrupt, in this or in another process."""

import signal

import numpy as np
import torch
from synthetic_images import make_images

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.training import _loop


def weights(detector):
    """Weights, thresholds and losses, which must be exactly equal."""
    arrays = {name: value.numpy() for name, value in detector.network_.state_dict().items()}
    arrays["thresholds"] = np.array([detector.offset_, detector.map_threshold_])
    arrays["loss_curve"] = np.array(detector.loss_curve_)
    arrays["validation_curve"] = np.array(detector.validation_curve_)
    return arrays


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name


class AtStep:
    """Callback that calls a function once the given number of gradient steps is done."""

    def __init__(self, step, function):
        self.step, self.function, self.done = step, function, 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "gradient steps":
            self.done += 1
            if self.done == self.step:
                self.function()

    def teardown(self, estimator, context):
        pass


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


ROWS = make_images(24, size=(4, 6)).reshape(24, 24)


def fit_and_store(checkpoint, out, connection):
    """Train on rows, with a checkpoint after every other step, and store the weights."""
    torch.set_num_threads(1)
    _loop._CHECKPOINT_INTERVAL = 2
    detector = SelfSupervisedAutoencoderDetector(
        max_iter=60, early_stopping=True, random_state=0, checkpoint=checkpoint, batch_size=4
    )
    connection.send("training")
    detector.set_callbacks(AtStep(1, lambda: connection.send("first step"))).fit(ROWS)
    np.savez(out, **weights(detector))
