"""The workers of a Dask cluster as the process that mines sees them: how many trials they take, and what ended."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from signal_miner.cluster.job import StudyJob, Trained
from signal_miner.engine.racing import Race
from signal_miner.errors import Stopped, UserError
from signal_miner.experiment.schema import ClusterSettings
from signal_miner.utils.redaction import reason_of
from signal_miner.utils.validation import Value

try:
    from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
    from numpy.typing import NDArray

    from signal_miner.cluster.worker import CHECKPOINT, READY, REFUSED, StudyPlugin, release_study, train
except ImportError as error:
    raise UserError(
        f"a cluster needs packages that are not installed ({reason_of(error)}); pip install 'signal-miner[cluster]'"
    ) from error

RECONNECT_SECONDS = 600.0
"""How long a lost scheduler is waited for."""

_SUBSCRIBED = "subscribed"
_CONNECT_SECONDS = 10.0
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_ATTEMPTS = 2.0
_SECONDS_BETWEEN_CHECKS = 0.02
_SECONDS_TO_CLOSE = 5.0
_SECONDS_TO_GATHER = 30.0
_REFUSED_SECONDS = 120.0
"""How long all workers may be refused before that is an error: a restarted one may still replace them."""


@dataclass(frozen=True)
class Workers:
    """The workers that are ready for a study.

    Attributes
    ----------
    ready : int
    slots : int
        Trials that they take at a time.
    """

    ready: int = 0
    slots: int = 0


@dataclass(frozen=True, eq=False)
class Ended:
    """How a task ended.

    Attributes
    ----------
    number : int
        Of the draw.
    trained : Trained or None
        None if the task was given up, or one of the following holds.
    killed : bool
        Whether each worker that tried died.
    lost : bool
        Whether the scheduler forgot it, as it was restarted.
    """

    number: int
    trained: Trained | None = None
    killed: bool = False
    lost: bool = False


class WorkerPool:
    """A connection to a scheduler, or a local cluster, for one study; a context manager.

    Parameters
    ----------
    settings : ClusterSettings
    job : StudyJob
    threads : int
        Of each worker of a local cluster.
    should_stop : callable
        Asked while a scheduler that is lost is waited for.
    on_text : callable
        Called with what a person should know, in a line.
    on_checkpoint : callable
        Called with a fold's number and its number of trees, from a thread of Dask's.

    Raises
    ------
    UserError
        If the scheduler cannot be reached.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        job: StudyJob,
        threads: int,
        should_stop: Callable[[], bool],
        on_text: Callable[[str], None],
        on_checkpoint: Callable[[int, int], None] = lambda _fold, _trees: None,
    ) -> None:
        self._settings = settings
        self._job = job
        self._threads = threads
        self._should_stop = should_stop
        self._on_text = on_text
        self.on_checkpoint = on_checkpoint
        self._benchmark: Mapping[int, NDArray[Any]] | None = None
        self._tasks: dict[str, tuple[int, Future]] = {}
        self._ready: deque[Future] = deque()
        self._refused: dict[str, str] = {}
        self._refused_since = math.inf
        self._slots: dict[str, int] = {}
        self._looked = 0.0
        self._news = threading.Event()  # a worker reported
        self._subscribed = threading.Event()
        self._local: LocalCluster | None = None
        self._client: Client | None = None
        self._completed: as_completed | None = None

    def __enter__(self) -> Self:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of it is reported in our words
        try:
            if self._settings.workers is not None:
                self._local = LocalCluster(
                    n_workers=self._settings.workers,
                    threads_per_worker=self._threads,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            self._connect()
        except (OSError, RuntimeError, ValueError) as error:
            self._close()
            raise UserError(
                f"{self._name} cannot be reached ({reason_of(error)}); check cluster.scheduler, and that it was "
                "started with: dask scheduler"
            ) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None and self._client.status == "running":
            with suppress(Exception):  # the workers may have ended
                self._client.cancel([future for _, future in self._tasks.values()], force=True)
                self._client.unregister_worker_plugin(self._job.resource)
                self._client.run(release_study, self._job.resource)
        self._close()

    @property
    def workers(self) -> Workers:
        """The workers that are ready now; looks at most once a second, unless a worker reported."""
        if self._client is not None and (
            self._news.is_set() or time.monotonic() - self._looked > _SECONDS_BETWEEN_LOOKS
        ):
            self._news.clear()
            self._looked = time.monotonic()
            with suppress(OSError, RuntimeError):  # a scheduler that is lost is noticed where tasks are awaited
                known = self._client.scheduler_info(n_workers=-1)["workers"]
                offered = {name: int(each["resources"].get(self._job.resource, 0)) for name, each in known.items()}
                self._slots = {name: slots for name, slots in offered.items() if slots}
                self._refused = {name: why for name, why in self._refused.items() if name in known}
                self._raise_if_all_refused(len(known))
        return Workers(len(self._slots), sum(self._slots.values()))

    @property
    def start_command(self) -> str:
        """The command that starts a worker."""
        return f"dask worker {self._settings.scheduler or self._open[0].scheduler.address}"

    @property
    def in_training(self) -> int:
        """Tasks that have not ended."""
        self._collect()
        return len(self._tasks) - len(self._ready)

    @property
    def ready(self) -> int:
        """Tasks that have ended and were not returned yet; what they trained stays where it is until then."""
        return len(self._ready)

    def submit(
        self,
        number: int,
        params: Mapping[str, Value],
        *,
        alone: bool = False,
        report_steps: bool = False,
        seed: int | None = None,
        race: Race | None = None,
    ) -> None:
        """Submit a configuration; earlier draws are trained first.

        Parameters
        ----------
        alone : bool, default False
            Whether it takes a whole worker.
        report_steps : bool, default False
            Whether each checkpoint is reported to `on_checkpoint`.
        seed : int, optional
            Of the booster, in place of the study's.
        race : Race, optional
            By which it may be stopped.
        """
        client, completed = self._open
        slots = max(self._slots.values(), default=1) if alone else 1
        key = f"{self._job.study}-{number}-{uuid4().hex[:8]}"
        future = client.submit(
            train,
            self._job,
            number,
            dict(params),
            report_steps,
            seed,
            race,
            key=key,
            resources={self._job.resource: slots},
            priority=-number,
            retries=0,
        )
        self._tasks[key] = number, future
        completed.add(future)

    def compare_with(self, benchmark: Mapping[int, NDArray[Any]]) -> None:
        """Let workers score against the benchmark's predictions, by fold number."""
        self._benchmark = benchmark
        self._register(self._open[0])

    def ended(self, seconds: float) -> list[Ended]:
        """Return a task that has ended, or all that were lost with the scheduler; wait for it some seconds.

        Raises
        ------
        UserError
            If the scheduler is lost and does not come back.
        Stopped
            If a stop is requested meanwhile.
        """
        end = time.monotonic() + seconds
        while True:
            if self._open[0].status != "running":
                return self._reconnected()
            self._collect()
            if self._ready:
                return self._ended(self._ready.popleft())
            if time.monotonic() >= end:
                return []
            time.sleep(_SECONDS_BETWEEN_CHECKS)

    def _collect(self) -> None:
        _, completed = self._open
        if completed.has_ready():
            self._ready += completed.next_batch(block=False)

    def _ended(self, future: Future) -> list[Ended]:
        number = self._tasks[future.key][0]
        try:
            result = future.result(timeout=_SECONDS_TO_GATHER)
        except CancelledError:  # the scheduler was lost for a moment, and knows nothing of this study
            return self._reconnected()
        except KilledWorker:
            ended = Ended(number, killed=True)
        except (TimeoutError, OSError):  # the worker that holds the result died, and it is trained again
            if self._open[0].status != "running":
                return self._reconnected()
            self._open[1].add(future)
            return []
        except Exception as error:  # a mistake of ours or of Dask's: `train` reports what trials raise
            raise UserError(f"a task of Dask failed ({type(error).__name__}: {reason_of(error)})") from error
        else:
            ended = Ended(number, result)
        del self._tasks[future.key]
        return [ended]

    def _reconnected(self) -> list[Ended]:
        """Connect to the scheduler again, and return what was lost with it."""
        self._on_text(f"{self._name} does not answer; waiting up to {RECONNECT_SECONDS:.0f} s for it …")
        end = time.monotonic() + RECONNECT_SECONDS
        lost, self._tasks, self._slots = self._tasks, {}, {}
        self._ready.clear()
        while True:
            self._disconnect()
            if self._should_stop():
                raise Stopped
            try:
                self._connect()
            except (OSError, RuntimeError) as error:
                if time.monotonic() > end:
                    raise UserError(
                        f"{self._name} does not answer ({reason_of(error)}); start it again and rerun the command to "
                        "resume"
                    ) from error
                time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
                continue
            self._on_text(f"{self._name} is back; what was in training is trained again.")
            return [Ended(number, lost=True) for number, _ in lost.values()]

    @property
    def _open(self) -> tuple[Client, as_completed]:
        if self._client is None or self._completed is None:
            raise RuntimeError("the pool is closed")
        return self._client, self._completed

    @property
    def _name(self) -> str:
        return f"scheduler {self._settings.scheduler}" if self._settings.scheduler else "the local cluster"

    def _connect(self) -> None:
        self._client = client = Client(
            self._local if self._local is not None else self._settings.scheduler,
            timeout=_CONNECT_SECONDS,
            set_as_default=False,
            name=f"signal-miner-{self._job.study}",
        )
        self._completed = as_completed(loop=client.loop, with_results=False, raise_errors=False)
        self._subscribe(client)
        self._register(client)

    def _subscribe(self, client: Client) -> None:
        """Subscribe to what workers report, and wait until events arrive.

        A subscription and a plugin take different connections to the scheduler, so that a worker could report before
        the subscription arrived; Dask repeats no event.
        """
        self._subscribed.clear()
        client.subscribe_topic(self._job.topic, self._heard)
        end = time.monotonic() + _CONNECT_SECONDS
        while not self._subscribed.is_set():
            if time.monotonic() > end:
                raise OSError(f"it passes on no events after {_CONNECT_SECONDS:g} s")
            client.log_event(self._job.topic, {"kind": _SUBSCRIBED, "worker": ""})
            self._subscribed.wait(_SECONDS_BETWEEN_CHECKS)

    def _register(self, client: Client) -> None:
        client.register_plugin(StudyPlugin(self._job, self._benchmark))

    def _heard(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take in what a worker reported; called in a thread of Dask's."""
        message = event[1]
        kind, worker = message["kind"], str(message["worker"])
        if kind == _SUBSCRIBED:
            self._subscribed.set()
        elif kind == CHECKPOINT:
            self.on_checkpoint(int(message["fold"]), int(message["trees"]))
        elif kind == READY:
            self._refused.pop(worker, None)
            self._news.set()
        elif kind == REFUSED:
            if self._refused.get(worker) != message["reason"]:
                self._on_text(f"Worker {worker} is given no trials: {message['reason']}")
            self._refused[worker] = message["reason"]
            self._news.set()

    def _raise_if_all_refused(self, n_known: int) -> None:
        if not n_known or len(self._refused) < n_known:
            self._refused_since = math.inf
            return
        self._refused_since = min(self._refused_since, time.monotonic())
        if self._local is not None or time.monotonic() - self._refused_since > _REFUSED_SECONDS:
            worker, reason = next(iter(self._refused.items()))
            raise UserError(
                f"no worker of {self._name} can train study {self._job.study}, such as {worker}: {reason}; correct "
                "this and rerun the command to resume"
            )

    def _disconnect(self) -> None:
        client, self._client, self._completed = self._client, None, None
        if client is not None:
            with suppress(Exception):
                client.close(timeout=_SECONDS_TO_CLOSE)

    def _close(self) -> None:
        self._disconnect()
        if self._local is not None:
            with suppress(Exception):
                self._local.close(timeout=_SECONDS_TO_CLOSE)
            self._local = None
