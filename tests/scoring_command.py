"""``skanomaly score`` as a call, and the table that it writes."""

import csv

from skanomaly._cli import main


def score(photos, *arguments):
    return main(["score", str(photos.model), *map(str, arguments)])


def read_table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
