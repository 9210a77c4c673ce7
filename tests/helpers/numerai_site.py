"""Processes whose ``numerapi`` talks to the test's server: a ``sitecustomize`` module, and their environment."""

from __future__ import annotations

import os
from pathlib import Path

from tests.helpers.numerai_server import NumeraiServer
from tests.helpers.tournament import PUBLIC_ID, SECRET_KEY

ROOT = Path(__file__).resolve().parents[2]

SITE = """
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

class ToLoopback(MetaPathFinder):
    # Sends numerapi to the test's server, in whichever process imports it.
    def find_spec(self, name, path=None, target=None):
        if name != "numerapi.base_api":
            return None
        spec = PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            module.API_TOURNAMENT_URL = {url!r}
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, ToLoopback())
"""


def write_site(directory: Path, url: str) -> Path:
    """Write the module into a new directory for ``PYTHONPATH``, and return that."""
    directory.mkdir(parents=True)
    (directory / "sitecustomize.py").write_text(SITE.format(url=url), encoding="utf-8")
    return directory


def keyed_environment(server: NumeraiServer, directory: Path) -> dict[str, str]:
    """Return the environment of a process with the keys; temporary files go into ``temporary`` of the directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "NUMERAI_"))}
    temporary = directory / "temporary"
    temporary.mkdir(exist_ok=True)
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(write_site(directory / "site", server.url)), str(ROOT)]),
        "NUMERAI_PUBLIC_ID": PUBLIC_ID,
        "NUMERAI_SECRET_KEY": SECRET_KEY,
        "NO_PROXY": "*",
        "no_proxy": "*",
        "TMPDIR": str(temporary),
        "COLUMNS": "140",
    }
