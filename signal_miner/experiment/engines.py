"""The engines that train configurations, and the version that decides what one trains."""

from __future__ import annotations

from importlib.metadata import version

LIGHTGBM, BITPLANE = "lightgbm", "bitplane"
ENGINES = (LIGHTGBM, BITPLANE)

COMPILING = "Compiling the trainer, once for this machine …"
"""What is shown while the code of `BITPLANE` is compiled."""

_BITPLANE_VERSION = "1"
"""Raised whenever the same configuration would train otherwise."""


def engine_version(engine: str) -> str:
    """Return an engine's version: another one may train otherwise."""
    return version("lightgbm") if engine == LIGHTGBM else _BITPLANE_VERSION


def engine_text(engine: str) -> str:
    """Return an engine with its version, such as ``bitplane 1``, as runs and files of models name it."""
    return f"{engine} {engine_version(engine)}"
