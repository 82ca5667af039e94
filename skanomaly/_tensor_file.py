"""Named arrays and text in one file, in the safetensors format, with a checksum.

A file holds the length of the header in eight bytes, the header in JSON, and the bytes of the
arrays. Reading it runs no code, and takes no more memory than the size of the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ._files import atomic_write

# A parsed header takes about twenty times its length in memory.
_LARGEST_HEADER = 4 * 2**20
_LARGEST_FILE = 2 * 2**30
# Largest depth of nested lists and objects; that of a detector is about ten.
_DEEPEST = 100
_CHECKSUM = "sha256"
_NO_CHECKSUM = "0" * 64
_DTYPES = {
    **{"F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "|b1"},
    **{"I8": "|i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"},
    **{"U8": "|u1", "U16": "<u2", "U32": "<u4", "U64": "<u8"},
}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}


class ModelFileError(ValueError):
    """A file is not a model of this library, is damaged, or has another format version.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import skanomaly
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.safetensors"
    ...     _ = path.write_bytes(b"something else")
    ...     try:
    ...         skanomaly.load(path)
    ...     except skanomaly.ModelFileError as error:
    ...         print(type(error).__name__)
    ModelFileError
    """


def write_tensor_file(
    path: Path, metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write text and arrays durably, and replace an old file atomically.

    Raises
    ------
    TypeError
        If the format does not support the dtype of an array.
    ValueError
        If the file would be too large to be read.
    OSError
        If the file cannot be written.
    """
    entries: dict[str, Any] = {"__metadata__": {**metadata, _CHECKSUM: _NO_CHECKSUM}}
    parts, end = [], 0
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _NAMES:
            raise TypeError(f"{name} has dtype {array.dtype}, which a model file cannot hold.")
        start, end = end, end + array.nbytes
        parts.append(np.ascontiguousarray(array, dtype=dtype).data)
        entries[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    header = json.dumps(entries, separators=(",", ":"), allow_nan=False).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > _LARGEST_HEADER or 8 + len(header) + end > _LARGEST_FILE:
        raise ValueError(
            f"This is too large for a model file: {len(header)} bytes of parameters, of at most "
            f"{_LARGEST_HEADER}, and {end} bytes of arrays, of at most {_LARGEST_FILE} with them."
        )
    head = len(header).to_bytes(8, "little") + header
    digest = hashlib.sha256(head)
    for part in parts:
        digest.update(part)
    # The checksum is computed with zeros in its place, at the end of the metadata.
    position = head.index(f'"{_CHECKSUM}":"{_NO_CHECKSUM}"}}'.encode()) + len(_CHECKSUM) + 4
    with atomic_write(path, durable=True) as aside, aside.open("wb") as file:
        file.write(head[:position] + digest.hexdigest().encode() + head[position + 64 :])
        for part in parts:
            file.write(part)


def read_tensor_file(
    path: Path, *, kind: str, versions: tuple[int, int]
) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Read a file of `write_tensor_file`.

    Parameters
    ----------
    path : Path
    kind : str
        Required value of ``metadata["format"]``.
    versions : (int, int)
        Lowest and highest accepted value of ``metadata["format_version"]``.

    Raises
    ------
    ModelFileError
        If the file is invalid.
    OSError
        If the file does not exist or cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ModelFileError(f"'{path}' is not a file.")
    try:
        with path.open("rb") as file:
            return _read(file, kind, versions)
    except ModelFileError as error:
        raise ModelFileError(f"'{path}' {error}.") from error


def _read(
    file: BinaryIO, kind: str, versions: tuple[int, int]
) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    size = os.fstat(file.fileno()).st_size
    if size > _LARGEST_FILE:
        raise ModelFileError(f"has {size} bytes, which is more than any {kind} has")
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= min(_LARGEST_HEADER, size - 8):
        raise ModelFileError(f"is not a {kind}, or is damaged")
    header = file.read(length)
    entries = parse_json(header)
    found = entries.pop("__metadata__", None) if isinstance(entries, dict) else None
    metadata: dict[str, str] = found if isinstance(found, dict) else {}
    is_text = all(isinstance(value, str) for value in metadata.values())
    if not is_text or metadata.get("format") != kind:
        raise ModelFileError(f"is not a {kind}, or is damaged")
    _check_version(metadata.get("format_version", ""), kind, *versions)

    claimed = metadata.get(_CHECKSUM, "")
    if not re.fullmatch("[0-9a-f]{64}", claimed):
        raise ModelFileError("is damaged: checksum mismatch")
    digest = hashlib.sha256(start)
    digest.update(header.replace(claimed.encode(), _NO_CHECKSUM.encode(), 1))
    arrays, end = {}, 0
    spans = [(name, *_checked_entry(name, entry)) for name, entry in entries.items()]
    for _, _, _, first, last in spans:
        if first != end:
            raise ModelFileError("is damaged: its arrays do not follow one another")
        end = last
    if 8 + length + end != size:
        raise ModelFileError("is damaged: it was cut short, or its arrays have another size")
    for name, dtype, shape, first, last in spans:
        buffer = bytearray(last - first)
        if file.readinto(buffer) != len(buffer):  # type: ignore[attr-defined]
            raise ModelFileError("was cut short while it was read")
        digest.update(buffer)
        if dtype.kind == "b" and max(buffer, default=0) > 1:
            raise ModelFileError(f"is damaged: {name!r} holds other values than 0 and 1")
        arrays[name] = np.frombuffer(buffer, dtype).reshape(shape)
    if digest.hexdigest() != claimed:
        raise ModelFileError("is damaged: checksum mismatch")
    return metadata, arrays


def _check_version(found: str, kind: str, oldest: int, newest: int) -> None:
    if not (found.isascii() and found.isdecimal() and 1 <= len(found) <= 9):
        raise ModelFileError(f"is not a {kind}, or is damaged")
    if not oldest <= int(found) <= newest:
        writer = "an older" if int(found) < oldest else "a newer"
        remedy = "Fit the detector again" if int(found) < oldest else "Update skanomaly"
        raise ModelFileError(
            f"was written by {writer} version of skanomaly: it has format {found}, and this "
            f"version reads formats {oldest} to {newest}. {remedy}"
        )


def _checked_entry(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """Return dtype, shape, first byte and end of an array, after checking that they agree."""
    try:
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"]
        first, last = entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (first, last, *shape))
        if whole and len(shape) <= 8 and last - first == math.prod(shape) * dtype.itemsize:
            return dtype, tuple(shape), first, last
    except (KeyError, TypeError, ValueError):
        pass
    raise ModelFileError(f"is damaged: its entry of the array {name!r} is invalid")


def parse_json(text: str | bytes) -> Any:
    """Parse untrusted JSON.

    Raises
    ------
    ModelFileError
        If it is invalid, has numbers that are not finite, or is nested too deeply.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a finite number")

    def finite(digits: str) -> float:
        return float(digits) if math.isfinite(float(digits)) else refuse(digits)

    try:
        text = text if isinstance(text, str) else text.decode()
        # Before parsing, since too deep a recursion of the parser may crash the process.
        if _depth(text) > _DEEPEST:
            raise ValueError("it is nested too deeply")
        return json.loads(text, parse_float=finite, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ModelFileError("is damaged: its header cannot be read") from error


def _depth(text: str) -> int:
    """Nesting depth of JSON."""
    # Also matches an unterminated string, so that the time is linear in the length.
    outside = re.sub(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', "", text, flags=re.DOTALL)
    brackets = np.frombuffer(re.sub(r"[^][{}]", "", outside).encode(), dtype=np.uint8)
    opening = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opening, 1, -1)).max(initial=0))
