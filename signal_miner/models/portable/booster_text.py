"""What this project reads of LightGBM's model text (``Booster.model_to_string()``), which no API of LightGBM gives."""

from __future__ import annotations

from collections.abc import Sequence
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


def on_features(text: str, own: Sequence[str], features: Sequence[str]) -> str:
    """Return a model text that predicts the same from a table of more features.

    Parameters
    ----------
    own : sequence of str
        Features that the booster was trained on, in that order.
    features : sequence of str
        Those of the table, which contain `own`.
    """
    if tuple(own) == tuple(features):
        return text
    place = {name: number for number, name in enumerate(features)}
    places = [place[name] for name in own]
    head, *trees = text.partition("\nend of trees\n")[0].split("\n\nTree=")
    tail = text.partition("\nend of trees\n")[2]
    blocks = [f"Tree={_with_features(tree, places)}".rstrip("\n") + "\n\n\n" for tree in trees]
    header = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    infos = ["none"] * len(features)
    for number, info in zip(places, header["feature_infos"].split(" "), strict=True):
        infos[number] = info
    header |= {
        "max_feature_idx": str(len(features) - 1),
        "feature_names": " ".join(name.replace(" ", "_") for name in features),
        "feature_infos": " ".join(infos),
        "tree_sizes": " ".join(str(len(block.encode())) for block in blocks),
    }
    lines = [line.partition("=")[0] for line in head.splitlines()]
    head = "\n".join(f"{name}={header[name]}" if name in header else name for name in lines)
    return f"{head}\n\n{''.join(blocks)}end of trees\n{tail}"


def _with_features(tree: str, places: Sequence[int]) -> str:
    return "\n".join(
        "split_feature=" + " ".join(str(places[int(number)]) for number in line.partition("=")[2].split())
        if line.startswith("split_feature=")
        else line
        for line in tree.split("\n")
    )
