"""Progress of a download: a bar on a terminal, else plain lines."""

from __future__ import annotations

from types import TracebackType

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from signal_miner.utils.console import AnyTextConsole


class DownloadProgress:
    """Shows one file after the other on standard error; nothing at all if not `show`."""

    def __init__(self, *, show: bool) -> None:
        self._console = AnyTextConsole(stderr=True, quiet=not show)
        self._bar: Progress | None = None
        if show and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
        self._label = ""
        self._total: int | None = None

    def __enter__(self) -> DownloadProgress:
        """Start the bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, label: str) -> None:
        """Start a file."""
        self._label, self._total = label, None
        if self._bar is not None:
            self._clear()
            self._bar.add_task(label, total=None)

    def advance(self, done: int, total: int | None) -> None:
        """Show how many bytes of the file have arrived, of `total` if that is known."""
        if self._bar is not None and self._bar.task_ids:
            self._bar.update(self._bar.task_ids[-1], completed=done, total=total)

    def check(self) -> None:
        """Show that all bytes have arrived and are being checked."""
        if self._bar is not None and self._bar.task_ids:
            self._bar.update(self._bar.task_ids[-1], description=f"{self._label}, checking")

    def end(self, outcome: str) -> None:
        """Finish the file with a line on its outcome."""
        self._clear()
        self.say(f"{self._label}: {outcome}")

    def _clear(self) -> None:
        if self._bar is not None:
            for task in list(self._bar.task_ids):
                self._bar.remove_task(task)
