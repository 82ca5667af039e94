"""This library's detector, with default parameters or within a budget of seconds."""

import time

from skanomaly import SelfSupervisedAutoencoderDetector

TRIALS = (5, 30)


class Ours:
    """SelfSupervisedAutoencoderDetector; a budget sets only its number of steps."""

    def fit(self, X, folder, seconds, seed):
        """Fit; the number of steps follows from two short trainings, which are not counted."""
        parameters = {}
        if seconds is not None:
            taken = [self._fit(X, seed, max_iter=steps) for steps in TRIALS]
            step = (taken[1] - taken[0]) / (TRIALS[1] - TRIALS[0])
            # The first one may take longer, since it starts torch.
            step = max(step, 0.5 * taken[1] / TRIALS[1])
            # Training is planned with 3 % to spare.
            left = 0.97 * seconds - (taken[0] - TRIALS[0] * step)
            parameters["max_iter"] = max(1, int(left / step))
        training = self._fit(X, seed, **parameters)
        losses = self.detector.loss_curve_
        return {
            "training_seconds": training,
            "steps": self.detector.n_iter_,
            "first_loss": float(losses[0]),
            "last_loss": float(losses[-1]),
        }

    def _fit(self, X, seed, **parameters):
        start = time.process_time()
        self.detector = SelfSupervisedAutoencoderDetector(random_state=seed, **parameters).fit(X)
        return time.process_time() - start

    def detect(self, X):
        """Score images."""
        found = self.detector.detect(X)
        return found.score_samples, found.anomaly_map

    def save(self, path):
        """Write a model file."""
        self.detector.save(path)
