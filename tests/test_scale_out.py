"""Search and scoring in several processes of joblib and of a Dask cluster."""

import os

import joblib
import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from synthetic_images import make_images

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.datasets import ImageSequence

DETECTOR = SelfSupervisedAutoencoderDetector(max_iter=4, batch_size=4, random_state=0)
IMAGES = make_images(18, size=(16, 16)).astype(np.float32)
COLOUR = make_images(11, size=(16, 16), channels=3, seed=1)


@pytest.fixture(scope="module", autouse=True)
def no_threads_given():
    """Unset the limit on threads of the tests, which would hide workers without one."""
    with pytest.MonkeyPatch.context() as patch:
        for library in ("OMP", "MKL", "OPENBLAS"):
            patch.delenv(f"{library}_NUM_THREADS", raising=False)
        yield


@pytest.fixture(scope="module")
def cluster(no_threads_given):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def one_thread():
    """Use the threads of a worker, since the last digits of training depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fitted():
    return clone(DETECTOR).fit(IMAGES)


def search(scoring):
    """Results of a small search over the corruption with the current backend."""
    grid = {"corruption__radius": [0.1, (0.2, 0.4)]}
    found = GridSearchCV(DETECTOR, grid, scoring=scoring, cv=2, refit=False, error_score="raise")
    return found.fit(IMAGES).cv_results_


def report_worker(detector, X, y=None):
    """Return process and number of threads, after a fit, as a score."""
    return {"process": os.getpid(), "threads": torch.get_num_threads()}


def mean_score(detector, X, y=None):
    return detector.score_samples(X).mean()


def check_workers(results):
    for fold in (0, 1):
        assert os.getpid() not in results[f"split{fold}_test_process"]
        threads = results[f"split{fold}_test_threads"]
        assert threads.max() <= max(1, joblib.cpu_count() // 2)


def test_the_workers_of_a_search_share_the_cores():
    with joblib.parallel_config("loky", n_jobs=2):
        check_workers(search(report_worker))


def test_the_workers_of_a_cluster_share_the_cores(cluster):
    with joblib.parallel_config("dask"):
        check_workers(search(report_worker))


def test_fit_and_score_leave_the_number_of_threads_alone(one_thread):
    torch.set_num_threads(2)
    clone(DETECTOR).fit(IMAGES).predict(IMAGES)
    assert torch.get_num_threads() == 2


def test_search_on_a_cluster(cluster, one_thread):
    expected = search(mean_score)["mean_test_score"]
    with joblib.parallel_config("dask"):
        results = search(mean_score)
    assert len(set(expected)) == 2
    np.testing.assert_allclose(results["mean_test_score"], expected, rtol=1e-5)


@pytest.mark.parametrize("images", [IMAGES, COLOUR], ids=["gray", "colour"])
def test_blocks_of_a_dask_array(cluster, images):
    """Images scored one by one in workers have the scores of a direct call."""
    detector = clone(DETECTOR).fit(images)
    array = pytest.importorskip("dask.array")
    blocks = array.from_array(images, chunks=(4, *images.shape[1:]))
    axes = tuple(range(1, images.ndim))
    scores = blocks.map_blocks(detector.score_samples, dtype=float, drop_axis=axes)
    maps = blocks.map_blocks(detector.anomaly_map, dtype=float, drop_axis=axes[2:])
    assert scores.numblocks == (len(blocks.chunks[0]),) and maps.shape == images.shape[:3]
    np.testing.assert_array_equal(scores.compute(), detector.score_samples(images))
    np.testing.assert_array_equal(maps.compute(), detector.anomaly_map(images))


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_slices_of_a_list_of_files(cluster, fitted, backend, tmp_path):
    """Workers are sent paths only, and read the files."""
    paths = [tmp_path / f"{index:02d}.png" for index in range(len(IMAGES))]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray((255 * image).astype(np.uint8)).save(path)
    files = ImageSequence(paths)
    with joblib.parallel_config(backend, n_jobs=2):
        parts = Parallel()(
            delayed(fitted.score_samples)(files[start : start + 5]) for start in range(0, 18, 5)
        )
    np.testing.assert_array_equal(np.concatenate(parts), fitted.score_samples(files))
