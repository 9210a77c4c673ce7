"""How the report's figures look: colours that the colour-blind can distinguish, one width, and PNG or SVG of a figure.

A figure is drawn once, in the light theme. In SVG its colours are then replaced by variables of the page's style, so
that it follows the page into the dark. That is why every colour here is one that nothing else uses.
"""

from __future__ import annotations

import io
import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signal_miner.tracking.comparison_view import COLORS

INK, MUTED, GRID, PAPER = "#1c2127", "#5b626b", "#e2e5e9", "#fffffe"
BENCHMARK = COLORS["benchmark"].lower()
BLUE, GREEN, PURPLE, SKY, GREY = "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#8f969e"

THEME = {
    "ink": (INK, "#e8eaed"),
    "muted": (MUTED, "#a8b0b9"),
    "grid": (GRID, "#2d333b"),
    "paper": (PAPER, "#15181c"),
    "benchmark": (BENCHMARK, "#ff9a3c"),
    "blue": (BLUE, "#4fa8e0"),
    "green": (GREEN, "#2ec49a"),
    "purple": (PURPLE, "#e39ac2"),
    "sky": (SKY, "#a5d8f7"),
    "grey": (GREY, "#87909a"),
}
"""Colours by name, light and dark. Blue, green, purple and sky are of Okabe and Ito's palette (2008)."""

SECTION = {"validation": (BLUE, "o", "-"), "test": (PURPLE, "s", "--")}
"""Colour, marker and line of the parts of the eras."""

LEADERS: tuple[tuple[str, Any], ...] = (
    (BLUE, "-"),
    (GREEN, (0, (6, 1.5))),
    (PURPLE, (0, (5, 1.5, 1, 1.5))),
    (SKY, (0, (2.5, 1))),
    (INK, (0, (1, 1.2))),
)
"""Colour and line of the first trials."""

WIDTH = 5.2
"""Inches; text of 10 points on it is still legible where a phone shows it 340 pixels wide."""

_NOTEBOOK_WIDTH = 10.4
"""Inches: the width of a notebook's cell on a usual screen; Jupyter shrinks a wider picture to its cell."""

_EVERYWHERE = "ink"  # the colour of each figure's title
_RESOLUTION = 200  # dots an inch, twice what the page's own size asks for
_PIXELS_AN_INCH = 100  # of a page, and of a notebook
_MANY = 5_000  # dots; more of them are drawn as one picture

_SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.formatter.limits": (-4, 5),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": MUTED,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "figure.facecolor": PAPER,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "hatch.color": MUTED,
    "hatch.linewidth": 0.7,
    "legend.borderaxespad": 0.2,
    "legend.columnspacing": 1.4,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.handletextpad": 0.6,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # names of parameters and their values may hold a dollar
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 10,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 10,
}

_LOCK = threading.RLock()


@contextmanager
def drawing(name: str = "") -> Iterator[None]:
    """Draw in the report's style, whatever the caller's settings are; these are as before afterwards.

    Parameters
    ----------
    name : str, optional
        Of the figure: its ids in SVG are made of it, so that two figures share none.
    """
    with _LOCK, mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        mpl.rcParams["svg.hashsalt"] = name
        yield


class ReportFigure(Figure):
    """A figure that a notebook shows in the report's style, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width = self.get_figwidth()
        self.set_figwidth(_NOTEBOOK_WIDTH)  # the layout is computed again; text keeps its size
        try:
            return png(self), {"width": round(_NOTEBOOK_WIDTH * _PIXELS_AN_INCH)}
        finally:
            self.set_figwidth(width)


def new_figure(height: float, title: str, width: float = WIDTH) -> Figure:
    """Return an empty figure of so many inches with its title; only within `drawing`."""
    figure = ReportFigure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # type: ignore[union-attr, call-arg]
    figure.suptitle(title, x=0.015, ha="left", fontsize=12.5, fontweight="bold")
    return figure


def legend_above(axes: Axes, columns: int = 2) -> None:
    """Put the axes' legend between its title and its frame, where it hides nothing."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns)


def legend_below(figure: Figure, columns: int = 2, **options: Any) -> None:
    """Put one legend for all of a figure's axes under them, if there is anything to name."""
    if any(axes.get_legend_handles_labels()[0] for axes in figure.axes):
        figure.legend(loc="outside lower left", ncols=columns, **options)


def as_picture(n_dots: int) -> bool:
    """Return whether so many dots are one picture in SVG, which no theme changes, instead of as many elements."""
    return n_dots > _MANY


@drawing()
def png(figure: Figure) -> bytes:
    """Return a figure as PNG, light, at twice its size on a page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_RESOLUTION, metadata={"Software": None})
    return buffer.getvalue()


def page_element(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an element of a page: SVG that follows the page's theme, or else a light picture.

    Parameters
    ----------
    name : str
        Of the figure, once in a page; letters, digits and ``_``.
    description : str
        Text for readers who cannot see it.
    """
    buffer = io.StringIO()
    with drawing(name):
        figure.savefig(buffer, format="svg", dpi=_RESOLUTION, transparent=True, metadata={"Date": None})
    try:
        return themed(buffer.getvalue(), name, description)
    except ValueError:  # a Matplotlib whose SVG is written in another way
        picture = b64encode(png(figure)).decode("ascii")
        return f'<img src="data:image/png;base64,{picture}" alt="{escape(description)}">'


def themed(text: str, name: str, description: str) -> str:
    """Return Matplotlib's SVG as an ``<svg>`` element.

    Its text is text, its colours are the page's variables (`THEME`, and ``--font``), and its ids start with `name`.

    Raises
    ------
    ValueError
        If the text is not written as Matplotlib 3.10 writes SVG, so that colours or ids would be wrong.
    """
    view_box = re.search(r'<svg[^>]* viewBox="([^"]*)"', text)
    if view_box is None:
        raise ValueError("there is no view box")
    body = text[text.index(">", view_box.end()) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", body)
    if {f"{name}-{each}" for each in used} - set(re.findall(r' id="([^"]*)"', body)):
        raise ValueError("something refers to an id that is not there")
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", body)
    for variable, (light, _) in THEME.items():
        body = body.replace(light, f"var(--{variable})")
    if f"var(--{_EVERYWHERE})" not in body or "DejaVu" in body:
        raise ValueError("colours or fonts are written in another way")
    body = re.sub(r' (?:x|y|d|points|transform|clip-path)="[^"]*"', _shorter, body)
    body = re.sub(r"\n\s*", "\n", body)
    return f'<svg viewBox="{view_box[1]}" role="img" aria-label="{escape(description)}">{body}'


def _shorter(attribute: re.Match[str]) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", attribute[0])
