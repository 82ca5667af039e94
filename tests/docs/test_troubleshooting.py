"""The page on troubleshooting knows every message of the library."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.rst"


def phrases() -> Iterator[str]:
    """The first fixed words of each message, up to five of them, under the name of its file."""
    for path in sorted((ROOT / "skanomaly").rglob("*.py")):
        if "_cli" in path.parts:
            continue  # a command prints its own line, which says what to pass
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else node
            if not isinstance(call, ast.Call) or not call.args:
                continue
            if isinstance(node, ast.Raise) or ast.unparse(call.func) == "warn":
                message = call.args[0]
                parts = message.values if isinstance(message, ast.JoinedStr) else [message]
                fixed = (p.value for p in parts if isinstance(p, ast.Constant) and p.value)
                yield from [" ".join(f.split()[:5]) for f in fixed if len(f.split()) > 2][:1]


def test_every_message_is_on_the_page():
    if not PAGE.exists():
        pytest.skip("the documentation is not here")
    page = " ".join(PAGE.read_text("utf-8").split())
    missing = sorted({phrase for phrase in phrases() if phrase not in page})
    assert missing == []
