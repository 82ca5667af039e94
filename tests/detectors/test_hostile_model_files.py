"""Damaged, forged and other files raise one error, run no code and take little memory."""

import io
import json
import os
import pickle
import random
import subprocess
import sys
import zipfile
from contextlib import suppress

import joblib
import numpy as np
import pytest
import torch
from hostile_files import (
    assert_refused,
    damage,
    forge,
    highest_memory,
    load_bytes,
    put_together,
    reset_highest_memory,
    take_apart,
)
from synthetic_images import make_images

import skanomaly
from skanomaly import (
    DenoisingAE,
    ModelFileError,
    PatchCorruption,
    SelfSupervisedAutoencoderDetector,
)
from skanomaly._tensor_file import _depth

ROWS = make_images(8, size=(2, 3)).reshape(8, 6)
IMAGES = make_images(4, size=(8, 8))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Files of a detector of rows, and of one of images with most kinds of content."""
    folder, options = tmp_path_factory.mktemp("models"), dict(max_iter=1, random_state=0)
    corruption = PatchCorruption(texture={"image": 1.0}, texture_images=IMAGES)
    detectors = [
        (DenoisingAE(network="linear", early_stopping=True, **options), ROWS),
        (
            SelfSupervisedAutoencoderDetector(corruption=corruption, network="plain", **options),
            IMAGES,
        ),
    ]
    contents = []
    for detector, X in detectors:
        detector.fit(X).save(folder / "model")
        # Imports of the first call are not caused by the file.
        skanomaly.load(folder / "model").predict(X)
        repr(detector)
        contents.append((folder / "model").read_bytes())
    return contents


def forged(content, change):
    """Change header or detector by a function, and update the checksum."""
    header, data = take_apart(content)
    detector = json.loads(header["__metadata__"]["detector"])
    change(header, detector)
    header["__metadata__"]["detector"] = json.dumps(detector)
    return put_together(header, data)


def test_a_file_that_is_put_together_again_is_read(whole, tmp_path):
    for content in whole:
        load_bytes(forged(content, lambda header, detector: None), tmp_path / "model")


def test_each_byte_of_a_small_file_counts(whole, tmp_path):
    content = whole[0]
    step = max(1, len(content) // 500)
    for place in range(0, len(content), step):
        flipped = bytes([content[place] ^ 1 << place % 8])
        assert_refused(content[:place] + flipped + content[place + 1 :], tmp_path / "model")
        assert_refused(content[:place], tmp_path / "model")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_is_not_run(whole, tmp_path):
    marker = tmp_path / "exploded"
    folder = tmp_path / "models"
    folder.mkdir()
    bomb = pickle.dumps(Bomb(str(marker)))
    joblib_bomb, torch_bomb, zipped = io.BytesIO(), io.BytesIO(), io.BytesIO()
    joblib.dump(Bomb(str(marker)), joblib_bomb)
    torch.save(Bomb(str(marker)), torch_bomb)
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../climbs", bytes(50_000_000))
    for content in (bomb, joblib_bomb.getvalue(), torch_bomb.getvalue(), zipped.getvalue()):
        assert_refused(content, folder / "model")
    # Bytes in an array of weights, with a valid checksum, are only numbers.
    header, data = take_apart(whole[0])
    with suppress(ModelFileError):  # They may be numbers that no fit gives.
        load_bytes(put_together(header, (bomb + data)[: len(data)]), folder / "model")
    assert not marker.exists()
    # The bomb is one.
    pickle.loads(bomb).close()
    assert marker.exists()


def set_shape(shape, offsets=None):
    def change(header, detector):
        header["standardization.mean"]["shape"] = shape
        if offsets:
            header["standardization.mean"]["data_offsets"] = offsets

    return change


def as_truth_values(header, detector):
    entry = header["standardization.mean"]
    entry.update(dtype="BOOL", shape=[entry["data_offsets"][1] - entry["data_offsets"][0]])


def set_detector(**values):
    return lambda header, detector: detector.update(values)


def set_model(**values):
    return lambda header, detector: detector["model"].update(values)


def set_surroundings(**settings):
    def change(header, detector):
        (config,) = (config for name, config in detector["steps"] if name == "Surroundings")
        config.update(settings)

    return change


def set_parameter(name, value):
    return lambda header, detector: detector["parameters"].update({name: value})


def set_metadata(name, value):
    return lambda header, detector: header["__metadata__"].update({name: value})


def rename(old, new):
    def change(header, detector):
        items = [(new if key == old else key, value) for key, value in header.items()]
        header.clear()
        header.update(items)

    return change


FORGERIES = {
    "elements": (set_shape([2**60]), "is invalid"),
    "sides": (set_shape([2**31, 2**31]), "is invalid"),
    "overflow": (set_shape([2**64 + 6]), "is invalid"),
    "negative": (set_shape([-6]), "is invalid"),
    "huge offsets": (set_shape([2**57], [0, 2**60]), "follow one another|another size"),
    "dimensions": (set_shape([1] * 40 + [6]), "is invalid"),
    "no number": (set_shape([6.0]), "is invalid"),
    "truth": (as_truth_values, "other values than 0 and 1"),
    "shape": (set_detector(image_shape=[2**60]), "is invalid"),
    "image": (set_detector(image_shape=[2**30, 2**30, 2**30]), "is invalid"),
    "class": (set_detector(**{"class": "os.system"}), "unknown class"),
    "base class": (set_detector(**{"class": "BaseAutoencoderDetector"}), "unknown class"),
    "no class": (set_detector(**{"class": {"a": 1}}), "unknown class"),
    "newer": (set_metadata("format_version", "5"), "newer version of skanomaly.*format 5"),
    "older": (set_metadata("format_version", "2"), "older version of skanomaly.*format 2"),
    "no version": (set_metadata("format_version", "one"), "is not a skanomaly model"),
    "long version": (set_metadata("format_version", "9" * 5000), "is not a skanomaly model"),
    "other format": (set_metadata("format", "other"), "is not a skanomaly model"),
    "parameter": (set_parameter("__class__", "x"), "is invalid"),
    "method": (set_parameter("predict", 1), "is invalid"),
    "checkpoint": (set_parameter("checkpoint", "../../x"), "checkpoint"),
    "network": (set_parameter("network", "../../x"), "network"),
    "wrong network": (set_parameter("network", "dense"), "do not fit"),
    "network of images": (set_parameter("network", "sdc"), "network"),
    "value": (set_parameter("contamination", 7), "contamination"),
    "long text": (set_parameter("standardization", "a" * 10**5), "standardization"),
    "wide filter": (set_parameter("smoothing_size", 2**60 + 1), "smoothing_size"),
    "many passes": (set_parameter("smoothing_passes", 2**60), "smoothing_passes"),
    "tag": (set_parameter("verbose", {"code": "import os"}), "unknown"),
    "array": (set_parameter("verbose", {"array": "../../x"}), "is invalid"),
    "name of an array": (rename("standardization.mean", "../../mean"), "is invalid"),
    "not a number": (set_model(offset=float("nan")), "cannot be read"),
    "infinite": (set_model(map_threshold=float("inf")), "cannot be read"),
    "text": (set_model(offset="0"), "is invalid"),
    "features": (set_detector(feature_names_in=["a"] * 10**5), "feature_names_in"),
    "own network": (set_detector(network="f" * 10**5), "network of its own"),
    "device": (set_parameter("device", {"device": 0}), "device"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_file_is_refused(name, whole, tmp_path):
    change, match = FORGERIES[name]
    assert_refused(forged(whole[0], change), tmp_path / "model", match)


def test_the_sides_of_images_and_of_their_surroundings_are_bounded(whole, tmp_path):
    huge = set_detector(image_shape=[2**20, 2**20, 1], n_features_in=2**40)
    assert_refused(forged(whole[1], huge), tmp_path / "model", "image_shape")
    for size in (2**60 + 1, 10, -1, 1.0, "1"):
        wide = set_surroundings(size=size)
        assert_refused(forged(whole[1], wide), tmp_path / "model", "steps|odd positive integer")
    for settings in ({"ceiling": 0.0}, {"weight": "1"}, {"exponent": 2.0}):
        other = set_surroundings(**settings)
        assert_refused(forged(whole[1], other), tmp_path / "model", "ceiling must|is invalid")
    for window in ([2**60, 8], [0, 8], [8], [8.0, 8], ["8", 8], "88", 8, {}):
        assert_refused(forged(whole[1], set_model(window=window)), tmp_path / "model", "window")
    assert_refused(forged(whole[0], set_model(window=[8, 8])), tmp_path / "model", "window")


def test_empty_arrays_stand_for_nothing_else(whole, tmp_path):
    for content in whole:
        names = [name for name in take_apart(content)[0] if name != "__metadata__"]
        for emptied in names:
            header, data = take_apart(content)
            kept, end = b"", 0
            for name in names:
                first, last = header[name]["data_offsets"]
                part = b"" if name == emptied else data[first:last]
                header[name]["data_offsets"] = [end, end + len(part)]
                kept, end = kept + part, end + len(part)
            header[emptied]["shape"] = [0] * len(header[emptied]["shape"]) or [0]
            forged_file = put_together(header, kept)
            # Curves, and parameters, which are checked when they are used.
            if emptied in ("loss_curve", "validation_curve", "parameters.0"):
                load_bytes(forged_file, tmp_path / "model")
            else:
                assert_refused(forged_file, tmp_path / "model")


def test_a_header_that_is_no_header(whole, tmp_path):
    header, data = take_apart(whole[0])
    path = tmp_path / "model"
    deep = b"[" * 200_000
    for raw in (deep, deep + b"]" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b"[]", b"9" * 10**6):
        assert_refused(put_together(header, data, raw_header=raw), path)
    metadata = header["__metadata__"]
    nested = metadata | {"detector": "[" * 200_000 + "]" * 200_000}
    assert_refused(put_together(header | {"__metadata__": nested}, data), path, "damaged")
    for numbers in ("1e999", "-Infinity", "NaN", "1" * 5000):
        text = metadata["detector"].replace('"offset": ', f'"offset": {numbers}, "o": ')
        assert text != metadata["detector"]
        forged_metadata = metadata | {"detector": text}
        assert_refused(put_together(header | {"__metadata__": forged_metadata}, data), path)
    for length in (0, 1, 2**22 + 1, 2**40, 2**63, 2**64 - 1):
        assert_refused(
            length.to_bytes(8, "little") + whole[0][8:], path, "is not a skanomaly model"
        )


@pytest.mark.parametrize("checksum", ["\ud800", "", "0" * 63, "G" * 64, "0" * 10**5])
def test_a_checksum_that_is_none(checksum, whole, tmp_path):
    header, data = take_apart(whole[0])
    header["__metadata__"]["sha256"] = checksum
    raw = json.dumps(header).encode()
    content = len(raw).to_bytes(8, "little") + raw + data
    assert_refused(content, tmp_path / "model", "checksum mismatch")


def test_nesting_is_bounded_whatever_python_may_do(whole, tmp_path):
    header, data = take_apart(whole[0])
    program = (
        "import sys, skanomaly\n"
        "sys.setrecursionlimit(10**9)\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        skanomaly.load(path)\n"
        "    except skanomaly.ModelFileError:\n"
        "        print('refused')\n"
    )
    paths = [tmp_path / name for name in "abc"]
    headers = b"[" * 10**6, b'{"a":' * 500_000, b'["[\\"",' * 400_000
    for path, deep in zip(paths, headers, strict=True):
        path.write_bytes(put_together(header, data, raw_header=deep))
    run = [sys.executable, "-c", program, *paths]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.split() == ["refused"] * 3
    depths = {_depth(text) for text in ('[[{"a": "]]["}]]', '[[["', '[[["\\"', '"[[[["', "[]][[[")}
    assert depths == {0, 2, 3}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_no_weights(value, whole, tmp_path):
    header, data = take_apart(whole[0])
    names = [name for name in header if name.startswith(("network.", "standardization.", "steps."))]
    assert len(names) > 4
    for name in names:
        if name.startswith("steps.") and np.isinf(value):
            continue  # as some limits are
        start, _ = header[name]["data_offsets"]
        kind = {"F32": "<f4", "F64": "<f8"}[header[name]["dtype"]]
        number = np.array(value, kind).tobytes()
        altered = data[:start] + number + data[start + len(number) :]
        content = put_together(header, altered)
        assert_refused(content, tmp_path / "model", "with NaN or infinity")


def test_a_detector_that_no_file_can_hold_is_not_written(tmp_path):
    detector = DenoisingAE(network="linear", max_iter=1, random_state=0).fit(ROWS)
    with torch.no_grad():
        next(detector.network_.parameters())[0] = torch.nan
    with pytest.raises(ValueError, match="rejected, because it is damaged.*NaN or infinity"):
        detector.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("device", ["meta", "hpu", "hpu:0", "xla", "vulkan", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_replaced_by_the_cpu(device, whole, tmp_path):
    for value in (device, {"device": device}):
        content = forged(whole[0], set_parameter("device", value))
        detector = load_bytes(content, tmp_path / "model")
        assert detector.device_ == torch.device("cpu")
        assert np.isfinite(detector.score_samples(ROWS)).all()


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="Linux tells the memory")
def test_arrays_are_held_once(whole, tmp_path):
    header, data = take_apart(whole[0])
    size = 2**27
    header["network.x"] = {
        "dtype": "F32",
        "shape": [size // 4],
        "data_offsets": [len(data), len(data) + size],
    }
    (tmp_path / "model").write_bytes(put_together(header, data + bytes(size)))
    reset_highest_memory()
    before = highest_memory()
    with pytest.raises(ModelFileError, match="do not fit"):
        skanomaly.load(tmp_path / "model")
    assert highest_memory() - before < 1.6 * size


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="Linux tells the memory")
def test_no_file_takes_much_memory(whole, tmp_path):
    path = tmp_path / "model"
    header, _ = take_apart(whole[0])
    reset_highest_memory()
    before = highest_memory()
    # A sparse file of a terabyte with a valid header.
    header["standardization.mean"] = {"dtype": "F64", "shape": [2**37], "data_offsets": [0, 2**40]}
    path.write_bytes(
        put_together(
            {
                "__metadata__": header["__metadata__"],
                "standardization.mean": header["standardization.mean"],
            },
            b"",
        )
    )
    os.truncate(path, path.stat().st_size + 2**40)
    with pytest.raises(ModelFileError, match="more than any"):
        skanomaly.load(path)
    os.truncate(path, 2**30)
    with pytest.raises(ModelFileError, match="another size"):
        skanomaly.load(path)
    for name in ("elements", "huge offsets", "shape", "image", "wide filter", "own network"):
        assert_refused(forged(whole[0], FORGERIES[name][0]), path)
    # As many empty lists as the longest header holds.
    lists = b'{"__metadata__":{"a":"' + b"0" * 64 + b'"},"x":[' + b"[]," * 1_390_000 + b"[]]}"
    assert 4_000_000 < len(lists) < 2**22
    assert_refused(put_together({"__metadata__": {}}, b"", raw_header=lists), path)
    assert highest_memory() - before < 200 * 2**20


def test_a_long_header_is_not_parsed(whole, tmp_path):
    header, data = take_apart(whole[0])
    header["__metadata__"]["sha256"] = "0" * 64
    padded = json.dumps(header).encode() + b" " * 2**22
    assert_refused(put_together(header, data, raw_header=padded), tmp_path / "model", "is not a")


def test_filters_as_wide_as_a_file_may_ask_for(whole, tmp_path):
    widest = forged(whole[1], set_model(smoothing_size=2**14 + 1))
    detector = load_bytes(widest, tmp_path / "model")
    reset_highest_memory()
    before = highest_memory()
    assert np.isfinite(detector.score_samples(IMAGES)).all()
    assert highest_memory() - before < 100 * 2**20


def fuzz(whole, path, count, seed):
    """Read damaged and forged files, and count the outcomes."""
    moves, outcomes = random.Random(seed), {"damaged": 0, "forged": 0, "harmless": 0}
    for index in range(count):
        content = whole[0 if moves.random() < 0.8 else 1]
        if index % 2:
            assert_refused(damage(content, moves), path)
            outcomes["damaged"] += 1
            continue
        try:
            load_bytes(forge(content, moves), path)
            outcomes["harmless"] += 1
        except ModelFileError:
            outcomes["forged"] += 1
    return outcomes


def test_damaged_and_forged_files(whole, tmp_path):
    outcomes = fuzz(whole, tmp_path / "model", 300, seed=0)
    assert outcomes["damaged"] == 150 and outcomes["forged"] > 75


@pytest.mark.long
@pytest.mark.slow
def test_many_damaged_and_forged_files(whole, tmp_path, capsys):
    on_linux = os.path.exists("/proc/self/clear_refs")
    if on_linux:
        reset_highest_memory()
    before = highest_memory() if on_linux else 0
    outcomes = fuzz(whole, tmp_path / "model", 10_000, seed=1)
    growth = (highest_memory() - before) / 2**20 if on_linux else 0
    with capsys.disabled():
        print(f"\nfiles: {outcomes}, memory up by {growth:.0f} MiB")
    assert growth < 200 and outcomes["damaged"] == 5000
