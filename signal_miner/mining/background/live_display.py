"""A bar in a notebook that keeps moving while other cells run."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from signal_miner.errors import UserError
from signal_miner.mining.background.progress import Progress

_SECONDS_BETWEEN_UPDATES = 1.0


def show_live(progress_now: Callable[[], Progress]) -> None:
    """Show progress in IPython, and keep it up to date in a notebook.

    Parameters
    ----------
    progress_now : callable
        Returns the current progress.
    """
    # Only IPython calls this, so it is installed; the project itself does not need it.
    ipython, shell = importlib.import_module("IPython.display"), importlib.import_module("IPython").get_ipython()
    progress = progress_now()
    shown = ipython.display(_bundle(progress), raw=True, display_id=True)
    if shown is None or not hasattr(shell, "kernel"):  # a terminal would print it anew each time
        return

    def follow(last: Progress) -> None:
        with suppress(UserError):  # its files were removed: nothing more is known
            while last.running:
                time.sleep(_SECONDS_BETWEEN_UPDATES)
                current = progress_now()
                if current != last:
                    shown.update(_bundle(current), raw=True)
                last = current

    threading.Thread(target=follow, args=(progress,), name="live display", daemon=True).start()


def _bundle(progress: Progress) -> dict[str, str]:
    return {"text/plain": str(progress), "text/html": progress._repr_html_()}
