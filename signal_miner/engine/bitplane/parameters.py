"""What a configuration asks of the trainer, with LightGBM's names, defaults and corrections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from signal_miner.engine.bitplane.era_growth import EraCriterion
from signal_miner.engine.bitplane.growth import Rules
from signal_miner.experiment.parameters import DIRECTIONAL, POOLED, max_bin_of
from signal_miner.utils.validation import Value


@dataclass(frozen=True)
class TreeParameters:
    """A configuration's parameters, by LightGBM's scikit-learn names, and those of splits chosen by era."""

    num_leaves: int = 31
    max_depth: int = -1
    learning_rate: float = 0.1
    max_bin: int = 255
    colsample_bytree: float = 1.0
    colsample_bynode: float = 1.0
    subsample: float = 1.0
    subsample_freq: int = 0
    min_child_samples: int = 20
    min_child_weight: float = 1e-3
    min_split_gain: float = 0.0
    reg_lambda: float = 0.0
    reg_alpha: float = 0.0
    max_delta_step: float = 0.0
    path_smooth: float = 0.0
    extra_trees: bool = False
    split_criterion: str = POOLED
    era_block: int = 1
    boltzmann_alpha: float = 0.0
    min_direction_agreement: float = 0.0
    allow_degenerate_splits: bool = False

    @classmethod
    def of(cls, params: Mapping[str, Value]) -> TreeParameters:
        """Return a configuration's own; names that are not the trainer's, such as ``target``, are left out."""
        known = {name: value for name, value in params.items() if name in cls.__dataclass_fields__}
        return cls(**known | {"max_bin": max_bin_of(params)})  # type: ignore[arg-type]

    def rules(self) -> Rules:
        """Return what stops and weighs splits, corrected as LightGBM corrects what contradicts."""
        leaves = min(self.num_leaves, 2**self.max_depth) if 0 < self.max_depth < 31 else self.num_leaves
        smallest = max(self.min_child_samples, 2) if self.path_smooth > 0 else self.min_child_samples
        return Rules(
            num_leaves=int(leaves),
            max_depth=int(self.max_depth),
            min_child_samples=int(smallest),
            min_child_weight=float(self.min_child_weight),
            min_split_gain=float(self.min_split_gain),
            reg_lambda=float(self.reg_lambda),
            reg_alpha=float(self.reg_alpha),
            max_delta_step=float(self.max_delta_step),
            path_smooth=float(self.path_smooth),
            colsample_bynode=float(self.colsample_bynode),
            extra_trees=bool(self.extra_trees),
        )

    def criterion(self) -> EraCriterion | None:
        """Return how splits are chosen by era; None where they are chosen over all rows."""
        if self.split_criterion == POOLED:
            return None
        return EraCriterion(
            directional=self.split_criterion == DIRECTIONAL,
            boltzmann_alpha=float(self.boltzmann_alpha),
            min_direction_agreement=float(self.min_direction_agreement),
            allow_degenerate_splits=bool(self.allow_degenerate_splits),
        )
