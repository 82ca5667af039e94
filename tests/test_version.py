"""The version is written down once."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

import skanomaly


def test_the_installed_version_is_that_of_the_code():
    assert version("skanomaly") == skanomaly.__version__


def test_the_changelog_knows_the_version():
    changelog = Path(__file__).parents[1] / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("the changelog is not here")
    headings = re.findall(r"^## \[(.+?)\]", changelog.read_text("utf-8"), flags=re.MULTILINE)
    assert skanomaly.__version__ in headings
