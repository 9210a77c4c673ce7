"""The experiment files that come with the package: found by name, listed, and copied to be edited."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from signal_miner.errors import UserError, did_you_mean
from signal_miner.utils.redaction import reason_of_system

DEFAULT = "demo"
"""The experiment that is mined where none is named."""


def shipped_experiments() -> dict[str, Path]:
    """Return the files by name: ``experiments/`` of a checkout, or the copy in an installed package."""
    package = Path(str(files("signal_miner")))
    for directory in (package.parent / "experiments", package / "experiments"):
        found = {path.stem: path for path in sorted(directory.glob("*.toml"))}
        if DEFAULT in found:
            return found
    return {}


def description_of(path: Path) -> str:
    """Return the comment on the first line of an experiment file."""
    with path.open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()


def find_experiment(named: str | Path) -> Path:
    """Return the experiment file of this path, or the one of this name: in the working directory, then as shipped.

    Raises
    ------
    UserError
        If a name, which has neither a suffix nor a directory, is not known.
    """
    path = Path(named).expanduser()
    try:
        if path.exists():
            return path
    except OSError:  # too long a name, or a directory that may not be read: reported when the file is opened
        return path
    shipped = shipped_experiments()
    if path.suffix == ".toml" and path.parent == Path("experiments"):  # as in a checkout, from anywhere
        return shipped.get(path.stem, path)
    if path.suffix or path.parent != Path():
        return path
    own = path.with_suffix(".toml")
    if own.is_file():
        return own
    if path.name not in shipped:
        raise UserError(
            f"experiment {str(named)!r} is neither a file nor an experiment of the package"
            f"{did_you_mean(path.name, shipped)}"
        )
    return shipped[path.name]


def copy_experiment(named: str, target: Path | None = None) -> Path:
    """Copy an experiment file to be edited, and return the copy.

    Parameters
    ----------
    named : str
        As for `find_experiment`.
    target : Path, optional
        A file or an existing directory; the working directory if not given.

    Raises
    ------
    UserError
        If there is no such experiment, or a file in the way: nothing is overwritten.
    """
    shipped = shipped_experiments()
    source = shipped.get(named) or find_experiment(named)
    place = Path() if target is None else target.expanduser()
    path = place / source.name if place.is_dir() else place
    try:
        text = source.read_text(encoding="utf-8")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(f"{path} exists already; name another file, or edit this one") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of_system(error) if isinstance(error, OSError) else "it is not a text file"
        raise UserError(f"experiment {named!r} cannot be copied to {path} ({reason}); name another file") from error
    return path
