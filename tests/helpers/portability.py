"""Reads source code as Windows or macOS would run it, and finds what they lack."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """A system's names, and what Python lacks on it."""

    platform: str
    os_name: str
    modules: frozenset[str]
    names: frozenset[str]


_MODULES_NOT_ON_WINDOWS = "crypt curses fcntl grp posix pty pwd readline resource spwd syslog termios tty"
_MODULES_ON_WINDOWS_ALONE = "_winapi msvcrt nt spwd winreg winsound"
_NOT_ON_WINDOWS = (
    "os.chown os.chroot os.fchmod os.fchown os.fork os.forkpty os.getegid os.geteuid os.getgid os.getgroups "
    "os.getloadavg os.getpgid os.getpgrp os.getpriority os.getsid os.getuid os.initgroups os.killpg os.lchown "
    "os.mkfifo os.mknod os.nice os.openpty os.pathconf os.pread os.preadv os.pwrite os.pwritev os.setegid os.seteuid "
    "os.setgid os.setgroups os.setpgid os.setpriority os.setsid os.setuid os.statvfs os.sync os.sysconf os.tcgetpgrp "
    "os.ttyname os.uname os.wait os.wait3 os.wait4 os.WEXITSTATUS os.WIFEXITED os.O_CLOEXEC os.O_DIRECTORY "
    "os.O_NOFOLLOW os.O_NONBLOCK signal.SIGALRM signal.SIGCHLD signal.SIGCONT signal.SIGHUP signal.SIGKILL "
    "signal.SIGPIPE signal.SIGQUIT signal.SIGSTOP signal.SIGTSTP signal.SIGUSR1 signal.SIGUSR2 signal.alarm "
    "signal.pause signal.pthread_kill signal.pthread_sigmask signal.setitimer signal.sigwait socket.AF_UNIX "
    "time.pthread_getcpuclockid time.tzset"
)
_ON_LINUX_ALONE = (
    "os.copy_file_range os.eventfd os.memfd_create os.pidfd_open os.posix_fadvise os.posix_fallocate "
    "os.sched_getaffinity os.sched_setaffinity os.splice os.O_DIRECT os.O_TMPFILE signal.sigtimedwait"
)
_ON_WINDOWS_ALONE = (
    "os.startfile os.O_BINARY signal.CTRL_BREAK_EVENT signal.CTRL_C_EVENT signal.SIGBREAK subprocess.CREATE_NO_WINDOW "
    "subprocess.CREATE_NEW_PROCESS_GROUP subprocess.DETACHED_PROCESS subprocess.STARTUPINFO sys.getwindowsversion"
)
SYSTEMS = (
    System(
        "win32",
        "nt",
        frozenset(_MODULES_NOT_ON_WINDOWS.split()),
        frozenset(f"{_NOT_ON_WINDOWS} {_ON_LINUX_ALONE}".split()),
    ),
    System(
        "darwin",
        "posix",
        frozenset(_MODULES_ON_WINDOWS_ALONE.split()),
        frozenset(f"{_ON_WINDOWS_ALONE} {_ON_LINUX_ALONE}".split()),
    ),
)

_ABSOLUTE = ("/tmp", "/var/", "/dev/", "/home/", "/usr/", "/etc/", "/root/", "C:")
"""Prefixes of absolute paths that do not exist on every system; /proc and /sys are only read after a check."""

_TEXT_METHODS = {"read_text": 0, "write_text": 1}
"""Methods of a path that fall back on the system's encoding, and the place of `encoding` among their arguments."""


class Scan:
    """Walks through a file along the branches that one system would take.

    Parameters
    ----------
    system : System
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._docstrings: set[int] = set()
        self.found: list[str] = []

    def read(self, source: str) -> list[str]:
        """Return the unportable code, with its line."""
        tree = ast.parse(source)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):  # a string on its own is a docstring, not a value
                self._docstrings |= {id(line.value) for line in body if isinstance(line, ast.Expr)}
        self._block(tree.body)
        return self.found

    def _block(self, body: Sequence[ast.stmt]) -> bool:
        """Walk statements until one leaves; return whether one did."""
        for statement in body:
            if isinstance(statement, ast.If):
                self._expression(statement.test)
                outcome = self._truth(statement.test)
                left = [self._block(statement.body)] if outcome is not False else []
                left += [self._block(statement.orelse)] if outcome is not True else []
                if all(left):
                    return True
            elif isinstance(statement, ast.Try):
                expected = any(_is_import_error(handler.type) for handler in statement.handlers)
                if not expected:
                    self._block(statement.body)
                for body_of in (
                    *(handler.body for handler in statement.handlers),
                    statement.orelse,
                    statement.finalbody,
                ):
                    self._block(body_of)
            else:
                self._statement(statement)
            if isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break):
                return True
        return False

    def _statement(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                self._import(statement, alias.name, "")
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                self._import(statement, statement.module or "", alias.name)
        for name, value in ast.iter_fields(statement):
            parts = value if isinstance(value, list) else [value]
            if name in ("body", "orelse", "finalbody") and parts and isinstance(parts[0], ast.stmt):
                self._block(parts)
            else:
                for part in parts:
                    if isinstance(part, ast.match_case):
                        self._block(part.body)
                    elif isinstance(part, ast.AST):
                        self._expression(part)

    def _import(self, statement: ast.stmt, module: str, name: str) -> None:
        if module.partition(".")[0] in self._system.modules:
            self._note(statement, f"import of {module}")
        if f"{module}.{name}" in self._system.names:
            self._note(statement, f"{module}.{name}")
        if (module, name) in (("os.path", ""), ("os", "path")) or (module == "os.path" and name):
            self._note(statement, "os.path in place of pathlib")

    def _expression(self, node: ast.AST) -> None:
        if isinstance(node, ast.IfExp):
            outcome = self._truth(node.test)
            self._expression(node.test)
            for wanted, part in ((True, node.body), (False, node.orelse)):
                if outcome is None or outcome is wanted:
                    self._expression(part)
            return
        if isinstance(node, ast.BoolOp):
            for part in node.values:
                self._expression(part)
                if self._truth(part) is isinstance(node.op, ast.Or):  # the rest is not looked at
                    return
            return
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in self._system.names:
                self._note(node, name)
            if name == "os.path":
                self._note(node, "os.path in place of pathlib")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in self._docstrings and node.value.startswith(_ABSOLUTE):
                self._note(node, f"a place of its own: {node.value!r}")
        elif isinstance(node, ast.Call):
            self._call(node)
        for child in ast.iter_child_nodes(node):
            self._expression(child)

    def _call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        named = {keyword.arg for keyword in node.keywords}
        words = {part.value for part in values if isinstance(part, ast.Constant)}
        if called in ("get_context", "set_start_method") and words & {"fork", "forkserver"}:
            self._note(node, "a process that is forked")
        if ast.unparse(node.func) in ("multiprocessing.Process", "multiprocessing.Pool"):
            self._note(node, "a process started in the system's way; get_context says which")
        if "preexec_fn" in named:
            self._note(node, "preexec_fn")
        if called in ("open", "Path") and any(_is_joined_by_hand(part) for part in node.args):
            self._note(node, "a path joined by hand")
        place = _TEXT_METHODS.get(called)
        if place is not None and len(node.args) <= place and "encoding" not in named:
            self._note(node, f"{called} in the system's encoding")

    def _truth(self, test: ast.AST) -> bool | None:
        """Return what a condition is on this system, or None if it depends on other things."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            inner = self._truth(test.operand)
            return None if inner is None else not inner
        if isinstance(test, ast.BoolOp):
            parts = [self._truth(part) for part in test.values]
            decisive = isinstance(test.op, ast.Or)
            return decisive if decisive in parts else None if None in parts else not decisive
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            own = {"sys.platform": self._system.platform, "os.name": self._system.os_name}.get(ast.unparse(test.left))
            if own is not None:
                other = ast.literal_eval(test.comparators[0])
                same = own == other if isinstance(other, str) else own in other
                return same if isinstance(test.ops[0], ast.Eq | ast.In) else not same
        if isinstance(test, ast.Call):
            called, given = ast.unparse(test.func), test.args
            if called == "hasattr" and isinstance(given[1], ast.Constant):
                name = f"{ast.unparse(given[0])}.{given[1].value}"
                return False if name in self._system.names else None
            if called == "sys.platform.startswith" and isinstance(given[0], ast.Constant):
                return self._system.platform.startswith(str(given[0].value))
        return None

    def _note(self, node: ast.AST, what: str) -> None:
        self.found.append(f"line {getattr(node, 'lineno', 0)} on {self._system.platform}: {what}")


def _is_import_error(node: ast.expr | None) -> bool:
    names = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(isinstance(name, ast.Name) and name.id in ("ImportError", "ModuleNotFoundError") for name in names)


def _is_joined_by_hand(node: ast.AST) -> bool:
    """Return whether a text is put together with slashes of its own."""
    parts: Iterator[ast.AST] = iter(())
    if isinstance(node, ast.JoinedStr):
        parts = iter(node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        parts = ast.walk(node)
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any("/" in text or "\\" in text for text in texts)


def scan(source: str) -> list[str]:
    """Return what keeps a source from Windows or macOS."""
    return [line for system in SYSTEMS for line in Scan(system).read(source)]
