"""The page of scored images in a headless Chromium: sort, filter by kind of defect, open."""

import shutil

import numpy as np
import pytest

from skanomaly.inspection._html_report import html_report

webdriver = pytest.importorskip("selenium.webdriver")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed"
)

SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--disable-dev-shm-usage", "--window-size=1200,900"),
)
TAKEN = "<img src=x onerror=\"document.title='taken'\">.png"
IMAGES = [  # name, kind, score
    ("10.png", "good", -0.1),
    ("9.png", "good", -0.2),
    ("a.png", "crack", -0.9),
    (TAKEN, "hole", -0.7),
    ("b.png", "crack", -0.3),
]
THRESHOLD = -0.5


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser with the page of IMAGES open."""
    folder = tmp_path_factory.mktemp("browser")
    page = folder / "report.html"
    with html_report(page, title="Report", facts={}, threshold=THRESHOLD, map_threshold=1.0) as add:
        for name, kind, score in IMAGES:
            image = np.full((20, 30), 100, dtype=np.uint8)
            anomaly_map = np.full((20, 30), 0.1 if kind == "good" else 5.0)
            options = {"score": score, "decision": score - THRESHOLD, "kind": kind}
            add(name, image, anomaly_map, **options, mask=anomaly_map > 1)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for switch in (*SWITCHES, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.get(page.as_uri())
        yield driver
        # Nothing was blocked, missing or thrown.
        assert driver.get_log("browser") == []
    finally:
        driver.quit()


@pytest.fixture
def page(browser):
    """The page as it is when it was just opened."""
    browser.refresh()
    return browser


def select(page, selector):
    return page.find_elements("css selector", selector)


def shown(page):
    rows = [row for row in select(page, "tbody tr") if row.is_displayed()]
    return [row.find_element("css selector", "bdi").text for row in rows]


def pick(page, name, value):
    (option,) = select(page, f"#{name} option[value='{value}']")
    option.click()


def test_the_most_anomalous_come_first_and_names_are_text(page):
    assert shown(page) == ["a.png", TAKEN, "b.png", "9.png", "10.png"]
    assert page.title == "Report"
    assert page.find_element("id", "count").text == "5 of 5 images, 2 anomalous"


def test_sort(page):
    (by_score,) = select(page, "th[data-key=score] button")
    by_score.click()
    assert shown(page) == ["10.png", "9.png", "b.png", TAKEN, "a.png"]
    (by_name,) = select(page, "th[data-key=name] button")
    by_name.click()
    assert shown(page) == [TAKEN, "9.png", "10.png", "a.png", "b.png"]
    by_name.click()
    assert shown(page)[0] == "b.png"
    (sorted_by,) = select(page, "th[aria-sort]")
    assert sorted_by.get_attribute("aria-sort") == "descending"


def test_images_without_kinds_have_neither_column_nor_filter(page, tmp_path):
    assert all(each.is_displayed() for each in select(page, ".kind"))
    plain = tmp_path / "plain.html"
    with html_report(plain, title="", facts={}, threshold=THRESHOLD, map_threshold=None) as add:
        add("a.png", np.zeros((20, 30), dtype=np.uint8), None, score=-0.9, decision=-0.4)
    page.get(plain.as_uri())
    states = [each.is_displayed() for each in select(page, ".kind")]
    page.back()
    assert states == [False] * 3


def test_filters(page):
    pick(page, "kind", "crack")
    assert shown(page) == ["a.png", "b.png"]
    pick(page, "decision", "normal")
    assert shown(page) == ["b.png"]
    assert page.find_element("id", "count").text == "1 of 5 images, 0 anomalous"
    pick(page, "kind", "")
    page.find_element("id", "search").send_keys("10.P")
    assert shown(page) == ["10.png"]


def test_the_histogram_counts_what_is_shown(page):
    def heights(kind):
        return [float(bar.get_attribute("height")) for bar in select(page, f"rect.{kind}")]

    assert len(heights("good")) == 2 and len(heights("bad")) == 3
    (line,) = select(page, "line[stroke-dasharray]")
    left, right = (bar.get_attribute("x") for bar in select(page, "rect.bad")[:2])
    assert float(left) < float(right) < float(line.get_attribute("x1"))
    pick(page, "kind", "hole")
    assert heights("good") == [] and len(heights("bad")) == 1


def test_open_a_picture(page):
    pick(page, "kind", "crack")
    select(page, "tbody tr:not([hidden]) .open")[0].click()
    assert page.find_element("id", "opened").text == "a.png"
    assert page.find_element("id", "facts").text == "crack · score -0.9 · anomalous"
    captions = [each.text for each in select(page, "#panels figcaption")]
    assert captions == [
        "image",
        "where the map exceeds the threshold",
        "anomaly map",
        "true mask",
    ]
    sizes = [each.get_property("naturalWidth") for each in select(page, "#panels img")]
    assert sizes == [30] * 4
    page.find_element("id", "next").click()
    assert page.find_element("id", "opened").text == "b.png"
    page.find_element("id", "next").click()
    assert page.find_element("id", "opened").text == "a.png"
    page.find_element("id", "close").click()
    assert not page.find_element("css selector", "dialog").is_displayed()
