"""Measurements in the documentation are of the current version, and come from a command."""

import re
import runpy
from pathlib import Path

import pytest

import skanomaly

DOCS = Path(__file__).parents[2] / "docs"
TABLES = sorted((DOCS / "tables").glob("*.txt"))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.stem)
def test_a_table_names_its_command_and_the_current_version(table):
    text = table.read_text("utf-8")
    assert text.startswith("python ")
    assert set(re.findall(r"skanomaly (\d+\.\d+\.\S*?)[,\s]", text)) == {skanomaly.__version__}


@pytest.mark.parametrize("page", ["comparison", "failures", "label_free_selection"])
def test_a_page_of_measurements_names_its_command_and_the_current_version(page):
    text = (DOCS / f"{page}.rst").read_text("utf-8")
    assert re.search(r"^ +(OMP_NUM_THREADS=1 )?python docs/", text, re.M)
    assert set(re.findall(r"skanomaly (\d+\.\d+\.\d+)", text)) == {skanomaly.__version__}


def test_the_results_page_shows_each_table_that_a_command_measures():
    page = (DOCS / "results.rst").read_text("utf-8")
    shown = re.findall(r"literalinclude:: tables/(\w+)\.txt", page)
    assert sorted(shown) == [table.stem for table in TABLES]
    assert set(shown) == set(runpy.run_path(str(DOCS / "measure.py"))["COMMANDS"])
    assert "code-block:: text" not in page
