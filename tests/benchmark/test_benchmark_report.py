"""Tables in Markdown and published figures beside them."""

import numpy as np
import pytest

from skanomaly.benchmark import describe_environment, markdown_report, read_references


def make_row(dataset, detector, seed, auroc, **others):
    names = {"dataset": dataset, "size": 64, "detector": detector, "seed": seed}
    return {**names, "image_roc_auc": auroc, **others}


def cells(text, start, occurrence=0):
    lines = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in lines[occurrence].strip("|").split("|")]


def test_mean_and_spread_over_seeds():
    values = [0.91, 0.95, 0.96]
    rows = [make_row("nut", "A", seed, value) for seed, value in enumerate(values)]
    text = markdown_report([*rows, make_row("nut", "B", 0, 0.5)])
    expected = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert cells(text, "A") == ["A", "3", expected]
    assert cells(text, "B") == ["B", "1", "0.500"]
    assert "## Mean over" not in text and "## Versions" not in text


def test_what_is_not_known_is_a_dash_or_no_column():
    rows = [
        make_row("nut", "A", 0, 0.9, pixel_roc_auc=0.8, false_alarms=None),
        make_row("nut", "B", 0, 0.7, pixel_roc_auc=None, false_alarms=None),
    ]
    text = markdown_report(rows)
    assert cells(text, "detector") == ["detector", "seeds", "image AUROC", "pixel AUROC"]
    assert cells(text, "B") == ["B", "1", "0.700", "–"]


def test_kinds_of_defects_have_a_table_of_each_dataset():
    rows = [
        make_row("nut", "A", 0, 0.9, **{"image_roc_auc crack": 0.8}),
        make_row("nut", "A", 1, 0.9, **{"image_roc_auc crack": 0.6}),
        make_row("bolt", "A", 0, 0.9, **{"image_roc_auc dent": 0.4}),
    ]
    text = markdown_report(rows)
    assert cells(text, "detector", 1) == ["detector", "crack"]
    assert cells(text, "A", 1) == ["A", "0.700 ± 0.141"]
    assert cells(text, "detector", 3) == ["detector", "dent"]


def test_means_over_datasets_are_of_detectors_that_have_them_all():
    rows = [
        make_row("nut", "A", 0, 0.9, pixel_roc_auc=0.7),
        make_row("nut", "A", 1, 0.8, pixel_roc_auc=None),
        make_row("nut", "B", 0, 0.6),
        make_row("bolt", "A", 0, 0.5, pixel_roc_auc=0.9),
        make_row("bolt", "A", 1, 0.6, pixel_roc_auc=0.9),
    ]
    means = markdown_report(rows).partition("## Mean over 2 datasets")[2]
    assert cells(means, "detector") == ["detector", "seeds", "image AUROC", "pixel AUROC"]
    assert cells(means, "A") == ["A", "2", "0.700 ± 0.000", "0.800"]
    assert "| B |" not in means


def test_costs_have_three_figures_that_count():
    costs = {"training_seconds": 453.21, "scoring_images_per_second": 17.523}
    text = markdown_report([make_row("nut", "A", 0, 0.5, peak_memory_mb=1234.5, **costs)])
    assert cells(text, "A", 1) == ["A", "453", "17.5", "1234"]


def test_machines_are_told_apart():
    here = {**describe_environment(), "n_jobs": 1, "start_memory_mb": 300.0}
    rows = [make_row("nut", "A", seed, 0.5, **here) for seed in range(3)]
    text = markdown_report(rows)
    assert f"- skanomaly {here['skanomaly']}, torch {here['torch']}, " in text
    assert "of 3 runs" not in text and "300 MB before" in text
    rows[2]["torch"] = "0.1"
    text = markdown_report(rows)
    assert "- 2 of 3 runs: " in text and "- 1 of 3 runs: skanomaly" in text


def test_names_do_not_break_a_table():
    text = markdown_report([make_row("nut", "A(x='|')", 0, 0.5)])
    assert r"| A(x='\|') | 1 |" in text


def test_published_figures_stand_under_a_heading_that_says_so(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text('detector,image AUROC,source\nPeer,97.7 %,"Some Paper, Table 2"\nOther,,Web\n')
    rows = [make_row("nut", "A", 0, 0.5)]
    text = markdown_report(rows, references=read_references(path))
    measured, heading, published = text.partition("## Published figures, not measured here\n")
    assert heading and "Peer" not in measured and "| A |" not in published
    assert cells(published, "detector") == ["detector", "image AUROC", "source"]
    assert cells(published, "Peer") == ["Peer", "97.7 %", "Some Paper, Table 2"]
    assert "not measured here" not in markdown_report(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("detector,auroc\nPeer,1\n", "lacks 'source'"),
        ("", "lacks 'detector' and 'source'"),
        ("detector,source\nPeer,Paper\nOther, \n", "Line 3 of .* names no source"),
        ("detector,source\nPeer,Paper,2020\n", "Line 2 of .* too many"),
        ('detector,source\nPeer,"' + "x" * 200_000, "published.csv' is not a CSV file"),
        ("detector,source\nPeer,M\udcfcller\n", "published.csv' is not a CSV file in UTF-8"),
    ],
)
def test_published_figures_need_a_source(tmp_path, text, message):
    path = tmp_path / "published.csv"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=message):
        read_references(path)


def test_no_rows_make_no_tables():
    assert markdown_report([]).strip() == ""
