"""Registers an ensemble in MLflow's model registry, moves its alias, and loads it again.

A registered model is an MLflow *logged model* of the ensemble's run, with the run's parameters and metrics, and a
version that points to it. The version is made last: what a kill leaves behind is no version.
"""

from __future__ import annotations

import functools
import json
import platform
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow.artifacts
import pandas as pd
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.entities.model_registry import ModelVersion as RegistryVersion
from mlflow.entities.model_registry import RegisteredModel as RegistryEntry
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from signal_miner.errors import UserError, did_you_mean
from signal_miner.models.portable.hosted import predict_apart
from signal_miner.models.registry.package import (
    PREDICT,
    ModelNeeds,
    ModelRecord,
    file_digests,
    read_needs,
    require_digests,
    save_package,
    stamp_package,
    try_package,
)
from signal_miner.tracking.store import LONGEST_VALUE, Store, store_errors
from signal_miner.tracking.tags import (
    MODEL_DATA,
    MODEL_DIGEST,
    MODEL_ENSEMBLE,
    MODEL_FEATURES,
    MODEL_FILES,
    MODEL_PYTHON,
    NOTE,
)
from signal_miner.tracking.ui import MODEL_TRAINING
from signal_miner.utils.files import temporary_directory
from signal_miner.utils.redaction import reason_of, without_passwords

CHAMPION = "champion"
"""Alias of the version that is submitted."""

NEWEST = "latest"
"""What MLflow calls the highest version; no alias may have this name."""

_VERSIONS = "mlflow.modelVersions"
_ABSENT, _INVALID = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"
_ANSWERS = "try again once it answers"


@dataclass(frozen=True)
class ModelVersion:
    """A version in the registry; `run_id` is the ensemble's."""

    name: str
    version: str
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class RegisteredModel:
    """A version of a registered model, fetched.

    Attributes
    ----------
    run_id : str
        The ensemble's run it was made from.
    predict_file : Path
        A local copy of ``predict.pkl``.
    predict : callable
        Takes a frame indexed by ``id`` with the features, ``era`` where it has several, and the benchmark columns;
        returns a frame with the column ``prediction`` in (0, 1), with the same index. It runs ``predict.pkl`` in a
        process of its own, whose environment holds no keys.
    verified : bool
        Whether its files were compared with the checksums of the registration; False where that left none.
    """

    name: str
    version: str
    run_id: str
    needs: ModelNeeds
    predict_file: Path
    predict: Callable[[pd.DataFrame], pd.DataFrame]
    verified: bool = True


class Registry(Store):
    """MLflow's model registry; every method raises UserError where the store fails."""

    def register(self, record: ModelRecord) -> ModelVersion:
        """Make a new version of a registered model, and the registered model where it does not exist.

        The model is loaded and tried on the example before anything is written. No alias moves.

        Raises
        ------
        UserError
            If MLflow does not take the name, the model does not predict its example, or the store fails.
        """
        check_name(record.name)
        with temporary_directory() as scratch:
            directory = scratch / "model"
            package = save_package(record, directory)
            try_package(record, directory)
            with self._store_errors(
                "once it answers again, the same command registers the ensemble; no half-made version is left"
            ):
                return self._add_version(record, *self._log(record, package, directory))

    def find(self, name: str, alias_or_version: str = CHAMPION) -> ModelVersion | None:
        """Return a version, or None where the registered model, the alias or the version does not exist.

        `alias_or_version` is an alias, a number, or ``latest``.
        """
        with self._store_errors(_ANSWERS):
            entry = self._entry(name)
            return None if entry is None else self._version(entry, alias_or_version)

    def get(self, name: str, alias_or_version: str) -> ModelVersion:
        """Return a version as `find` does; raise a `UserError` where it does not exist."""
        return self._required(name, alias_or_version)

    def first_registered(self, version: ModelVersion) -> datetime:
        """Return when the ensemble of a version was first registered under its name: refits of it came later."""
        with self._store_errors(_ANSWERS):
            found = self._versions_named(version.name)
        made = [int(each.creation_timestamp) for each in found if each.run_id == version.run_id]
        return datetime.fromtimestamp(min(made, default=0) / 1000, UTC)

    def of_data(self, version: ModelVersion, digest: str) -> ModelVersion | None:
        """Return the newest version of the same name and ensemble that was fitted on data of this digest, if any."""
        with self._store_errors(_ANSWERS):
            made = [each for each in self._versions_named(version.name) if each.run_id == version.run_id]
            numbers = [int(each.version) for each in made if each.tags.get(MODEL_DIGEST) == digest]
        return self.find(version.name, str(max(numbers))) if numbers else None

    def fetch(self, version: ModelVersion, artifact: str, directory: Path) -> Path | None:
        """Fetch one of the files that a version was registered with; None if it was registered without it.

        Raises
        ------
        UserError
            If the file is gone, or is not the one that was registered.
        """
        path = f"artifacts/{artifact}"
        digest = json.loads(version.tags.get(MODEL_FILES, "{}")).get(path)
        if digest is None:
            return None
        what = f"version {version.version} of {version.name!r}"
        with self._store_errors(f"check that the artifacts of {what} are still there"):
            source = str(self._client.get_model_version_download_uri(version.name, version.version))
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"{source.rstrip('/')}/{path}",
                dst_path=str(directory / "artifacts"),
                tracking_uri=self.tracking_uri,
            )
        require_digests(directory, {path: digest}, what)
        return directory / path

    def promote(self, name: str, version: str, alias: str = CHAMPION) -> None:
        """Give an alias to a version, which takes it from the one that had it.

        Raises
        ------
        UserError
            If the version does not exist or MLflow does not take the alias.
        """
        found = self._required(name, version)
        with self._store_errors(_ANSWERS):
            try:
                self._client.set_registered_model_alias(name, alias, found.version)
            except MlflowException as error:
                if error.error_code != _INVALID:
                    raise
                raise UserError(f"{alias!r} cannot be an alias ({reason_of(error)}); use another word") from error

    def load(self, name: str, alias_or_version: str, directory: Path) -> RegisteredModel:
        """Fetch a version into an empty directory and verify its files; `alias_or_version` as for `find`.

        Nothing that the artifact store holds is imported or unpickled in this process.

        Raises
        ------
        UserError
            If there is no such version, its artifacts are missing or changed, or it was not registered by this project.
        """
        found = self._required(name, alias_or_version)
        what = f"version {found.version} of {name!r}"
        with self._store_errors(f"check that the artifacts of {what} are still there"):
            source = str(self._client.get_model_version_download_uri(name, found.version))
            path = Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=source, dst_path=str(directory), tracking_uri=self.tracking_uri
                )
            )
        digests = found.tags.get(MODEL_FILES, "")
        if digests:
            require_digests(path, json.loads(digests), what)
        try:
            needs = read_needs(path)
        except Exception as error:
            raise UserError(
                f"{what} has no readable MLmodel ({reason_of(error)}); register the ensemble again"
            ) from error
        if needs is None:
            raise UserError(f"{what} was not registered by Signal Miner; give another name, alias or version")
        predict_file = path / "artifacts" / PREDICT
        return RegisteredModel(
            name=name,
            version=found.version,
            run_id=found.run_id,
            needs=needs,
            predict_file=predict_file,
            predict=functools.partial(_predict, predict_file, needs.benchmark_columns),
            verified=bool(digests),
        )

    def _log(self, record: ModelRecord, package: Model, directory: Path) -> tuple[LoggedModel, dict[str, str]]:
        """Make the logged model and return it with its files' digests; one that is not whole is deleted."""
        model = self._client.create_logged_model(
            record.needs.experiment_id,
            re.sub(r"[.%\"']", "-", record.name),  # which a registered model may have in its name
            source_run_id=record.run_id,
            tags=_short(self._context | dict(record.tags) | {NOTE: record.description}),
            params=_short(record.params),
            model_type="ensemble",
        )
        try:
            stamp_package(package, directory, record.run_id, model.model_id)
            digests = file_digests(directory)
            self._client.log_model_artifacts(model.model_id, str(directory))
            metrics = [self._metric(record.run_id, model.model_id, *item) for item in record.metrics.items()]
            if metrics:
                self._client.log_batch(record.run_id, metrics=metrics)
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            self._client.log_outputs(record.run_id, [LoggedModelOutput(model.model_id, step=0)])
        except BaseException:
            with suppress(Exception):  # the store may be what failed
                self._client.delete_logged_model(model.model_id)
            raise
        return model, digests

    def _metric(self, run_id: str, model_id: str, name: str, value: float) -> Metric:
        """Link the metric of the run, where it is there, so that the run does not get it a second time."""
        history = self._client.get_metric_history(run_id, name)
        points = [(point.timestamp, point.step) for point in history if point.value == value]
        timestamp, step = points[-1] if points else (int(time.time() * 1000), 0)
        return Metric(name, value, timestamp, step, model_id=model_id, run_id=run_id)

    def _add_version(self, record: ModelRecord, model: LoggedModel, digests: Mapping[str, str]) -> ModelVersion:
        with suppress(MlflowException):  # it exists, or the next call raises
            self._client.create_registered_model(record.name)
        tags = _short(
            dict(record.tags)
            | {
                MODEL_DATA: record.needs.data,
                MODEL_FEATURES: str(len(record.needs.features)),
                MODEL_ENSEMBLE: record.run_id,
                MODEL_PYTHON: platform.python_version(),
                MODEL_FILES: json.dumps(digests),
            }
        )
        page = f"#/experiments/{record.needs.experiment_id}/models/{model.model_id}/artifacts?{MODEL_TRAINING}"
        files = f"\n\n[Files]({page}): `artifacts/{PREDICT}` is for Numerai's model upload."
        # The place itself, not "models:/<id>": for that a database asks MLflow's global store, which may be another.
        version = self._client.create_model_version(
            record.name,
            model.artifact_location,
            run_id=record.run_id,
            model_id=model.model_id,
            tags=tags,
            description=without_passwords(record.description)[: LONGEST_VALUE - len(files)] + files,
        )
        link = json.dumps([{"name": record.name, "version": int(version.version)}])
        with suppress(MlflowException):  # a link in the UI; a server makes it by itself
            self._client.set_logged_model_tags(model.model_id, {_VERSIONS: link})
        return ModelVersion(record.name, str(version.version), record.run_id, (), tags)

    def _entry(self, name: str) -> RegistryEntry | None:
        try:
            return self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code in {_ABSENT, _INVALID}:
                return None
            raise

    def _version(self, entry: RegistryEntry, alias_or_version: str) -> ModelVersion | None:
        if alias_or_version in entry.aliases:
            number = str(entry.aliases[alias_or_version])
        elif alias_or_version == NEWEST:
            number = _newest(entry)
        else:
            number = alias_or_version
        if not re.fullmatch("[1-9][0-9]*", number):
            return None
        try:
            version = self._client.get_model_version(entry.name, number)
        except MlflowException as error:
            if error.error_code == _ABSENT:
                return None
            raise
        return ModelVersion(entry.name, number, str(version.run_id), tuple(version.aliases), dict(version.tags))

    def _required(self, name: str, alias_or_version: str) -> ModelVersion:
        found = self.find(name, alias_or_version)
        if found is not None:
            return found
        with self._store_errors(_ANSWERS):
            entry = self._entry(name)
            if entry is None:
                names = [model.name for model in self._client.search_registered_models(max_results=1000)]
                near = did_you_mean(name, names) or "; the registry is empty: make an ensemble and register it first"
                raise UserError(f"there is no registered model {name!r}{near}")
            known = [*sorted(entry.aliases), *self._numbers(entry)]
            near = did_you_mean(alias_or_version, known) or "; it has no version yet: register an ensemble first"
        raise UserError(f"registered model {name!r} has no alias or version {alias_or_version!r}{near}")

    def _numbers(self, entry: RegistryEntry) -> list[str]:
        """Return a registered model's versions, newest first."""
        found = self._versions_named(entry.name)
        return [str(number) for number in sorted((int(version.version) for version in found), reverse=True)]

    def _versions_named(self, name: str) -> list[RegistryVersion]:
        """Return all versions of a registered model; the newest alone where MLflow's filters cannot write its name."""
        quote = '"' if "'" in name else "'"
        if quote in name:
            entry = self._entry(name)
            return [] if entry is None else list(entry.latest_versions)
        return list(self._client.search_model_versions(f"name={quote}{name}{quote}"))

    def _store_errors(self, repair: str) -> AbstractContextManager[None]:
        return store_errors(self.tracking_uri, repair, "model registry")


def _predict(predict_file: Path, benchmark_columns: tuple[str, ...], frame: pd.DataFrame) -> pd.DataFrame:
    indexed = frame.set_index("id") if "id" in frame else frame
    present = [column for column in benchmark_columns if column in indexed]
    return predict_apart(predict_file, indexed, indexed[present] if present else None)


def _newest(entry: RegistryEntry) -> str:
    return str(max((int(version.version) for version in entry.latest_versions), default=""))


def _short(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: without_passwords(str(text))[:LONGEST_VALUE] for name, text in texts.items()}


def check_name(name: str) -> None:
    """Raise `UserError` where MLflow would not take a name for a registered model."""
    if not name.strip() or re.search("[/:]", name):
        raise UserError(f"{name!r} cannot name a registered model; leave out '/' and ':'")
