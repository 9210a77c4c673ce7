"""The page of ``live`` in a real browser: on a desktop and on a phone, light and dark."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from signal_miner.live.review import review_slots
from signal_miner.live.slots import read_slots
from signal_miner.report.live_page import write_live_page
from tests.helpers.live_rounds import SLOTS, three_slots, write_slots

MISSING = [
    *(["selenium"] if importlib.util.find_spec("selenium") is None else []),
    *(name for name in ("chromium", "chromedriver") if shutil.which(name) is None),
]
pytestmark = [pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not here"), pytest.mark.slow]

LAYOUT = """
const seen = [...document.querySelectorAll('td .badge')].map(each => each.getBoundingClientRect().right);
const style = getComputedStyle(document.body);
return {width: document.documentElement.scrollWidth, shown: document.documentElement.clientWidth,
        badges: Math.max(...seen),
        tables: [...document.querySelectorAll('.scroll')].map(each => each.scrollWidth - each.clientWidth),
        paper: style.backgroundColor, ink: style.color, figures: document.querySelectorAll('figure svg').length}
"""


def test_a_desktop_shows_all_and_a_phone_the_standings_in_both_themes(
    tournament, run_id, own_store, tmp_path: Path
) -> None:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    three_slots(tournament)
    review = review_slots(read_slots(write_slots(tmp_path / "slots.toml")), own_store, tmp_path / "live")
    page = write_live_page(review, tmp_path / "live").resolve().as_uri()
    options = webdriver.ChromeOptions()
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1600,1000"):
        options.add_argument(switch)
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        papers = []
        for width, theme in ((1600, "light"), (1600, "dark"), (390, "light"), (390, "dark")):
            metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
            driver.get(page)
            layout = driver.execute_script(LAYOUT)
            assert layout["width"] <= layout["shown"], (width, theme)
            assert layout["badges"] <= layout["shown"], "the standing is what a phone has to show"
            assert width < 600 or max(layout["tables"]) <= 0
            assert layout["figures"] == len(SLOTS)
            assert layout["paper"] != layout["ink"]
            papers.append(layout["paper"])
        assert papers[0] == papers[2] != papers[1] == papers[3]
        assert not driver.get_log("browser")  # nothing was blocked, or asked for elsewhere
    finally:
        driver.quit()
