"""The walkthrough: eight steps, each explained, that run from top to bottom in a fresh folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers.mining import ROOT, environment
from tests.helpers.readme_project import copy_project

NOTEBOOK = Path("experiments") / "walkthrough.ipynb"
STEPS = 8
LARGEST_OUTPUT = 500_000
"""Characters: enough for a figure of nine panels."""


@pytest.fixture(scope="module")
def committed() -> Any:
    return nbformat.read(ROOT / NOTEBOOK, as_version=4)


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_it_has_eight_explained_steps_with_code(committed: Any) -> None:
    heads = [cell for cell in committed.cells if cell.cell_type == "markdown" and cell.source.startswith("## ")]
    assert [head.source[3] for head in heads] == [str(step) for step in range(1, STEPS + 1)]
    for head in heads:
        title, _, text = head.source.partition("\n\n")
        assert re.fullmatch(r"## \d · [A-Z][a-z ]+", title)
        assert len(re.findall(r"[.:](?=\s|$)", text)) >= 2, f"{title} is not explained"
        after = committed.cells[committed.cells.index(head) + 1]
        assert after.cell_type == "code"


def test_its_outputs_are_shown_and_small(committed: Any) -> None:
    nbformat.validate(committed)
    assert all(cell.get("outputs") for cell in committed.cells[-3:] if cell.cell_type == "code"), "make walkthrough"
    pictures = [output for output in outputs(committed) if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    for output in outputs(committed):
        assert output.output_type != "error"
        assert len(str(output)) < LARGEST_OUTPUT
        assert output.get("name") != "stderr"


def test_it_contains_no_path_of_one_machine() -> None:
    assert not re.search(r"/(home|root|tmp|Users|work)/|[A-Z]:\\\\", (ROOT / NOTEBOOK).read_text(encoding="utf-8"))


@pytest.mark.docs
@pytest.mark.timeout(600)
def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    copy_project(project)
    notebook = nbformat.read(project / NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    # As for a user, the notebook's first cell has to find the project.
    kept = {name: value for name, value in environment().items() if name not in ("PYTHONPATH", "MPLBACKEND")}
    client = NotebookClient(
        notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": str(project / "experiments")}}
    )
    client.execute(env=kept)
    assert len([output for output in outputs(notebook) if "image/png" in output.get("data", {})]) == 3
    assert not [output.text for output in outputs(notebook) if output.get("name") == "stderr"]
    (bar,) = [output for output in outputs(notebook) if output.output_type == "display_data"]
    assert "finished · 60 of 60 trials" in bar.data["text/plain"]  # displayed at the start, then updated
    assert "60 of 60 trials" in bar.data["text/html"]
    (table,) = [
        output for output in outputs(notebook) if "ensemble 1</th>" in output.get("data", {}).get("text/html", "")
    ]
    assert "benchmark</th>" in table.data["text/html"]
    assert (project / "predict.pkl").is_file()
