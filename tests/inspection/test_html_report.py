"""The page of scored images: what stands in it, what it says of odd names, and its size."""

import base64
import io
import re
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import LocalOutlierFactor
from synthetic_images import make_images, plant_defects

from skanomaly import DenoisingAE
from skanomaly.datasets import ImageSequence
from skanomaly.inspection import overlay_anomaly_map, write_html_report
from skanomaly.inspection._html_report import html_report

ODD = [
    "<script>document.title='taken'</script>.png",
    "<img src=x onerror=alert(1)>.png",
    '" onmouseover="alert(1)" \'single\' &amp; &#60;.png',
    "two\nlines\r.png",
    "{{script}} ${title} <!-- rows --> </template></table>.png",
    "部品 ü \u202egnp.exe",
    "bytes \udcff\udcfe.png",
]


class Page(HTMLParser):
    """Rows of the table, as a browser would read them, and all elements with their attributes."""

    def __init__(self, path):
        super().__init__()
        self.rows, self.elements, self.script = [], [], ""
        self._tag = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._tag = tag
        if tag == "tr" and "data-score" in dict(attributes):
            self.rows.append({"cells": [], "images": [], **dict(attributes)})
        if self.rows and tag == "td":
            self.rows[-1]["cells"].append("")
        if self.rows and tag == "img":
            self.rows[-1]["images"].append(dict(attributes))

    def handle_endtag(self, tag):
        self._tag = None

    def handle_data(self, data):
        if self._tag == "script":
            self.script += data
        elif self.rows and self._tag in ("td", "bdi"):
            self.rows[-1]["cells"][-1] += data


def decode(source):
    head, data = source.split(",")
    assert re.fullmatch("data:image/(jpeg|png);base64", head)
    return np.array(Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGB"))


def write(path, names=("a",), *, image=None, anomaly_map=None, threshold=-0.5, **options):
    image = np.full((16, 24), 120, dtype=np.uint8) if image is None else image
    anomaly_map = np.zeros(image.shape[:2]) if anomaly_map is None else anomaly_map
    with html_report(
        path, title=names[0], facts={names[0]: names[0]}, threshold=threshold, map_threshold=1.0
    ) as add:
        for index, name in enumerate(names):
            given = {"score": -index / 4, "decision": 0.5 - index / 4, "kind": name} | options
            add(name, image, anomaly_map, **given)
    return Page(path)


@pytest.fixture(scope="module")
def fitted():
    return DenoisingAE(max_iter=3, random_state=0).fit(make_images(8, size=(16, 16)))


def test_rows_say_what_the_detector_says(fitted, tmp_path):
    images, masks = plant_defects(make_images(5, size=(16, 16), seed=1))
    kinds = ["good", "hole", "hole", "crack", "good"]
    write_html_report(fitted, images, tmp_path / "a.html", kinds=kinds, masks=masks)
    page = Page(tmp_path / "a.html")
    scores = [float(row["data-score"]) for row in page.rows]
    np.testing.assert_array_equal(scores, fitted.score_samples(images))
    verdicts = ["normal" if label == 1 else "anomalous" for label in fitted.predict(images)]
    assert [row["data-decision"] for row in page.rows] == verdicts
    cells = [row["cells"] for row in page.rows]
    expected = zip(kinds, scores, verdicts, strict=True)
    assert cells == [
        ["", str(index), kind, f"{score:.4g}", verdict]
        for index, (kind, score, verdict) in enumerate(expected)
    ]
    (table,) = [attributes for tag, attributes in page.elements if tag == "table"]
    assert float(table["data-threshold"]) == fitted.offset_
    mask = page.rows[0]["images"][-1]
    assert mask["alt"] == "true mask"
    np.testing.assert_array_equal(decode(mask["src"])[..., 0] > 0, masks[0])


def test_batches_are_scored_as_one(fitted, tmp_path, monkeypatch):
    images = make_images(5, size=(16, 16), seed=1)
    write_html_report(fitted, images, tmp_path / "whole.html")
    monkeypatch.setattr("skanomaly.inspection._html_report._BATCH_PIXELS", 2 * 16 * 16)
    write_html_report(fitted, images, tmp_path / "parts.html")
    pages = [(tmp_path / name).read_text() for name in ("whole.html", "parts.html")]
    number = r"-?\d+\.\d{4,}"
    whole, parts = (re.split(number, page) for page in pages)
    assert whole == parts
    scores, again = (np.array(re.findall(number, page), dtype=float) for page in pages)
    np.testing.assert_allclose(again, scores, rtol=1e-6)


def test_files_are_named_within_their_folder(fitted, tmp_path, monkeypatch):
    paths = []
    for name in ("x/a.png", "y/b.png"):
        paths.append(tmp_path / "photos" / name)
        paths[-1].parent.mkdir(parents=True)
        Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(paths[-1])
    write_html_report(fitted, ImageSequence(paths), tmp_path / "a.html")
    assert [row["cells"][1] for row in Page(tmp_path / "a.html").rows] == ["x/a.png", "y/b.png"]
    # Absolute and relative paths in one sequence.
    monkeypatch.chdir(tmp_path)
    mixed = ImageSequence([paths[0], "photos/y/b.png"])
    write_html_report(fitted, mixed, "b.html")
    assert [row["cells"][1] for row in Page(tmp_path / "b.html").rows] == ["x/a.png", "y/b.png"]


def test_a_detector_of_vectors_has_neither_map_nor_threshold_of_maps(tmp_path):
    class Flat:
        def __init__(self, images):
            rows = images.reshape(len(images), -1)
            self.inner = LocalOutlierFactor(novelty=True, n_neighbors=3).fit(rows)

        def score_samples(self, images):
            return self.inner.score_samples(images.reshape(len(images), -1))

    images = make_images(8, size=(16, 16))
    write_html_report(Flat(images), images, tmp_path / "a.html")
    page = Page(tmp_path / "a.html")
    assert all(len(row["images"]) == 1 for row in page.rows)
    assert {row["data-decision"] for row in page.rows} == {""}


def test_odd_names_stay_text(tmp_path):
    page = write(tmp_path / "a.html", ODD)
    names = [row["cells"][1] for row in page.rows]
    assert names == [*ODD[:-1], r"bytes \udcff\udcfe.png"]
    assert [row["cells"][2] for row in page.rows] == names
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1 and tags.count("table") == 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    facts = [attributes for tag, attributes in page.elements if tag == "dd"]
    assert len(facts) == 1


def test_the_page_loads_nothing(tmp_path):
    page = write(tmp_path / "a.html")
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "url(" not in text and "@import" not in text
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_overlay_and_the_map(tmp_path):
    image = np.full((32, 32), 120, dtype=np.uint8)
    anomaly_map = np.full((32, 32), 0.01)
    normal = write(tmp_path / "a.html", image=image, anomaly_map=anomaly_map).rows[0]["images"]
    assert [each["alt"] for each in normal] == ["", "anomaly map"]
    anomaly_map[8:24, 8:24] = 20.0
    shown = write(tmp_path / "b.html", image=image, anomaly_map=anomaly_map).rows[0]["images"]
    assert [each["alt"] for each in shown] == [
        "",
        "where the map exceeds the threshold",
        "anomaly map",
    ]
    # Black and pale yellow are the ends of the scale; JPEG is not exact.
    heat = decode(shown[2]["src"])
    assert heat[0, 0].tolist() == [0, 0, 4] and heat[16, 16].tolist() == [252, 255, 164]
    overlay = overlay_anomaly_map(image, anomaly_map, 1.0).astype(int)
    assert np.abs(decode(shown[1]["src"]) - overlay).mean() < 6
    assert np.abs(decode(shown[0]["src"]).astype(int) - 120).max() < 3


def test_small_defects_are_not_lost_in_large_images(tmp_path):
    image = np.full((1500, 1000), 120, dtype=np.uint8)
    anomaly_map, mask = np.full(image.shape, 0.01), np.zeros(image.shape, bool)
    anomaly_map[701:704, 500:503], mask[701:704, 500:503] = 20.0, True
    page = write(tmp_path / "a.html", image=image, anomaly_map=anomaly_map, mask=mask)
    shown = {each["alt"]: decode(each["src"]) for each in page.rows[0]["images"]}
    overlay = shown["where the map exceeds the threshold"].astype(int)
    assert np.abs(overlay - 120).max() > 60
    assert shown["anomaly map"].reshape(-1, 3).max(0).tolist() == [252, 255, 164]
    assert shown["true mask"].max() == 255


def test_the_reason_why_an_image_could_not_be_read(tmp_path):
    text = "'a.png' is <not> an image"
    page = write(tmp_path / "a.html", score=None, decision=None, error=text)
    assert page.rows[0]["data-decision"] == "unreadable"
    assert "&#x27;a.png&#x27; is &lt;not&gt; an image" in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize("shape", [(1000, 3000), (3000, 10, 3), (700, 700, 3)])
def test_sizes_are_bounded(tmp_path, shape):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, shape, dtype=np.uint8)
    page = write(tmp_path / "a.html", image=image, anomaly_map=random.random(shape[:2]) * 4)
    sides = [max(decode(each["src"]).shape) for each in page.rows[0]["images"]]
    assert sides == [256, 256, 128]
    # Noise is the worst case.
    assert (tmp_path / "a.html").stat().st_size < 500_000


def test_memory_does_not_grow_with_images(tmp_path):
    image = np.full((16, 24), 120, dtype=np.uint8)

    def peak(count):
        facts = {"title": "a", "facts": {}, "threshold": None, "map_threshold": 1.0}
        tracemalloc.start()
        with html_report(tmp_path / f"{count}.html", **facts) as add:
            for index in range(count):
                add(str(index), image, image, score=0.0, decision=0.0)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)
    few, many = peak(20), peak(400)
    added = (tmp_path / "400.html").stat().st_size - (tmp_path / "20.html").stat().st_size
    assert added > 500_000 and many < few + added / 10


def test_numbers_that_are_none(tmp_path):
    page = write(tmp_path / "a.html", score=float("nan"), decision=None, threshold=None, kind="")
    (row,) = page.rows
    assert (row["data-score"], row["data-decision"], row["cells"][3]) == ("", "", "")


def test_nothing_is_left_of_a_page_that_failed(tmp_path):
    path = tmp_path / "a.html"
    path.write_text("before")
    with pytest.raises(ValueError, match="shape"):
        write(path, image=np.zeros((2, 2, 2, 2)))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["names", "kinds", "masks"])
def test_lengths_must_agree(fitted, tmp_path, name):
    images = make_images(3, size=(16, 16))
    with pytest.raises(ValueError, match=f"'{name}' must have one value for each of the 3"):
        write_html_report(fitted, images, tmp_path / "a.html", **{name: ["x"]})
    assert not list(Path(tmp_path).iterdir())


def test_names_of_other_types_become_text(fitted, tmp_path):
    names = [1, 2.5, Path("a") / "b.png", None]
    write_html_report(fitted, make_images(4, size=(16, 16)), tmp_path / "a.html", names=names)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert all(f"<bdi>{name}</bdi>" in text for name in names)


def test_vectors_are_no_images(fitted, tmp_path):
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        write_html_report(fitted, np.zeros((3, 4)), tmp_path / "a.html")


def test_images_that_are_no_arrays_get_the_messages_of_fit(fitted, tmp_path):
    for X in ("folder", [tmp_path / "a.png"]):
        with pytest.raises(TypeError, match="Read files with skanomaly.datasets.ImageSequence"):
            write_html_report(fitted, X, tmp_path / "a.html")
    with pytest.raises(ValueError, match="1 or 3 channels to be drawn, got 5 instead"):
        write_html_report(fitted, np.zeros((3, 16, 16, 5)), tmp_path / "a.html")


def test_kinds_are_taken_in_order_whatever_their_labels(fitted, tmp_path):
    pandas = pytest.importorskip("pandas")
    images = make_images(4, size=(16, 16))
    kinds = pandas.Series(list("abcd"), index=[3, 2, 1, 0])
    write_html_report(fitted, images, tmp_path / "a.html", kinds=kinds)
    assert [row["cells"][2] for row in Page(tmp_path / "a.html").rows] == list("abcd")


def test_a_detector_without_scores_is_refused(tmp_path):
    images = make_images(8, size=(16, 16))
    detector = LocalOutlierFactor(n_neighbors=2).fit(images.reshape(8, -1))
    with pytest.raises(ValueError, match="must have score_samples, got LocalOutlierFactor"):
        write_html_report(detector, images, tmp_path / "a.html")
