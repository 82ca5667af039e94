"""PyOD's AutoEncoder on flattened pixels."""

import time

import numpy as np
from _classical import to_rows
from pyod.models.auto_encoder import AutoEncoder


class Timed(AutoEncoder):
    """Trains for epochs until the processor time is spent, by PyOD's own steps."""

    seconds = None

    def train(self, train_loader):
        """Train for the default number of epochs, or for some seconds."""
        start, self.losses, self.steps = time.process_time(), [], 0
        while self._goes_on(start):
            losses = [self.training_forward(batch) for batch in train_loader]
            self.losses.append(float(np.mean(losses)))
            self.steps += len(losses)
            self.epoch_update()

    def _goes_on(self, start):
        if self.seconds is None:
            return len(self.losses) < self.epoch_num
        return time.process_time() - start < self.seconds


class PyODAutoEncoder:
    """Default parameters; a budget changes the number of epochs, which is 10 without."""

    def fit(self, X, folder, seconds, seed):
        """Train."""
        self.detector = Timed(random_state=seed, verbose=0)
        self.detector.seconds = seconds
        self.detector.fit(to_rows(X))
        losses = self.detector.losses
        return {
            "steps": self.detector.steps,
            "epochs": len(losses),
            "first_loss": losses[0],
            "last_loss": losses[-1],
        }

    def detect(self, X):
        """Score images by the distance to their reconstruction; PyOD gives no map."""
        return -self.detector.decision_function(to_rows(X)), None

    def save(self, path):
        """Write the pickle that PyOD writes."""
        self.detector.save(path)
