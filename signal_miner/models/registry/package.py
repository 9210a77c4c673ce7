"""What is registered of an ensemble, and the MLflow model directory it becomes."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import ColSpec, DataType, Schema

from signal_miner.errors import UserError
from signal_miner.utils.files import sha256_of
from signal_miner.utils.redaction import reason_of, without_passwords

PREDICT = "predict.pkl"
"""The model itself; ``artifacts/predict.pkl`` in a model directory."""

_METADATA = "signal_miner"  # key of ``MLmodel``'s metadata

_LISTS = ("features", "nullable_features", "benchmark_columns")
_PACKAGES = ("mlflow", "numpy", "pandas", "scipy", "lightgbm", "cloudpickle")
_MODEL_CODE = Path(__file__).with_name("pyfunc_model.py")


@dataclass(frozen=True)
class ModelNeeds:
    """What a model needs of live data; kept in ``MLmodel``.

    Attributes
    ----------
    data : str
        The experiment's ``data``: a version of Numerai's data such as ``v5.3``, or what else it was mined on.
    experiment_id : str
        Of the ensemble's run.
    nullable_features : tuple of str
        Features that were NaN somewhere in training; NaN in another one is a fault of the data.
    benchmark_columns : tuple of str
        Columns of Numerai's live benchmark predictions; empty if none.
    """

    data: str
    experiment_id: str
    features: tuple[str, ...]
    nullable_features: tuple[str, ...]
    benchmark_columns: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ModelRecord:
    """What is registered.

    Attributes
    ----------
    name : str
        Registered model, without ``/`` and ``:``.
    run_id : str
        The ensemble's run.
    predict_file : Path
        ``predict.pkl``.
    example : pandas.DataFrame
        A few live-like rows, indexed by ``id``: the features, the benchmark columns, ``era`` if there is one.
    files : mapping of str to Path
        Further artifacts by the name they get, such as ``ensemble.json``.
    params, tags : mapping of str to str
        Shown with the model and the version; cut at 5,000 characters.
    metrics : mapping of str to float
        Shown with the model.
    description : str
        Markdown.
    """

    name: str
    run_id: str
    needs: ModelNeeds
    predict_file: Path
    example: pd.DataFrame
    files: Mapping[str, Path]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    description: str


def save_package(record: ModelRecord, directory: Path) -> Model:
    """Create the model directory that MLflow loads by itself, without this project.

    Returns
    -------
    mlflow.models.Model
        Its ``MLmodel``, for `stamp_package`.

    Raises
    ------
    UserError
        If a file cannot be read or written.
    """
    files = {PREDICT: record.predict_file} | dict(record.files)
    staged = directory.with_name(f"{directory.name}-files")  # under the names they get
    package = Model()
    try:
        staged.mkdir(parents=True)
        for name, path in files.items():
            shutil.copyfile(path, staged / name)
        mlflow.pyfunc.save_model(
            path=str(directory),
            python_model=str(_MODEL_CODE),
            artifacts={name: str(staged / name) for name in files},
            signature=_signature(record),
            input_example=_example(record).reset_index(),
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _PACKAGES],
            model_config={"benchmark_columns": list(record.needs.benchmark_columns)},
            metadata={_METADATA: _needs_table(record.needs)},
            mlflow_model=package,
            uv_project_path=str(staged),  # else the uv.lock of the working directory becomes the model's
        )
    except OSError as error:
        raise UserError(f"the model cannot be packed ({reason_of(error)}); check the disk and try again") from error
    return package


def stamp_package(package: Model, directory: Path, run_id: str, model_id: str) -> None:
    """Write into a model directory from `save_package` which logged model it is, of which ensemble's run."""
    package.run_id, package.model_id, package.model_uuid = run_id, model_id, model_id
    for artifact in package.flavors["python_function"]["artifacts"].values():
        artifact["uri"] = artifact["path"]  # not the file's path on this machine
    package.save(str(directory / MLMODEL_FILE_NAME))


def try_package(record: ModelRecord, directory: Path) -> None:
    """Load a model directory from `save_package` as MLflow does and predict the example.

    Raises
    ------
    UserError
        If it does not load, or does not answer with a `prediction` for each row.
    """
    try:
        example = _example(record)
        predicted = mlflow.pyfunc.load_model(str(directory), suppress_warnings=True).predict(example)
        if list(predicted.columns) != ["prediction"] or not predicted.index.equals(example.index):
            raise ValueError(f"it answers columns {list(predicted.columns)} for {len(predicted)} rows")
    except Exception as error:
        raise UserError(
            f"{record.predict_file.name} does not predict its example ({reason_of(error)}); nothing was registered, "
            "make the ensemble again"
        ) from error


def file_digests(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a model directory, by its path from there."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): sha256_of(path) for path in files}


def require_digests(directory: Path, digests: Mapping[str, str], whose: str) -> None:
    """Raise `UserError` unless a model directory has these files, to the byte; nothing in it is run."""
    changed = [name for name, digest in digests.items() if not _has_digest(directory / name, digest)]
    if changed:
        shown = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
        raise UserError(
            f"{len(changed)} of {len(digests)} files of {whose} are not those that were registered ({shown}); nothing "
            "of it was run: find out who changed the artifact store, and register the ensemble again"
        )


def _has_digest(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest


def read_needs(directory: Path) -> ModelNeeds | None:
    """Return what the model in a model directory needs; None where it is not one of this project's.

    Its ``MLmodel`` is read as data: nothing that the directory holds is run.
    """
    table = (Model.load(str(directory)).metadata or {}).get(_METADATA)
    if table is None:
        return None
    lists = {name: tuple(map(str, table[name])) for name in _LISTS}
    return ModelNeeds(str(table["data"]), str(table["experiment_id"]), **lists)


def _needs_table(needs: ModelNeeds) -> dict[str, Any]:
    lists = {name: list(getattr(needs, name)) for name in _LISTS}
    return lists | {"data": without_passwords(needs.data), "experiment_id": needs.experiment_id}


def _example(record: ModelRecord) -> pd.DataFrame:
    """Return the example in types that the signature takes, whatever the data have."""
    example = (
        record.example[[*record.needs.features, *record.needs.benchmark_columns]].astype("float64").rename_axis("id")
    )
    if "era" in record.example:
        example.insert(0, "era", record.example["era"].astype(str).to_numpy())
    return example


def _signature(record: ModelRecord) -> ModelSignature:
    """Return the columns of the model.

    ``double`` alone takes int8, float32, float64 and NaN at once; the values arrive unchanged.
    """
    needed = [ColSpec(DataType.double, name) for name in (*record.needs.features, *record.needs.benchmark_columns)]
    optional = [ColSpec(DataType.string, name, required=False) for name in ("id", "era")]
    return ModelSignature(Schema([*needed, *optional]), Schema([ColSpec(DataType.double, "prediction")]))
