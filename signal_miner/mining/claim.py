"""The exclusive right to mine a study, kept in the stores that several folders and machines may share.

Neither MLflow nor Optuna can compare and set a value in one step. So each process that wants a study first writes a
claim of its own and then reads those of others: of two at once at least one sees the other. While both are
``waiting``, the one with the smaller token waits until the other has withdrawn or got the study; the other withdraws.

A process renews its claim every few seconds. That a claim changes is the only proof that its owner lives: clocks of
other machines are not compared, and a process number of a copied store may belong to anyone. A claim that does not
change is dead at once if its process was one of this machine and has ended, otherwise after `STALE_AFTER` seconds.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import psutil

from signal_miner.errors import Stopped, StoreError, UserError
from signal_miner.experiment.study_files import stop_command
from signal_miner.tracking.store import short_timeouts

HEARTBEAT = 5.0
"""Seconds between renewals of a claim."""

STALE_AFTER = 90.0
"""Seconds without a renewal after which a claim counts as dead: a server may take a minute to answer."""

_HELD_HERE: set[str] = set()
"""Tokens of the claims of this process that are in force."""

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_LAST_RENEWAL = 10.0


class ClaimStore(Protocol):
    """Where the claims to one study are kept, by token; each call reads or writes the store."""

    def claims(self) -> Mapping[str, str]:
        """Return all claims."""

    def write_claim(self, token: str, claim: str) -> None:
        """Write a claim, or replace it."""

    def remove_claim(self, token: str) -> None:
        """Remove a claim; no error if it is not there."""


@dataclass(frozen=True)
class Owner:
    """A process as its claim describes it.

    Attributes
    ----------
    host, folder : str
        Its machine and its working directory, for people.
    machine : str
        Identifies the machine and the space of process numbers: containers of one machine differ.
    pid : int
    mining : bool
        Whether it has got the study; otherwise it waits.
    renewals : int
    """

    host: str
    folder: str
    machine: str
    pid: int
    mining: bool = False
    renewals: int = 0

    @classmethod
    def this_process(cls) -> Owner:
        """Return this process, waiting."""
        return cls(socket.gethostname(), str(Path.cwd()), _machine(), os.getpid())

    @classmethod
    def parsed(cls, claim: str) -> Owner | None:
        """Return the owner in a claim; None of one that is not readable."""
        try:
            return cls(**json.loads(claim))
        except (ValueError, TypeError):
            return None

    def has_ended(self, token: str) -> bool:
        """Return whether it was a process of this machine that has ended, or an earlier call of this process."""
        if self.machine != _machine():
            return False
        if self.pid == os.getpid():
            return token not in _HELD_HERE
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, in {self.folder}"


def _machine() -> str:
    try:  # of Linux: the boot, and the container's process numbers
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except (OSError, ValueError):
        return f"{socket.gethostname()} {uuid.getnode()}"


class Claim:
    """A process's claim to a study in one or more stores; a context manager that gets the study and gives it back.

    Parameters
    ----------
    study : str
    storage : str
        The study's storage, as the command that stops its miner names it.
    stores : sequence of ClaimStore
    token : str
        Unique to this process.
    should_stop : callable
        Asked while it waits.
    on_wait : callable
        Called once with the owner whose claim may be dead, if that takes longer than a renewal.
    on_loss : callable
        Called once, in a thread, if another process takes the study: this one was suspended, or its store did not
        answer, for longer than `STALE_AFTER`.

    Attributes
    ----------
    lost_to : Owner or None
        Who took the study.
    """

    def __init__(
        self,
        study: str,
        storage: str,
        stores: Sequence[ClaimStore],
        token: str,
        should_stop: Callable[[], bool],
        on_wait: Callable[[Owner], None],
        on_loss: Callable[[], None],
    ) -> None:
        self.lost_to: Owner | None = None
        self._study = study
        self._storage = storage
        self._stores = stores
        self._token = token
        self._should_stop = should_stop
        self._on_wait = on_wait
        self._on_loss = on_loss
        self._own = Owner.this_process()
        self._lock = threading.Lock()
        self._held: list[ClaimStore] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claim", daemon=True)

    def is_lost(self) -> bool:
        """Look whether another process has taken the study."""
        for store in () if self.lost_to else self._held:
            with suppress(UserError):
                self.lost_to = self.lost_to or self._taker(store)
        return self.lost_to is not None

    @property
    def loss(self) -> UserError:
        """The error for a study that another process has taken."""
        return UserError(
            f"study {self._study} was taken over by {self.lost_to}, as this process did not renew its claim for "
            f"{STALE_AFTER:.0f} s; its finished trials are kept"
        )

    def __enter__(self) -> Self:
        """Get the study.

        Raises
        ------
        UserError
            If another process mines it, or a store fails.
        Stopped
            If a stop is requested before that is known.
        """
        _HELD_HERE.add(self._token)
        try:
            for store in self._stores:
                store.write_claim(self._token, self._text())
                self._held.append(store)
                if not self._thread.is_alive():
                    self._thread.start()
                self._await_others(store)
            self._change(mining=True)
            for store in self._stores:
                store.write_claim(self._token, self._text())
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        _HELD_HERE.discard(self._token)
        if isinstance(error, StoreError) or self.lost_to is not None:
            return  # a store that does not answer would be waited for; others see that this process has ended
        interrupted = isinstance(error, KeyboardInterrupt)  # perhaps because a store hangs
        if self._thread.ident is not None:
            self._thread.join(1.0 if interrupted else _SECONDS_TO_LAST_RENEWAL)
        with short_timeouts() if interrupted else nullcontext():
            for store in () if self._thread.is_alive() else self._held:
                with suppress(UserError):
                    store.remove_claim(self._token)

    def _await_others(self, store: ClaimStore) -> None:
        """Return once no other claim is in a store; remove those that are dead."""
        seen: dict[str, tuple[str, float]] = {}  # each claim as it was first, and for how long
        before, waited, announced = time.monotonic(), 0.0, False
        while others := {token: claim for token, claim in store.claims().items() if token != self._token}:
            # A store that hung did so for the owner as well, which could not renew its claim meanwhile.
            elapsed = min(time.monotonic() - before, HEARTBEAT)
            before, waited = time.monotonic(), waited + elapsed
            for token, claim in others.items():
                first, unchanged = seen.get(token, (claim, -elapsed))
                seen[token] = first, unchanged + elapsed
                owner = Owner.parsed(claim)
                if owner is None or owner.has_ended(token) or unchanged + elapsed > STALE_AFTER:
                    store.remove_claim(token)
                    continue
                if claim != first and (owner.mining or token < self._token):
                    raise UserError(
                        f"study {self._study} is being mined by {owner}; wait for it, or stop it there with "
                        f"{stop_command(self._study, self._storage)}"
                    )
                if claim != first:  # it waits as well, and withdraws
                    seen[token] = claim, 0.0
                if not announced and waited > HEARTBEAT + _SECONDS_BETWEEN_LOOKS:
                    self._on_wait(owner)
                    announced = True
            if self._should_stop():
                raise Stopped
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _run(self) -> None:
        while not self._over.wait(HEARTBEAT):
            self._change(renewals=self._own.renewals + 1)
            for store in tuple(self._held):
                with suppress(UserError):  # it may answer the next time
                    self.lost_to = self._taker(store) if self._own.mining else None
                    if self.lost_to is not None:
                        self._on_loss()
                        return
                    store.write_claim(self._token, self._text())

    def _taker(self, store: ClaimStore) -> Owner | None:
        """Return who has taken the study, which both may have for a moment; None if this process still has it."""
        claims = store.claims()
        owners = {token: owner for token, claim in claims.items() if (owner := Owner.parsed(claim)) and owner.mining}
        others = [owners[token] for token in sorted(owners) if token != self._token]
        if self._token not in claims:
            return others[0] if others else None
        return others[0] if others and min(owners) != self._token else None

    def _change(self, **changes: Any) -> None:
        with self._lock:
            self._own = replace(self._own, **changes)

    def _text(self) -> str:
        return json.dumps(asdict(self._own))
