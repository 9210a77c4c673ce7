"""How alike the leaders and the benchmark are: their correlations, the most alike side by side."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from signal_miner.report.style import BLUE, INK, PAPER, PURPLE, WIDTH, drawing, new_figure
from signal_miner.scoring.study_scores import Correlations
from signal_miner.tracking.tags import BENCHMARK_KIND
from signal_miner.utils.formatting import number_text, shortened

_MOST_WITH_NUMBERS = 13
_DARK = 0.7  # squared correlation: from here on a cell's colour hides ink, in both themes


def clustered_order(matrix: NDArray[np.float64]) -> list[int]:
    """Return an order of the models in which the most alike are neighbours.

    Average linkage on 1 - correlation, the leaves turned so that neighbours are closest (Bar-Joseph et al., 2001).

    Parameters
    ----------
    matrix : ndarray of float64, shape (n_models, n_models)
        Correlations; one that is not defined counts as 0.
    """
    if len(matrix) < 3:
        return list(range(len(matrix)))
    distance = np.clip(1 - np.nan_to_num((matrix + matrix.T) / 2), 0, 2)
    np.fill_diagonal(distance, 0)
    pairs = squareform(distance, checks=False)
    return [int(leaf) for leaf in leaves_list(optimal_leaf_ordering(linkage(pairs, "average"), pairs))]


@drawing()
def correlations_figure(correlations: Correlations) -> Figure:
    """Draw the correlation of the leaders' and the benchmark's predictions, clustered; the darkness is its square."""
    order = clustered_order(correlations.matrix)
    matrix = correlations.matrix[np.ix_(order, order)]
    names = [shortened(correlations.names[place], 16) for place in order]
    n_models = len(names)
    figure = new_figure(WIDTH + 0.1, "How alike the leaders are")
    axes = figure.add_subplot(aspect="equal")
    # Opacity instead of a colour map: the cells' ground is the page's own, light or dark.
    for row, column in np.ndindex(matrix.shape):
        value = float(matrix[row, column])
        if np.isfinite(value):
            look = (BLUE if value > 0 else PURPLE, min(value**2, 1.0))
            axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=look, linewidth=0))
    if n_models <= _MOST_WITH_NUMBERS:
        size = 10 if n_models <= 8 else 9
        for row, column in np.ndindex(matrix.shape):
            value = float(matrix[row, column])
            text = number_text(value).replace("0.", ".", 1) if row != column else "1"
            color = PAPER if value**2 > _DARK else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
    axes.set(xlim=(-0.5, n_models - 0.5), ylim=(n_models - 0.5, -0.5))
    axes.set_xticks(range(n_models), names, rotation=90)
    axes.set_yticks(range(n_models), names)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        for label, place in zip(labels, order, strict=True):
            label.set_fontweight("bold" if correlations.names[place] == BENCHMARK_KIND else "normal")
            label.set_fontsize(10 if n_models <= _MOST_WITH_NUMBERS else 8)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
