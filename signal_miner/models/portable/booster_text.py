"""What this project reads of LightGBM's model text (``Booster.model_to_string()``), which no API of LightGBM gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BoosterText:
    """The header of a model text.

    Attributes
    ----------
    feature_names : tuple of str
        A blank in a name is an underscore here, as LightGBM writes it.
    """

    trees: int
    outputs: int
    feature_count: int
    feature_names: tuple[str, ...]

    @property
    def named(self) -> bool:
        """Whether the features have names other than LightGBM's own ``Column_0``, ``Column_1``, …."""
        return self.feature_names != tuple(f"Column_{number}" for number in range(self.feature_count))

    @classmethod
    def parse(cls, text: str) -> BoosterText:
        """Read a header; raise `ValueError` where the text is not LightGBM's."""
        header = dict(line.split("=", 1) for line in text.partition("\n\n")[0].splitlines() if "=" in line)
        if not text.startswith("tree\n") or "max_feature_idx" not in header:
            raise ValueError("it is not LightGBM's model text")
        return cls(
            trees=text.count("\nTree="),
            outputs=int(header.get("num_tree_per_iteration", 1)),
            feature_count=int(header["max_feature_idx"]) + 1,
            feature_names=tuple(header.get("feature_names", "").split(" ")),
        )
