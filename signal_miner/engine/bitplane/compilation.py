"""How kernels are compiled, and where their code is kept between runs.

numba keeps a function's code until the function's own file changes. It does not see that a function which was compiled
into it has changed in another file, and would run the old code. So the code is kept in a folder that is
named after all sources of this package.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import event

from signal_miner.data.sources import DATA_DIRECTORY

_SETTINGS: Any = numba.config
_OPTIONS: dict[str, Any] = {"boundscheck": False, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}

inner = numba.njit(**_OPTIONS)
"""Compile as a part of what calls it. Integers are passed as ``int64(...)``: each literal would be compiled for."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on first use, once for a machine: what Python calls."""
    before = _SETTINGS.CACHE_DIR
    _SETTINGS.CACHE_DIR = str(code_directory())  # is read while the function is decorated
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    finally:
        _SETTINGS.CACHE_DIR = before


class _First(event.Listener):
    """Calls a function at the first compilation, and never again."""

    def __init__(self, report: Callable[[], None]) -> None:
        self._report: Callable[[], None] | None = report

    def on_start(self, event: object) -> None:
        report, self._report = self._report, None
        if report is not None:
            report()

    def on_end(self, event: object) -> None:
        pass


@contextmanager
def compilation_reported(report: Callable[[], None]) -> Iterator[None]:
    """Call `report` once, from any thread, before something is compiled; not where its code is loaded."""
    with event.install_listener("numba:compile", _First(report)):
        yield


@cache
def code_directory() -> Path:
    """Return where compiled code is kept: beside the sources or, where these may only be read, in the workspace."""
    package = Path(__file__).parent
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(package.glob("*.py")):
        digest.update(source.read_bytes())
    name = f"numba-{digest.hexdigest()[:16]}"
    for parent in (package / "__pycache__", DATA_DIRECTORY.absolute() / "compiled"):
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(parent, os.W_OK):
            return parent / name
    return Path(tempfile.gettempdir()) / f"signal-miner-{name}"
