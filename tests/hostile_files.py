"""Damaged and malicious files, and the effects of reading them."""

import copy
import hashlib
import json
import os
import sys
from contextlib import contextmanager

import pytest

import skanomaly

HOSTILE_VALUES = [
    *(
        None,
        True,
        -1,
        0,
        1,
        2**31,
        2**60,
        2**70,
        -(2**63),
        1e300,
        -0.5,
        "",
        "x",
        "../../etc/passwd",
    ),
    *("/tmp/x", "\0", "meta", "cuda:0", "os.system", "__reduce__", "a" * 5000, [], {}, [[]]),
    *([2**60], [2**31, 2**31], [0], [1] * 50, {"tuple": []}, {"array": "mean"}, {"device": "x"}),
    *({"corruption": {"radius": 2**60}}, {"dict": {"a": 1}}, {"code": "import os"}, ["tuple", 1]),
]


def take_apart(content):
    """Split a file into header and data."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header, data, *, raw_header=None):
    """Make a file with a valid checksum."""
    header = copy.deepcopy(header)
    header["__metadata__"]["sha256"] = "0" * 64
    text = json.dumps(header).encode() if raw_header is None else raw_header
    head = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(head + data).hexdigest().encode()
    return head.replace(b"0" * 64, digest, 1) + data


def damage(content, random):
    """Change bytes of a file at random."""
    while True:
        place, other = random.randrange(len(content)), random.randrange(len(content))
        kind = random.choice(
            ["bit", "byte", "short", "longer", "remove", "repeat", "swap", "zeros"]
        )
        # Half of the changes are in the header, which has more structure.
        if random.random() < 0.5:
            place = random.randrange(min(len(content), 4000))
        count = random.randrange(1, 64)
        before, after = content[:place], content[place:]
        changed = {
            "bit": before + bytes([content[place] ^ 1 << random.randrange(8)]) + after[1:],
            "byte": before + random.randbytes(1) + after[1:],
            "short": before,
            "longer": content + random.randbytes(count),
            "remove": before + after[count:],
            "repeat": before + after[:count] + after,
            "swap": before + content[other : other + count] + after[count:],
            "zeros": before + bytes(count) + after[count:],
        }[kind]
        if changed != content:
            return changed


def forge(content, random):
    """Change one to three entries of the header, and update the checksum."""
    header, data = take_apart(content)
    detector = json.loads(header["__metadata__"]["detector"])
    for _ in range(random.randrange(1, 4)):
        tree = random.choice([detector, detector, header])
        parent, key = random.choice(list(_places(tree)))
        if random.random() < 0.2:
            del parent[key]
        else:
            parent[key] = copy.deepcopy(random.choice(HOSTILE_VALUES))
        if "__metadata__" not in header or not isinstance(header["__metadata__"], dict):
            header["__metadata__"] = {}
    if random.random() < 0.9:
        header["__metadata__"]["detector"] = json.dumps(detector)
    return put_together(header, data)


def _places(tree):
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], (dict, list)):
            yield from _places(tree[key])


PROCESS_EVENTS = (
    *("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.fork"),
    *("os.forkpty", "pty.spawn"),
)
_WATCHED = ("pickle.find_class", *PROCESS_EVENTS)
_watching = []


def _note(event, arguments):
    if not _watching:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event in (*_WATCHED, "exec", "compile", "import", "socket.connect", "os.remove"):
        _watching[-1].append((event, arguments))


@contextmanager
def watched():
    """Collect audit events of code that runs, imports, unpickles, writes or connects."""
    if not getattr(sys, "_skanomaly_watched", False):
        sys.addaudithook(_note)
        sys._skanomaly_watched = True
    events = []
    _watching.append(events)
    try:
        yield events
    finally:
        _watching.pop()


def highest_memory():
    """Peak memory of this process in bytes since `reset_highest_memory`."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def reset_highest_memory():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def load_bytes(content, path):
    """Write a model file and load it, which runs nothing else."""
    path.write_bytes(content)
    with watched() as events:
        try:
            return skanomaly.load(path)
        finally:
            assert events == []


def assert_refused(content, path, match=None):
    """Loading raises a short ModelFileError that names the file, and leaves nothing."""
    with pytest.raises(skanomaly.ModelFileError, match=match) as caught:
        load_bytes(content, path)
    message = str(caught.value)
    assert str(path) in message and len(message) < 1000
    assert os.listdir(path.parent) == [path.name]
