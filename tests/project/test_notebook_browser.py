"""The walkthrough in JupyterLab in Chromium: the progress bar moves while further cells run."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

import signal_miner
from signal_miner import BackgroundMiner
from tests.helpers.background import kill
from tests.helpers.mining import ROOT, environment

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
MISSING = [
    *(name for name in ("jupyterlab", "selenium") if importlib.util.find_spec(name) is None),
    *(name for name, path in (("Chromium", BROWSER), ("chromedriver", DRIVER)) if path is None),
]

pytestmark = [
    pytest.mark.docs,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not here"),
]

TRIALS = 600
"""Enough that mining is still running when the test checks it, on any machine."""

SECONDS = 180.0  # the first 20 trials, and before them the trainer is compiled
SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,1800"
)
SETTINGS = {
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    "notebook-extension/tracker": '{"windowingMode": "none"}',  # all cells are in the page, seen or not
}

CELLS = """
return Array.from(document.querySelectorAll('.jp-CodeCell')).map(cell => ({
    source: cell.querySelector('.cm-content').textContent,
    prompt: cell.querySelector('.jp-InputArea-prompt').textContent,
    html: Array.from(cell.querySelectorAll('.jp-RenderedHTMLCommon, .jp-RenderedHTML')).map(each => each.textContent),
    widths: Array.from(cell.querySelectorAll('.jp-OutputArea-output div')).map(each => each.style.width),
    errors: Array.from(cell.querySelectorAll('[data-mime-type$="stderr"], [data-mime-type$="error"]')).map(
        each => each.textContent
    ),
}))
"""

Found = TypeVar("Found")


def until(look: Callable[[], Found], what: str) -> Found:
    """Call repeatedly until the result is truthy, and return it."""
    end = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < end, what
        time.sleep(0.2)
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the project with a long walkthrough; its miner is killed after the test."""
    directory = tmp_path / "project"
    for name in ("signal_miner", "experiments"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_*"))
    shutil.copy(ROOT / "MLproject", directory)
    path = directory / "experiments" / "walkthrough.ipynb"
    text, count = re.subn(r"\btrials=\d+", f"trials={TRIALS}", path.read_text(encoding="utf-8"))
    assert count
    path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(directory)
    yield directory
    for status in (directory / "studies").glob("*.status.json"):
        kill(BackgroundMiner(status.name.removesuffix(".status.json"), status.parent))


@contextmanager
def jupyterlab(project: Path) -> Iterator[str]:
    """Serve a project with a JupyterLab of default settings plus these; yield the walkthrough's address."""
    own = project.parent / "jupyter"
    for name, text in SETTINGS.items():
        path = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    variables = environment() | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "JUPYTER_CONFIG_DIR": str(own),
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "IPYTHONDIR": str(own / "ipython"),
        "JUPYTER_TOKEN": token,
    }
    del variables["PYTHONPATH"]  # the copy is the project, as the first cell finds it
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    with (project.parent / "jupyterlab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={project}"],
            cwd=project,
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            until(lambda: answers(port) or server.poll() is not None, "JupyterLab does not answer")
            assert server.poll() is None, Path(log.name).read_text()
            yield f"http://127.0.0.1:{port}/lab/tree/experiments/walkthrough.ipynb?token={token}"
        finally:
            server.terminate()  # ends its kernels first
            server.wait(30)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def chromium(directory: Path) -> Iterator[Any]:
    """Yield a browser with a fresh profile."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for switch in (*SWITCHES.split(), f"--user-data-dir={directory / 'chromium'}"):
        options.add_argument(switch)
    options.binary_location = str(BROWSER)
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """JupyterLab with an open notebook; elements are looked up again each time."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def cells(self) -> list[dict[str, Any]]:
        """Return source, prompt and outputs of the code cells."""
        return list(self.driver.execute_script(CELLS))

    def cell(self, source: str) -> dict[str, Any]:
        """Return the one cell whose source contains this."""
        (found,) = [cell for cell in self.cells() if source in cell["source"]]
        return found

    def click(self, path: str) -> None:
        """Click on the element of an XPath once it is visible."""
        from selenium.webdriver.common.by import By

        def seen() -> Any:
            return next((each for each in self.driver.find_elements(By.XPATH, path) if each.is_displayed()), None)

        until(seen, f"{path} is not on the page").click()

    def menu(self, *labels: str) -> None:
        """Choose from the menu."""
        for label in labels:
            self.click(f"//*[contains(@class, 'lm-Menu') and contains(@class, 'Label')][normalize-space()='{label}']")


@pytest.fixture
def page(project: Path) -> Iterator[Page]:
    """The walkthrough, open and with an idle kernel."""
    with ExitStack() as closing:
        address = closing.enter_context(jupyterlab(project))
        page = Page(closing.enter_context(chromium(project.parent)))
        page.driver.get(address)
        until(lambda: len(page.cells()) > 10, "the notebook is not open")
        until(
            lambda: page.driver.execute_script("return document.body.textContent").count("| Idle"), "there is no kernel"
        )
        yield page


def ran(cell: dict[str, Any]) -> bool:
    """Return whether a cell has finished and shows its number."""
    return re.fullmatch(r"\[\d+\]:", cell["prompt"]) is not None


def width(cell: dict[str, Any]) -> float:
    """Return the length of the bar in a cell's output, in percent."""
    (share,) = filter(None, cell["widths"])
    return float(share.removesuffix("%"))


def trials(cell: dict[str, Any]) -> int:
    """Return how many finished trials the bar in a cell's output shows."""
    found = re.search(rf"(\d+) of {TRIALS} trials", " ".join(cell["html"]))
    return int(found[1]) if found else 0


def test_the_bar_moves_while_further_cells_run(project: Path, page: Page) -> None:
    page.click("//*[contains(@class, 'jp-Notebook')]//h2[contains(., 'Evaluate and compare')]")
    page.menu("Run", "Run All Above Selected Cell")
    start, waited, board, end = "start_mining(", "miner.wait(timeout", "miner.leaderboard()", "miner.wait()"
    until(lambda: ran(page.cell(board)), "the cells after the start do not run")
    assert ran(page.cell(start))
    assert ran(page.cell(waited))
    assert page.cell(board)["html"]
    assert page.cell(end)["prompt"] == "[*]:"  # it waits for the running miner
    miner = signal_miner.attach("walkthrough")
    assert miner.progress().running

    before = until(lambda: trials(page.cell(start)) and page.cell(start), "no bar with trials is shown")
    until(lambda: trials(page.cell(start)) > trials(before) + 1, "the number of trials in the bar does not change")
    assert width(page.cell(start)) > width(before) > 0
    assert page.cell(end)["prompt"] == "[*]:"

    stopped = miner.stop()
    assert (stopped.state, stopped.done < TRIALS) == ("stopped", True)
    until(lambda: ran(page.cell(end)), "the wait does not end")
    until(lambda: "stopped" in " ".join(page.cell(start)["html"]), "the bar does not say that it stopped")
    assert trials(page.cell(start)) == stopped.done
    assert {cell["source"]: cell["errors"] for cell in page.cells() if cell["errors"]} == {}
