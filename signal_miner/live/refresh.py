"""The weekly refresh: newest data, what changed in them, members refitted, checked, registered and delivered."""

# Each step finds by itself what an earlier call has done: files that are current are not fetched, members that were
# refitted on these data are kept at the ensemble's run, a version of these data is not registered again, and Numerai's
# lists decide what is submitted or deployed. So a call that was killed anywhere is resumed by the same call.

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from signal_miner.data.sources import DATA_DIRECTORY, is_data_version
from signal_miner.ensemble.runs import EnsembleRuns
from signal_miner.errors import Stopped, UserError
from signal_miner.experiment.plan import Plan, data_location, renewed_plan
from signal_miner.live.data_changes import DataChanges, change_lines, data_changes, missing_features
from signal_miner.live.delivery import Delivered, DeliveryOptions, deliver
from signal_miner.live.history import DIRECTORY
from signal_miner.live.slots import Slot
from signal_miner.models.options import ALWAYS, IF_BETTER, KEPT, NEVER, PackingOptions, RegistrationOptions
from signal_miner.models.packing import PREDICT, PackedEnsemble, pack_on_newest
from signal_miner.models.portable.hosted import predict_apart
from signal_miner.models.registration import register_refit
from signal_miner.models.registry import CHAMPION, NEWEST, ModelVersion, RegisteredModel, Registry
from signal_miner.numerai.download.payout import download_payout
from signal_miner.numerai.download.versions import download_version
from signal_miner.numerai.live.data import LIVE, LIVE_BENCHMARKS, read_live
from signal_miner.numerai.live.submission_file import checked_submission
from signal_miner.tracking.studies import Studies, TrackedStudy
from signal_miner.tracking.tags import MODEL_PROMOTE
from signal_miner.utils.console import plain_console
from signal_miner.utils.files import alone, temporary_directory
from signal_miner.utils.interruption import StopRequest
from signal_miner.utils.next_command import option_text
from signal_miner.utils.validation import shown

_SHOWN = 5  # names in a message
_LOCK = ".refresh.lock"


@dataclass(frozen=True)
class RefreshOptions:
    """How models are refreshed.

    Attributes
    ----------
    data : str or None
        Directory of the data; None for that of the study, where Numerai's newest files are put.
    deliver : bool
        Submit to the slots, or deploy to them, once all checks have passed.
    least_correlation : float
        Rank correlation of the new version with the old on the newest live era below which nothing is registered.
    promote : str or None
        ``always`` moves the alias to the new version, ``never`` does not; None does as ``promote`` said when the model
        was registered, where all but ``never`` moves it: the ensemble is the same.

    Raises
    ------
    UserError
        If `least_correlation` is no correlation, or `promote` is another text.
    """

    data: str | None = None
    trees: str = KEPT
    jobs: int | None = None
    deliver: bool = False
    late: bool = False
    least_correlation: float = 0.5
    promote: str | None = None
    tracking_uri: str | None = None

    def __post_init__(self) -> None:
        if not -1 <= self.least_correlation <= 1:
            raise UserError(
                f"least_correlation = {self.least_correlation:g} is not between -1 and 1; the default is 0.5"
            )
        if self.promote not in (None, ALWAYS, NEVER):
            raise UserError(
                f"promote = {shown(self.promote)} is neither {ALWAYS} nor {NEVER}; leave it out to do as the model was "
                "registered"
            )


DEFAULT_OPTIONS = RefreshOptions()


@dataclass(frozen=True)
class LiveCheck:
    """A new version beside the old one on the newest live era.

    Attributes
    ----------
    era : str
    rank_correlation : float
        Of both predictions.
    exposure, old_exposure : float
        Largest absolute correlation of the predictions with a feature, of the new and of the old version.
    """

    era: str
    rank_correlation: float
    exposure: float
    old_exposure: float


@dataclass(frozen=True)
class Refreshed:
    """How the refresh of a registered model ended.

    Attributes
    ----------
    version : str
        Of the registered model, new or as before; empty where it failed before there was one.
    is_new : bool
    alias_version : str
        That the alias names now: an older one where it was not to move.
    changes : DataChanges or None
    check : LiveCheck or None
        None without live data, or without a new version.
    delivered : tuple of Delivered
    error : str
        What stopped it; nothing was delivered then, and nothing registered unless `version` says so.
    """

    model: str
    alias: str
    version: str = ""
    is_new: bool = False
    alias_version: str = ""
    changes: DataChanges | None = None
    check: LiveCheck | None = None
    delivered: tuple[Delivered, ...] = ()
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether it, or the delivery to a slot, failed."""
        return bool(self.error) or any(each.error for each in self.delivered)

    def __str__(self) -> str:
        what = f"{self.model}@{self.alias}"
        if self.error and self.version:
            return f"{what}: version {self.version} is registered, but not delivered: {self.error}"
        if self.error:
            return f"{what}: stopped, nothing registered or delivered: {self.error}"
        text = f"{what}: {'new ' if self.is_new else 'nothing to refit, '}version {self.version}"
        if self.changes is not None:
            text += (
                f", {self.changes.eras} eras to {self.changes.last_era} ({self.changes.new_eras} since it was mined)"
            )
        if self.alias_version != self.version:
            text += f"; {self.alias} stays version {self.alias_version}"
        if self.delivered:
            failed = [each.slot.name for each in self.delivered if each.error]
            text += f"; {len(self.delivered) - len(failed)} of {len(self.delivered)} slots delivered"
            text += f", failed: {', '.join(failed)}" if failed else ""
        return text


def refresh(
    slots: Sequence[Slot], options: RefreshOptions = DEFAULT_OPTIONS, console: Console | None = None
) -> tuple[Refreshed, ...]:
    """Refresh the models of slots, each registered model once; the failure of one does not stop the others.

    Parameters
    ----------
    slots : sequence of Slot
        As `read_slots` returns them.
    console : rich.console.Console, optional
        Where progress is printed; plain lines on standard output if not given.

    Returns
    -------
    tuple of Refreshed
        One for each registered model and alias.

    Raises
    ------
    UserError
        If the tracking store cannot be opened.
    Stopped
        If the user asked for a stop; the same call resumes.
    """
    printed = plain_console() if console is None else console
    groups: dict[tuple[str, str], list[Slot]] = {}
    for slot in slots:
        groups.setdefault((slot.model, slot.alias), []).append(slot)
    waiting = "Waiting for another refresh in this folder"
    with alone(DIRECTORY / _LOCK, lambda: printed.print(waiting)):
        return tuple(
            _Refresh(model, alias, members, options, printed).outcome() for (model, alias), members in groups.items()
        )


@dataclass(frozen=True, eq=False)
class _Data:
    """A study's data as they are now."""

    plan: Plan
    live: Path | None
    live_benchmarks: Path | None


@dataclass
class _Refresh:
    """One registered model on its way to a new version."""

    model: str
    alias: str
    slots: list[Slot]
    options: RefreshOptions
    console: Console
    changes: DataChanges | None = field(default=None, init=False)
    check: LiveCheck | None = field(default=None, init=False)
    registered: ModelVersion | None = field(default=None, init=False)

    def outcome(self) -> Refreshed:
        """Refresh the model; what stops it is in the outcome."""
        try:
            return self._run()
        except UserError as error:
            version = "" if self.registered is None else self.registered.version
            return Refreshed(self.model, self.alias, version, changes=self.changes, check=self.check, error=str(error))

    def _run(self) -> Refreshed:
        if self.alias.isdecimal():
            raise UserError(
                f"alias {self.alias} of {self.model} is a version, which never moves; name an alias such as {CHAMPION}"
            )
        if self.alias == NEWEST:
            raise UserError(
                f"alias {NEWEST} of {self.model} is whichever version is newest, checked or not; name an alias such as "
                f"{CHAMPION}"
            )
        registry = Registry(self.options.tracking_uri)
        with temporary_directory() as directory:
            (directory / "old").mkdir()
            old = registry.load(self.model, self.alias, directory / "old")
            found = registry.get(self.model, old.version)
            study = self._study(found)
            data = self._newest(study, old)
            registered = registry.of_data(found, data.plan.dataset.digest)
            if registered is None:
                (directory / "new").mkdir()
                registered = self._new_version(old, data, directory / "new", _promotion_of(found))
                is_new = True
            else:
                is_new = False
                self.console.print(f"Nothing to refit: version {registered.version} was fitted on these data")
        self.registered = registered
        alias_version = registered.version
        if self.alias not in registered.aliases:
            if (self.options.promote or _promotion_of(found)) == NEVER:
                alias_version = found.version
                moving = option_text("promote", ALWAYS)
                self.console.print(f"{self.alias} stays version {alias_version}; {moving} moves it")
            else:
                registry.promote(self.model, registered.version, self.alias)
                self.console.print(f"{self.alias} is version {registered.version} now")
        return Refreshed(
            self.model,
            self.alias,
            registered.version,
            is_new,
            alias_version,
            self.changes,
            self.check,
            self._delivered(),
        )

    def _study(self, version: ModelVersion) -> TrackedStudy:
        tracked = EnsembleRuns(self.options.tracking_uri).find(version.run_id)
        return Studies(self.options.tracking_uri).find(tracked.ensemble.study)

    def _newest(self, study: TrackedStudy, old: RegisteredModel) -> _Data:
        """Fetch Numerai's newest files, and stop where they lack a feature that the model needs."""
        named = str(study.plan["experiment"]["data"])
        location = self.options.data or data_location(study.plan)
        directory = Path(location) if Path(location).exists() else DATA_DIRECTORY / location
        if is_data_version(named):
            files = download_version(named, directory, show_progress=self.console.is_terminal)
            download_payout(directory)
            fetched = [file.path.name for file in files if file.fetched]
            self.console.print(f"Newest files of {named}: {', '.join(fetched) if fetched else 'nothing changed'}")
        there = [directory / name for name in ("train.parquet", "validation.parquet", LIVE)]
        there = [path for path in there if path.is_file()]
        if gone := missing_features(there, old.needs.features):
            listed = ", ".join(gone[:_SHOWN]) + (", …" if len(gone) > _SHOWN else "")
            raise UserError(
                f"{len(gone)} of the {len(old.needs.features):,} features that version {old.version} needs are gone "
                f"from the data: {listed}; mine a model without them"
            )
        plan = renewed_plan(study.plan, self.options.data)
        live, benchmarks = (
            path if path.is_file() else None for path in (directory / LIVE, directory / LIVE_BENCHMARKS)
        )
        self.changes = data_changes(study.plan, plan.dataset, plan.targets, old.needs.features, live)
        for line in change_lines(self.changes):
            self.console.print(line)
        return _Data(plan, live, benchmarks)

    def _new_version(self, old: RegisteredModel, data: _Data, directory: Path, promote: str) -> ModelVersion:
        """Refit, compare with the old version on the newest live era, and register."""
        options = self.options
        packing = PackingOptions(old.run_id, options.trees, options.jobs, options.data, options.tracking_uri)
        runs = EnsembleRuns(options.tracking_uri)
        stopping = StopRequest(lambda: self.console.print("Stopping; members refitted so far are kept …"))
        with stopping as stop:
            packed = pack_on_newest(packing, runs, directory / PREDICT, stop, self.console)
            if stop.is_set():
                raise Stopped
            if packed.plan.dataset.digest != data.plan.dataset.digest:
                raise UserError("the data changed while the model was refitted; run the same command again")
            self.check = self._checked(old, packed, data)
            stop.defer_signals()
            registration = RegistrationOptions(
                old.run_id,
                options.trees,
                options.jobs,
                options.data,
                options.tracking_uri,
                model=self.model,
                promote=promote,
            )
            made = register_refit(packed, registration, runs, directory)
        self.console.print(f"Registered {made.name} version {made.version}")
        return made

    def _checked(self, old: RegisteredModel, packed: PackedEnsemble, data: _Data) -> LiveCheck | None:
        """Raise a `UserError` where the new version's live predictions are not sound."""
        if data.live is None:
            self.console.print(f"No {LIVE} beside the data: the new version is not compared with the old on a live era")
            return None
        frame = read_live(data.live, old, data.live_benchmarks)
        predict = functools.partial(predict_apart, packed.path, frame)
        columns = [name for name in old.needs.benchmark_columns if name in frame]
        new = predict(frame[columns] if columns else None)
        checked_submission(new, frame.index)
        before = old.predict(frame)
        check = LiveCheck(
            era=str(frame["era"].iloc[0]) if "era" in frame else "unknown",
            rank_correlation=float(new["prediction"].corr(before.loc[new.index, "prediction"], method="spearman")),
            exposure=_exposure(new["prediction"], frame[list(old.needs.features)]),
            old_exposure=_exposure(before["prediction"], frame[list(old.needs.features)]),
        )
        self.console.print(
            f"Live era {check.era}: rank correlation with version {old.version} {check.rank_correlation:.3f}, largest "
            f"feature exposure {check.exposure:.3f} (was {check.old_exposure:.3f}), official checks passed"
        )
        if not check.rank_correlation >= self.options.least_correlation:
            raise UserError(
                f"the new version's rank correlation with version {old.version} on live era {check.era} is "
                f"{check.rank_correlation:.3f}, below {self.options.least_correlation:g}; look at the data, or lower "
                "least_correlation"
            )
        return check

    def _delivered(self) -> tuple[Delivered, ...]:
        named = [slot for slot in self.slots if slot.name]
        if not self.options.deliver or not named:
            return ()
        how = DeliveryOptions(late=self.options.late, tracking_uri=self.options.tracking_uri)
        return deliver(named, how, self.console)


def _promotion_of(version: ModelVersion) -> str:
    return version.tags.get(MODEL_PROMOTE, IF_BETTER)


def _exposure(predictions: pd.Series[float], features: pd.DataFrame) -> float:
    values = features.to_numpy(np.float64)
    values = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    centred = values - values.mean(axis=0)
    ranks = predictions.reindex(features.index).rank().to_numpy(np.float64)
    ranks = ranks - ranks.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = ranks @ centred / np.sqrt((ranks**2).sum() * (centred**2).sum(axis=0))
    return float(np.nanmax(np.abs(correlations), initial=0.0))
