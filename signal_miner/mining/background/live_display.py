"""A bar in a notebook that goes on moving while other cells run."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from signal_miner.errors import UserError
from signal_miner.mining.background.progress import Progress

_SECONDS_BETWEEN_UPDATES = 1.0


def show_live(look: Callable[[], Progress]) -> None:
    """Show progress where IPython is, and keep it up to date where that is a notebook.

    Parameters
    ----------
    look : callable
        Returns how far it is.
    """
    # Only IPython calls this, so it is there; the project itself does not need it.
    ipython, shell = importlib.import_module("IPython.display"), importlib.import_module("IPython").get_ipython()
    progress = look()
    shown = ipython.display(_bundle(progress), raw=True, display_id=True)
    if shown is None or not hasattr(shell, "kernel"):  # a terminal would print it anew each time
        return

    def follow(last: Progress) -> None:
        with suppress(UserError):  # its files are gone: nobody can say more
            while last.running:
                time.sleep(_SECONDS_BETWEEN_UPDATES)
                current = look()
                if current != last:
                    shown.update(_bundle(current), raw=True)
                last = current

    threading.Thread(target=follow, args=(progress,), name="live display", daemon=True).start()


def _bundle(progress: Progress) -> dict[str, str]:
    return {"text/plain": str(progress), "text/html": progress._repr_html_()}
