"""Memory, time, threads and processes of a detector in long service."""

import gc
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from networks_for_faults import send_scores, tiny_network
from sklearn.base import clone
from synthetic_images import make_images

from skanomaly import SelfSupervisedAutoencoderDetector

DETECTOR = SelfSupervisedAutoencoderDetector(
    network=tiny_network, max_iter=3, batch_size=4, random_state=0, device="cpu"
)
SIZES = [(16, 16), (32, 24), (9, 41), (64, 64), (24, 32), (48, 16)]


@pytest.fixture(scope="module")
def detector():
    return clone(DETECTOR).fit(make_images(8, size=(16, 16)))


def resident_megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor_time(function, *arguments):
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def serve(detector, calls):
    """Memory in MB and duration of each call, for images of mixed sizes and numbers.

    The duration is processor time, relative to that of a fixed convolution beside it, as the
    machine may be busy. On several threads, it would include their waiting for each other.
    """
    fixed = torch.nn.Conv2d(8, 8, 3), torch.zeros(8, 8, 64, 64)
    pictures = [make_images(3, size=size, seed=i) for i, size in enumerate(SIZES)]
    memory, duration = np.empty(calls), np.empty(calls)
    for call in range(calls):
        X = pictures[call % len(SIZES)][: 1 + call % 3]
        duration[call] = processor_time(detector.predict, X) / processor_time(*fixed)
        memory[call] = resident_megabytes()
    return memory, duration


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from /proc")
@pytest.mark.parametrize(
    "calls", [300, pytest.param(50_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_memory_and_time_of_many_calls_stay_flat(detector, calls):
    warm_up, threads = calls // 3, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        serve(detector, 60)
        gc.collect()
        memory, duration = serve(detector, calls)
    finally:
        torch.set_num_threads(threads)
    print(
        f"{calls} calls: {memory[warm_up]:.1f} MB after warm-up, at most "
        f"{memory[warm_up:].max():.1f}, {memory[-1]:.1f} at the end; median "
        f"{np.median(duration[:warm_up]):.2f} convolutions at first, "
        f"{np.median(duration[-warm_up:]):.2f} at last"
    )
    assert abs(memory[warm_up:] - memory[warm_up]).max() < 20
    assert np.median(duration[-warm_up:]) < 1.5 * np.median(duration[:warm_up])


def test_threads_may_share_a_detector(detector):
    pictures = [make_images(3, size=SIZES[i % len(SIZES)], seed=i) for i in range(48)]
    wanted = [detector.score_samples(X) for X in pictures]
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(detector.score_samples, pictures))
    for scores, expected in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(scores, expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_detector_works_in_processes_started_either_way(detector, method):
    """Spawned workers unpickle it; forked ones share its memory and use one thread of torch."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        X = make_images(5, size=(20, 24))
        wanted = detector.score_samples(X)
        context = multiprocessing.get_context(method)
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=send_scores, args=(detector, X, sender))
        process.start()
        assert receiver.poll(90), "the child process gave no answer"
        np.testing.assert_array_equal(receiver.recv(), wanted)
        process.join(30)
        assert process.exitcode == 0
    finally:
        torch.set_num_threads(threads)
