from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from signal_miner.engine.bitplane import compilation
from signal_miner.engine.bitplane.residuals import round_residuals


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's sources, in a workspace of its own."""
    package = tmp_path / "package"
    package.mkdir()
    for source in Path(compilation.__file__).parent.glob("*.py"):
        (package / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(compilation, "__file__", str(package / "compilation.py"))
    monkeypatch.chdir(tmp_path)
    return package


def where() -> Path:
    return compilation.code_directory.__wrapped__()


def test_a_change_of_any_source_has_all_kernels_compiled_anew(package: Path) -> None:
    first = where()
    assert first.parent == package / "__pycache__"
    assert where() == first
    with (package / "kernels.py").open("a") as file:
        file.write("# changed\n")
    assert where() != first


def test_code_goes_to_the_workspace_where_the_sources_may_only_be_read(package: Path, tmp_path: Path) -> None:
    (package / "__pycache__").write_text("not a folder")
    assert where().parent == tmp_path / "data" / "compiled"
    (tmp_path / "data" / "compiled").rmdir()
    (tmp_path / "data" / "compiled").write_text("nor is this")
    assert where().is_absolute()


def test_other_users_of_numba_keep_their_folder() -> None:
    assert str(compilation.code_directory()) != numba.config.CACHE_DIR
    assert Path(round_residuals.stats.cache_path).is_relative_to(compilation.code_directory())


SCRIPT = """
import sys
from pathlib import Path
from signal_miner.engine.bitplane import compilation

compilation.code_directory = lambda: Path(sys.argv[1])
from signal_miner.engine.bitplane.random_numbers import stream

value = stream(1, 2, 3)
print(value, sum(stream.stats.cache_hits.values()), sum(stream.stats.cache_misses.values()))
"""


def run_on(processor: str, directory: Path) -> tuple[str, ...]:
    """Run a kernel as a machine with some processor would, by the code that is kept in a directory."""
    environment = os.environ | ({"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""} if processor else {})
    command = [sys.executable, "-c", SCRIPT, str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    return tuple(done.stdout.split())


@pytest.mark.slow
def test_a_processor_without_code_of_its_own_compiles_it_and_leaves_that_of_others(tmp_path: Path) -> None:
    own, other, again = (run_on(processor, tmp_path) for processor in ("", "generic", ""))
    assert own[0] == other[0] == again[0]
    assert [each[1:] for each in (own, other, again)] == [("0", "1"), ("0", "1"), ("1", "0")]


def test_compiling_is_reported_once_and_loading_what_was_compiled_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernel_of_a_test.py").write_text("def plus(a, b):\n    return a + b\n")
    monkeypatch.syspath_prepend(tmp_path)
    plus = importlib.import_module("kernel_of_a_test").plus
    monkeypatch.setattr(compilation, "code_directory", lambda: tmp_path / "code")
    reports: list[str] = []

    def run(name: str) -> int:
        function = compilation.compiled(plus)  # as in another process: it knows no compiled code
        with compilation.compilation_reported(lambda: reports.append(name)):
            function(1.0, 2.0)  # of two types, so that it is compiled twice
            return int(function(1, 2))

    assert (run("cold"), reports) == (3, ["cold"])
    assert (run("warm"), reports) == (3, ["cold"])
    compilation.compiled(lambda a: a)(1)
    assert reports == ["cold"]  # none is reported after the context
