"""MkDocs hooks: pages and files from outside docs/, and an API reference with one page per package."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "signal_miner"

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
}
FILES = {"LICENSE": "LICENSE.txt", "experiments/walkthrough.ipynb": "walkthrough.ipynb"}
SOURCES = {page: source for source, page in PAGES.items()}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference's pages where the navigation says ``reference/``."""
    reference: list[dict[str, str]] = [{"Python API": "reference/index.md"}]
    reference += [{name: f"reference/{name}.md"} for name in packages()]
    config.nav = [{"Reference": reference} if entry == {"Reference": "reference/"} else entry for entry in config.nav]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in (PAGES | FILES).items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, "reference/index.md", content=python_api()))
    for name in packages():
        content = (
            f"# {name}\n\n::: {PACKAGE}.{name}\n    options: {{show_root_heading: false, show_root_toc_entry: false}}\n"
        )
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links that are written for the repository at the same thing on the site."""
    base = posixpath.dirname(SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def linked(found: re.Match[str]) -> str:
        target, _, anchor = found[2].partition("#")
        path = posixpath.normpath(posixpath.join(base, target))
        place = (PAGES | FILES).get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if not target or place is None:
            return found[0]
        relative = posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")
        return f"{found[1]}{relative}{'#' * bool(anchor)}{anchor}{found[3]}"

    return re.sub(r'(\]\(|src=")(?!https?:)([^)"\s]*)(\)|")', linked, markdown)


def packages() -> list[str]:
    """Return the packages with something to show, in alphabetical order."""
    return sorted(path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py"))


def python_api() -> str:
    """Return the reference of what ``import signal_miner`` offers, read from the stub."""
    tree = ast.parse((ROOT / PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    lines = ["# Python API", "", "Everything below is an attribute of `signal_miner`.", ""]
    for node in (node for node in tree.body if isinstance(node, ast.ImportFrom)):
        for alias in node.names:
            options = f'{{heading: "{alias.name}", toc_label: "{alias.name}", show_submodules: false}}'
            lines += [f"::: {PACKAGE}.{node.module}.{alias.name}", f"    options: {options}", ""]
    return "\n".join(lines)
