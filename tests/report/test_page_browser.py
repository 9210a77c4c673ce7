"""The report's page in a real browser: dots that tell, lines that are sorted, filtered and marked, a phone's page."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from signal_miner.report.page import write_report
from tests.helpers.report import SOURCES, make_contents, with_ensembles, with_further_scores, with_payouts

DRIVER = shutil.which("chromedriver")
MISSING = [
    *(["selenium"] if importlib.util.find_spec("selenium") is None else []),
    *(name for name in ("chromium", "chromedriver") if shutil.which(name) is None),
]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not here"),
    pytest.mark.slow,
]

TABLE = "return [...document.querySelectorAll('#leaderboard tbody tr')].filter(row => !row.hidden)"
DOT = """
const figure = document.querySelector('#figure-past_vs_future svg');
figure.scrollIntoView({block: 'center'});
const points = data.figures.past_vs_future, box = figure.getBoundingClientRect();
const scale = box.width / figure.viewBox.baseVal.width;
const at = {clientX: box.left + points.x[0] * scale, clientY: box.top + points.y[0] * scale, bubbles: true};
figure.dispatchEvent(new PointerEvent('pointermove', at));
const told = document.getElementById('tip').innerText;
figure.dispatchEvent(new MouseEvent('click', at));
return told;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[object, str]]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    directory = tmp_path_factory.mktemp("page")
    contents = with_further_scores(with_ensembles(make_contents()))
    page = write_report(contents, SOURCES, directory)[0].as_uri()
    write_report(with_payouts(contents), SOURCES, directory / "paid")
    options = webdriver.ChromeOptions()
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1600,1000"):
        options.add_argument(switch)
    options.binary_location = str(shutil.which("chromium"))
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver, page
    finally:
        driver.quit()


@pytest.fixture
def opened(browser) -> tuple[object, str]:
    """The page as it is first shown on a desktop."""
    driver, page = browser
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get(page)
    return driver, page


def test_the_leaderboard_fits_sorts_and_filters(opened) -> None:
    driver, page = opened
    for each in (page.replace("report.html", "paid/report.html"), page):
        driver.get(each)
        wide = driver.execute_script(
            "const box = document.querySelector('.scroll'); return box.scrollWidth - box.clientWidth"
        )
        assert wide <= 0
    assert len(driver.execute_script(TABLE)) == 18  # two ensembles, fifteen trials and the benchmark
    head = driver.find_element("css selector", "th[data-column='7'] button")  # test Sharpe
    for direction in (1, -1):
        head.click()
        texts = driver.execute_script(f"{TABLE}.map(row => row.cells[7].dataset.value)")
        values = [direction * float(text) for text in texts]
        assert values == sorted(values, reverse=True)
    driver.find_element("id", "all").click()
    assert len(driver.execute_script(TABLE)) == 83
    driver.find_element("id", "filter").send_keys("max_depth 3 unclear")
    rows = driver.execute_script(f"{TABLE}.map(row => row.textContent)")
    assert all("unclear" in row for row in rows)
    driver.find_element("id", "filter").clear()


def test_dots_tell_and_mark(opened) -> None:
    driver, _ = opened
    driver.find_element("css selector", "#filter").send_keys(" ")
    told = driver.execute_script(DOT).splitlines()
    name = driver.execute_script("return data.models[0].name")
    assert name in told[0] or told[0].startswith("ensemble")  # the ensembles have the same scores
    assert told[1].startswith("validation: Sharpe ")
    chosen = driver.find_element("id", "chosen")
    link = chosen.find_element("tag name", "a").get_attribute("href")
    assert link.startswith("http://127.0.0.1:5000/#/experiments/1/runs/")
    assert len(driver.find_elements("css selector", "tr.marked")) == 1
    shown = driver.execute_script(
        "return [...document.querySelectorAll('.mark')].filter(mark => mark.style.display === 'inline').length"
    )
    assert shown >= 2
    chosen.find_element("tag name", "button").click()
    assert not driver.find_elements("css selector", "tr.marked")


def test_a_phones_page_is_short_and_shows_scores_first(opened, tmp_path: Path) -> None:
    driver, page = opened
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    driver.get(page)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    assert driver.execute_script("return document.documentElement.scrollHeight") < 4600
    seen = driver.execute_script(
        "const row = document.querySelector('#leaderboard tbody tr'), edge = row.parentNode.closest('.scroll');"
        "const right = edge.getBoundingClientRect().right;"
        "return [...row.cells].filter(cell => cell.getBoundingClientRect().right <= right).length"
    )
    assert seen >= 4  # its name, what to expect, and the first scores of validation
