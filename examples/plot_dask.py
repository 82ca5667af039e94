"""
==================================
Search and score on a Dask cluster
==================================

Run a grid search on several processes or machines with `Dask <https://www.dask.org>`_, and score
more images than fit into memory. The cluster in this example is two processes on one machine. With
the address of a scheduler, ``Client("tcp://...")``, the same code runs on many machines.
"""

# %%
# Each process of a local cluster imports this script when it starts. Therefore the code is in
# functions, which are called under ``if __name__ == "__main__":``. A notebook does not need this.

import time
from functools import partial

import dask.array as da
import joblib
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client, LocalCluster, get_task_stream
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces
from skanomaly.model_selection import NormalOnlySplit
from skanomaly.networks import ConvolutionalAutoencoder

# %%
# Search
# ------
# :class:`~sklearn.model_selection.GridSearchCV` runs its fits with joblib, and
# ``joblib.parallel_config("dask")`` sends each fit to a free worker. Dask starts its workers with
# ``OMP_NUM_THREADS=1``, so that torch uses one thread per worker. Start as many workers as there
# are cores.


def search_corruption(X, y):
    """Fit four candidates on two folds, and return the best one, unfitted."""
    detector = SelfSupervisedAutoencoderDetector(
        network=partial(ConvolutionalAutoencoder, width=16),
        max_iter=50,
        batch_size=8,
        crop_size=32,
        normalize_map=False,
        random_state=0,
    )
    grid = {
        "corruption__radius": [(0.03, 0.1), (0.1, 0.4)],
        "corruption__opacity": [(0.05, 0.2), (0.2, 1.0)],
    }
    search = GridSearchCV(detector, grid, scoring="roc_auc", cv=NormalOnlySplit(2), refit=False)
    with joblib.parallel_config("dask"):
        search.fit(X, y)
    for parameters, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        print(f"{score:.3f}", parameters)
    return clone(detector).set_params(**search.best_params_)


# %%
# Score
# -----
# A Dask array is made of blocks, for instance one per file, which need not fit into memory
# together. ``map_blocks`` sends each block and a copy of the fitted detector to a worker.


def score_blocks(detector, images):
    """Scores (n,) and maps (n, h, w) of images (n, h, w), in blocks of eight images."""
    blocks = da.from_array(images, chunks=(8, *images.shape[1:]))
    scores = blocks.map_blocks(detector.score_samples, dtype=float, drop_axis=(1, 2))
    maps = blocks.map_blocks(detector.anomaly_map, dtype=float)
    print(scores)
    return da.compute(scores, maps)


# %%
# Draw the timeline
# -----------------
# ``get_task_stream`` records which worker computed what, and when.


def draw_timeline(axes, kinds, begin):
    """One bar for each task, in the lane of its worker."""
    workers = sorted({task["worker"] for tasks in kinds.values() for task in tasks})
    for label, tasks in kinds.items():
        spans = [
            (workers.index(task["worker"]), span["start"], span["stop"] - span["start"])
            for task in tasks
            for span in task["startstops"]
            if span["action"] == "compute"
        ]
        lane, start, seconds = np.transpose(spans)
        axes.barh(lane, seconds, left=start - begin, edgecolor="white", linewidth=0.3, label=label)
    axes.set_yticks(range(len(workers)), [f"worker {index}" for index in range(len(workers))])
    axes.set(xlabel="seconds", xlim=(0, None), ylim=(-0.5, len(workers)))
    axes.legend(loc="upper left", ncols=len(kinds))


# %%
# Run
# ---
# The best candidate is trained on a worker as well. Without ``dashboard_address=None``, Dask serves
# a web page that shows the progress. The scores computed in blocks equal those of ``score_samples``
# for all images at once. The figure shows what the workers did, and the image with the lowest
# score.

if __name__ == "__main__":
    data = make_textured_surfaces("brick", n_defects=24, random_state=0)
    has_defect = data.y_test == -1
    X = np.concatenate([data.X_train, data.X_test[has_defect]])
    y = np.concatenate([np.full(len(data.X_train), 1), data.y_test[has_defect]])

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        begin = time.time()
        with get_task_stream(client) as fits:
            winner = search_corruption(X, y)
            winner = client.submit(winner.fit, data.X_train).result()
        with get_task_stream(client) as blocks:
            scores, maps = score_blocks(winner, data.X_test)

    print("equal scores:", np.array_equal(scores, winner.score_samples(data.X_test)))

    figure, axes = plt.subplots(
        1, 3, figsize=(10, 2.4), width_ratios=[3, 1, 1], layout="constrained"
    )
    draw_timeline(axes[0], {"fits": fits.data, "blocks scored": blocks.data}, begin)
    worst = np.argmin(scores)
    axes[1].imshow(data.X_test[worst], cmap="gray")
    axes[1].set_title("lowest score")
    axes[2].imshow(maps[worst], cmap="inferno")
    axes[2].set_title("its anomaly map")
    for axis in axes[1:]:
        axis.set_axis_off()
    plt.show()
