"""Make the documentation's pictures from a mined demo: run it in the project's folder after `mlflow run . -e mine`.

    python docs/make_pictures.py

Needs Chromium and ChromeDriver on the path, and the packages of requirements-dev.txt.
"""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.era_splits import AGREEING, drifting_market, era_correlations  # noqa: E402
from signal_miner.report.style import BENCHMARK, BLUE, GRID, drawing, legend_above, new_figure, png  # noqa: E402
from signal_miner.tracking.studies import Studies  # noqa: E402

PICTURES = Path(__file__).parent
_COLORS = 256
_TRIALS_SHOWN = 28
_MARGIN = 24
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


# Plotly always shows its toolbar if there is no mouse to hover with.
_NO_TOOLBARS = "document.head.appendChild(document.createElement('style')).textContent = '.modebar {display: none}'"


@contextmanager
def browser(width: int, height: int) -> Iterator[WebDriver]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        for flag in (*_FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            driver.set_window_size(width, height + (height - driver.execute_script("return window.innerHeight")))
            yield driver
        finally:
            driver.quit()


@contextmanager
def served(*command: str, health: str, **environment: str) -> Iterator[str]:
    """Start a server and yield its address; ``{port}`` in the command becomes a free one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", *(word.format(port=port) for word in command)],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(address + health), 60)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def until(reached: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"not reached in {seconds} s")
        time.sleep(0.3)


def _answers(address: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5)
    except OSError:
        return False
    return True


def has(driver: WebDriver, text: str) -> bool:
    return bool(driver.execute_script("return document.body.innerText.includes(arguments[0])", text))


def save(driver: WebDriver, name: str, height: int | None = None) -> None:
    picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    if height is not None and height > picture.height:
        raise ValueError(f"{name}: {height} pixels are wanted of a window of {picture.height}")
    picture = picture.crop((0, 0, picture.width, height or picture.height))
    colors = picture.quantize(_COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    colors.save(PICTURES / name, optimize=True)


def picture_ui() -> None:
    """Save the charts of all trials against the benchmark, and the report."""
    study = Studies().find("demo")
    ui = ("mlflow", "ui", "--port", "{port}", "--workers", "1", "--backend-store-uri", "sqlite:///mlflow.db")
    view = f"/#/experiments/{study.experiment_id}/runs?workflowType=machine_learning"
    view += f"&viewStateShareKey=signal-miner-{study.name}"
    serving = served(*ui, health="/health", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    with serving as address, browser(1500, 980) as driver:
        driver.get(f"{address}{view}&compareRunsMode=CHART")
        until(lambda: has(driver, "Trials against the benchmark"), 60)
        close_assistant(driver)
        time.sleep(6)  # charts are drawn one by one
        driver.execute_script(_NO_TOOLBARS)
        save(driver, "ui_charts.png")
    report = Path(MlflowClient().download_artifacts(study.run_id, "report"))
    shutil.copy(report / "past_vs_future.png", PICTURES)
    with browser(900, 1800) as driver:
        driver.get((report / "report.html").resolve().as_uri())
        time.sleep(2)
        notes = driver.execute_script("return document.querySelector('.notes').getBoundingClientRect().bottom")
        save(driver, "report.png", height=math.ceil(notes) + _MARGIN)


def picture_notebook() -> None:
    """Save the walkthrough during mining, in a fresh copy without its study."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        project = Path(directory) / "signal-miner"
        left_out = shutil.ignore_patterns(".git", "studies", "mlruns", "mlflow.db*", "__pycache__")
        shutil.copytree(ROOT, project, ignore=left_out)
        lab = ("jupyter", "lab", "--no-browser", "--allow-root", "--port={port}", "--IdentityProvider.token=")
        with served(*lab, f"--ServerApp.root_dir={project}", health="/api") as address, browser(1250, 1000) as driver:
            driver.get(f"{address}/lab/tree/experiments/walkthrough.ipynb?reset")
            until(lambda: driver.find_elements(By.CSS_SELECTOR, ".jp-Notebook .jp-CodeCell"), 60)
            time.sleep(4)
            ActionChains(driver).key_down(Keys.CONTROL).send_keys("b").key_up(Keys.CONTROL).perform()  # hide the files
            choose(driver, "Edit", "Clear Outputs of All Cells")
            choose(driver, "Run", "Run All Cells")
            until(lambda: trials_of(driver) >= _TRIALS_SHOWN, 180)
            driver.execute_script(_TO_THE_BAR)
            time.sleep(1)
            save(driver, "notebook.png")
            until(lambda: "finished" in driver.execute_script(f"return {_BAR}.innerText"), 200)


def picture_era_splits() -> None:
    """Save the correlations of a pooled and a directional model, era by era, on features of which most change sign."""
    trained, span = 40, 5
    fold = drifting_market(1)
    with drawing("era_splits"):
        figure = new_figure(3.1, "Most relations change after era 40", width=7.5)
        axes = figure.add_subplot()
        axes.axvspan(1, trained, color=GRID, label="trained on")
        for params, name, color, line in (
            ({}, "pooled", BENCHMARK, "--"),
            (AGREEING, "directional, agreement 0.5", BLUE, "-"),
        ):
            found = era_correlations(fold, params, 200)
            smooth = [found[max(0, era - span + 1) : era + 1].mean() for era in range(trained)]
            smooth += [found[max(trained, era - span + 1) : era + 1].mean() for era in range(trained, len(found))]
            mean = f"{name}: test {found[trained:].mean():.3f}"
            axes.plot(range(1, len(found) + 1), smooth, color=color, linestyle=line, label=mean)
        axes.axhline(0, color=GRID)
        axes.set(xlabel="era", ylabel=f"correlation, mean of {span} eras", xlim=(1, len(found)))
        legend_above(axes, columns=3)
        (PICTURES / "era_splits.png").write_bytes(png(figure))


_BAR = """document.querySelector("[data-mime-type='text/html'] div[style*='system-ui']")"""
_TO_THE_BAR = f"""
const scroller = document.querySelector('.jp-WindowedPanel-outer');
scroller.scrollTop += {_BAR}.getBoundingClientRect().top - 330;
document.head.appendChild(document.createElement('style')).textContent = '.Toastify {{display: none}}';
"""


def trials_of(driver: WebDriver) -> int:
    """Return the number of finished trials in the bar, as in ``23 of 60 trials``; 0 while there is no bar."""
    text = driver.execute_script(f"return ({_BAR} || {{innerText: ''}}).innerText")
    found = re.search(r"(\d+) of \d+ trials", str(text))
    return int(found[1]) if found else 0


def choose(driver: WebDriver, *labels: str) -> None:
    """Choose from JupyterLab's menus."""
    for label in labels:
        xpath = f"//*[contains(@class, 'lm-Menu')][contains(@class, 'itemLabel')][normalize-space()='{label}']"
        until(lambda path=xpath: [each for each in driver.find_elements(By.XPATH, path) if each.is_displayed()], 20)
        next(each for each in driver.find_elements(By.XPATH, xpath) if each.is_displayed()).click()
        time.sleep(0.7)


def close_assistant(driver: WebDriver) -> None:
    for button in driver.find_elements(By.CSS_SELECTOR, "button[aria-label*='lose']"):
        if button.is_displayed():
            button.click()
            time.sleep(1)


if __name__ == "__main__":
    picture_era_splits()
    picture_ui()
    picture_notebook()
