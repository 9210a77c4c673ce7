"""The synthetic market: persistent stocks, premia that last and that turn, and what Numerai would show of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from signal_miner.errors import UserError

HORIZON_WEEKS = {20: 4, 60: 12}
"""Weeks of returns in a target of so many trading days."""

RESOLUTION_WEEKS = 1
"""Weeks between the end of a target's horizon and its publication."""

TARGET_NAMES = ("cyrusd", "ender", "teager2b")
BIN_EDGES = (0.05, 0.25, 0.75, 0.95)  # 5, 20, 50, 20 and 5% of each era, Numerai's proportions
AUXILIARY_MISSING = {"cyrusd": 0.03, "teager2b": 0.05}
CHARACTERISTICS = 12
LATE_FEATURES = 0.05  # share of the features that start after a fifth of the training eras

_WORLD = 13  # chosen among many, so that seed 0 shows weak but steady signal in both halves of its history

# A characteristic's premium a week, in units of a stock's weekly noise.
_MEAN_PREMIUM = (0.019, -0.017, 0.014, 0.013, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_SURPRISE = (0.008, 0.008, 0.008, 0.008, 0.008, 0.008, 0.008, 0.008, 0.008, 0.015, 0.015, 0.015)
_DRIFT = 0.002
_LEAN_REGIME = 0.6  # factor on all premia in this regime
_REGIME_CHANGE = 0.03  # probability a week
_PERSISTENCE = (0.94, 0.98)  # of characteristics, from week to week
_PRODUCTS = ((0, 3, 0.015), (2, 7, -0.015))
_GATES = ((1, 8, 0.02), (4, 7, -0.02))
_GATE_SHARE = 0.31  # of stocks above the .5 at which a gate opens

# The last three pay nothing in the long run: gains of one regime are losses of the next, so that a model that learnt
# them from the past does worse than one of splits that hold in every era.
_RISKS = (9, 10, 11)
_RISK_PREMIUM = 0.02
_RISK_TURN = 0.1  # probability a week that the sign changes, for each risk by itself
_RISK_IN_TEAGER = 3.0  # exposure of teager2b, in which of ender is 1

# What a benchmark trained on ender hardly finds, and what therefore contributes to it: interactions that are weak there
# and plain in teager2b.
_HIDDEN = ((5, 6, 0.045), (6, 8, -0.045))
_HIDDEN_SHARE = 0.15  # half of what would leave the first of a pair no effect of its own
_HIDDEN_IN_TEAGER = 9.0  # as much of it as in ender
_KNOWN_IN_TEAGER = 0.5  # share of the premia above


@dataclass(frozen=True)
class Market:
    """The sizes, the seed and the strength of a synthetic market.

    Parameters
    ----------
    seed : int
        Seed of everything drawn; not negative.
    train_eras, validation_eras, test_eras : int
        Eras of ``train.parquet``, of ``validation.parquet`` with data type ``validation``, and of its
        newest eras with data type ``test``, whose 60-day targets are not resolved. Eras are a week apart; the
        live era follows the last.
    rows_per_era : int
        Stocks in a typical era; the number varies by about a fifth around it. At least 20.
    features : int
        All features, 5 to 4096; the set ``small`` is a fifth of them, ``medium`` a half.
    signal : float
        Multiplier of what characteristics earn. 0.0 is noise that no feature predicts; 1.0 is as weak and unsteady
        as Numerai's; 5.0 cannot be missed.

    Raises
    ------
    UserError
        If a size, the seed or the signal is out of its range.
    """

    seed: int = 0
    train_eras: int = 100
    validation_eras: int = 56
    test_eras: int = 13
    rows_per_era: int = 500
    features: int = 60
    signal: float = 1.0

    def __post_init__(self) -> None:
        lowest = {"seed": 0, "train_eras": 2, "validation_eras": 1, "test_eras": 0, "rows_per_era": 20, "features": 5}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise UserError(f"{name}={getattr(self, name)} is below {low}; raise it")
        if self.features > 4096:
            raise UserError(f"features={self.features} is above 4096; lower it")
        if self.eras > 9999:
            raise UserError(f"{self.eras} eras are more than four digits can label; lower the numbers of eras")
        if not (math.isfinite(self.signal) and self.signal >= 0):
            raise UserError(f"signal={self.signal} is not a finite number from 0 up; 0 is noise, 1 is the default")

    @property
    def resolved_eras(self) -> int:
        """Eras with resolved 60-day targets: train and validation together."""
        return self.train_eras + self.validation_eras

    @property
    def eras(self) -> int:
        """All eras, the live one included."""
        return self.resolved_eras + self.test_eras + 1


@dataclass(frozen=True)
class Panel:
    """All rows of a market, era by era, in random order within each.

    Attributes
    ----------
    eras : ndarray of int64, shape (n_rows,)
        Era numbers, from 1.
    features : ndarray of int8, shape (n_features, n_rows)
        Quintiles 0 to 4 within the era; 2 throughout where a feature did not exist yet.
    characteristics : ndarray of int64, shape (n_features,)
        The latent characteristic that each feature mostly shows.
    targets : dict of str to ndarray of float32, shape (n_rows,)
        Named targets in {0, .25, .5, .75, 1}; NaN where missing or not resolved.
    """

    eras: NDArray[np.int64]
    features: NDArray[np.int8]
    characteristics: NDArray[np.int64]
    targets: dict[str, NDArray[np.float32]]


def simulate(market: Market) -> Panel:
    """Simulate the market's weeks and cut its eras from them, the live era last.

    Weekly returns are ``premium · characteristic + interactions + noise``, summed over the coming 4 weeks for
    a 20-day target and the coming 12 for a 60-day one, so that targets of neighbouring eras overlap. Some premia last,
    some change their sign every ten weeks or so, and some interactions are plain in one target family only. All of it
    is elementwise or sorted, never a matrix product, so that the number of threads changes no value.
    """
    # One random stream per purpose, so that a change in one does not change the draws of the others.
    streams = [np.random.default_rng([_WORLD, market.seed, purpose]) for purpose in range(6)]
    n_stocks = math.ceil(1.5 * market.rows_per_era)
    n_weeks = market.eras + max(HORIZON_WEEKS.values())
    listings = list(_listings(market, n_stocks, streams[0]))
    counts = [len(listing) for listing in listings]
    week_of_row = np.repeat(np.arange(market.eras), counts)
    stock_of_row = np.concatenate(listings)
    offsets = np.concatenate([[0], np.cumsum(counts)])

    persistence = streams[1].uniform(*_PERSISTENCE, CHARACTERISTICS)
    latent = np.stack([_autoregression(streams[1], n_weeks, n_stocks, phi) for phi in persistence])
    returns = _weekly_returns(market, latent, streams[2])

    targets = {}
    for name in TARGET_NAMES:
        for days, weeks in HORIZON_WEEKS.items():
            ahead = _ahead(returns[name], weeks)[week_of_row, stock_of_row]
            target = _binned(ahead, offsets, BIN_EDGES).astype(np.float32) / np.float32(4)
            target[streams[3].random(len(target)) < AUXILIARY_MISSING.get(name, 0.0)] = np.nan
            unresolved = market.eras - (weeks + RESOLUTION_WEEKS)
            if days == 60:
                unresolved = market.resolved_eras
            target[week_of_row >= max(unresolved, market.resolved_eras)] = np.nan
            targets[f"target_{name}_{days}"] = target

    features = np.empty((market.features, len(week_of_row)), dtype=np.int8)
    characteristics = np.arange(market.features) % CHARACTERISTICS
    born = np.zeros(market.features, dtype=np.int64)
    n_late = math.ceil(LATE_FEATURES * market.features)
    # Not among the first fifth, which make up the small set.
    born[streams[4].choice(np.arange(market.features // 5, market.features), n_late, replace=False)] = max(
        1, market.train_eras // 5
    )
    for number, characteristic in enumerate(characteristics):
        load = streams[4].uniform(0.6, 0.95)
        other = streams[4].integers(CHARACTERISTICS)
        noise = _autoregression(streams[5], market.eras, n_stocks, 0.9)
        shown = load * latent[characteristic, : market.eras] + 0.2 * latent[other, : market.eras]
        shown = shown + math.sqrt(1 - load**2) * noise
        features[number] = _binned(shown[week_of_row, stock_of_row], offsets, (0.2, 0.4, 0.6, 0.8))
        features[number, week_of_row < born[number]] = 2
    return Panel(week_of_row + 1, features, characteristics, targets)


def _listings(market: Market, n_stocks: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield each era's listed stocks in random order; the listing changes slowly."""
    size = _autoregression(rng, market.eras, n_stocks, 0.99)
    breadth = np.clip(1 + 0.1 * _autoregression(rng, market.eras, 1, 0.9)[:, 0], 0.8, 1.2)
    for week in range(market.eras):
        count = round(market.rows_per_era * float(breadth[week]))
        yield rng.permutation(np.argsort(-size[week], kind="stable")[:count])


def _autoregression(rng: np.random.Generator, n_weeks: int, width: int, phi: float) -> NDArray[np.float64]:
    """Return independent standard normal AR(1) paths, shape (n_weeks, width)."""
    path = rng.standard_normal((n_weeks, width))
    for week in range(1, n_weeks):
        path[week] = phi * path[week - 1] + math.sqrt(1 - phi**2) * path[week]
    return path


def _weekly_returns(
    market: Market, latent: NDArray[np.float64], rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Return each target family's returns; row ``w`` is earned in the week after era ``w``, (n_weeks, n_stocks)."""
    _, n_weeks, n_stocks = latent.shape
    changes = rng.random(n_weeks) < _REGIME_CHANGE
    regime = np.where(np.cumsum(changes) % 2 == 1, _LEAN_REGIME, 1.0)[:, None]  # (n_weeks, 1)
    known, other, surprise, risk, hidden = (np.zeros((n_weeks, n_stocks)) for _ in range(5))
    for number in range(CHARACTERISTICS):
        drift = _DRIFT * _autoregression(rng, n_weeks, 1, 0.98)  # (n_weeks, 1)
        shock = _SURPRISE[number] * rng.standard_normal((n_weeks, 1))
        known += _MEAN_PREMIUM[number] * regime * latent[number]
        other += drift * latent[number]
        surprise += shock * latent[number]
        if number in _RISKS:
            risk += shock * latent[number]
    for first, second, strength in _PRODUCTS:
        other += strength * regime * latent[first] * latent[second]
    for first, second, strength in _GATES:
        other += strength * regime * latent[first] * ((latent[second] > 0.5) - _GATE_SHARE)
    for first, second, strength in _HIDDEN:
        hidden += strength * latent[first] * ((latent[second] > 0.5) - _HIDDEN_SHARE)

    volatility = np.exp(0.3 * rng.standard_normal(n_stocks))
    noise = rng.standard_normal((n_weeks, n_stocks)) * volatility
    own = rng.standard_normal((n_weeks, n_stocks))
    for number in _RISKS:
        turns = np.cumsum(rng.random((n_weeks, 1)) < _RISK_TURN, axis=0) + number
        paid = _RISK_PREMIUM * np.where(turns % 2 == 1, 1.0, -1.0) * latent[number]
        risk += paid
        surprise += paid

    # Surprises shrink with the signal, so that none leaves pure noise, but do not grow with a strong one and hide it.
    unforeseen = min(market.signal, 1.0)
    risk *= unforeseen
    known, hidden = market.signal * known, market.signal * hidden
    total = known + hidden + market.signal * other + unforeseen * surprise + noise
    # Neutral to half of what everybody knows, exposed to what pays nothing, and noisier.
    teager = (total - (1 - _KNOWN_IN_TEAGER) * known) / volatility + (_RISK_IN_TEAGER - 1) * risk + own[:, ::-1]
    return {
        "ender": total,
        "cyrusd": total - risk + 0.3 * own,  # neutral to the risks that pay nothing
        "teager2b": teager + (_HIDDEN_IN_TEAGER - 1) * hidden,
    }


def _ahead(returns: NDArray[np.float64], weeks: int) -> NDArray[np.float64]:
    """Sum the returns of the coming weeks from each week on, shape (n_weeks - weeks + 1, n_stocks)."""
    total = returns[: len(returns) - weeks + 1].copy()
    for week in range(1, weeks):
        total += returns[week : len(returns) - weeks + 1 + week]
    return total


def _binned(values: NDArray[np.float64], offsets: NDArray[np.int64], edges: tuple[float, ...]) -> NDArray[np.int8]:
    """Rank within each era and cut the ranks at ``edges``; shape (n_rows,), values 0 to ``len(edges)``."""
    binned = np.empty(len(values), dtype=np.int8)
    for start, stop in pairwise(offsets):
        quantile = (np.arange(stop - start) + 0.5) / (stop - start)
        order = np.argsort(values[start:stop], kind="stable")
        binned[start:stop][order] = np.searchsorted(edges, quantile).astype(np.int8)
    return binned
