"""The experiment files that come with the package, found by name."""

from __future__ import annotations

from pathlib import Path

from signal_miner.errors import UserError, did_you_mean

DEFAULT_EXPERIMENT = "experiments/demo.toml"


def library_directory() -> Path:
    """Return the folder of the experiment files: inside the installed package, or at the top of a checkout."""
    installed = Path(__file__).parents[1] / "experiments"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "experiments"


def library() -> dict[str, Path]:
    """Return the experiment files by name."""
    return {path.stem: path for path in sorted(library_directory().glob("*.toml"))}


def describe(path: Path) -> str:
    """Return the first line of a file, which is a comment that describes the experiment."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def find_experiment(path: Path) -> Path:
    """Return the file at a path, else the file that comes with the package under this name.

    Raises
    ------
    UserError
        If a bare name is neither a file nor the name of an experiment. A path is returned as it is.
    """
    path = path.expanduser()
    if path.exists():
        return path
    known = library()
    if path == Path(DEFAULT_EXPERIMENT):
        return known.get(path.stem, path)
    if len(path.parts) != 1 or path.suffix:
        return path
    if path.name not in known:
        raise UserError(f"experiment file {path.name!r} does not exist{did_you_mean(path.name, known)}")
    return known[path.name]
