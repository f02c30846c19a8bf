"""The documents name files, modules, classes and settings that exist, so that they cannot rot.

docs/decisions/ is history and names what stood there at its time, so it is not looked at.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from reconciler.api.problems import ProblemKind
from reconciler.config.keys import KEYS, SECTIONS
from reconciler.domain.decision import Rule
from reconciler.domain.effects import Obstacle
from reconciler.domain.events import EventType

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("app", "cli", "jobs", "reconciler", "tests", "benchmarks")
DOCUMENTS = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
NAMES = [document.name for document in DOCUMENTS]

CODE = re.compile(r"```.*?```|`([^`\n]+)`", re.DOTALL)
PATH = re.compile(r"(?<![\w./*{<-])(?:[\w.-]+/)*[\w-]+\.(?:py|md|toml|css|html)(?![\w/])")
FOLDER = re.compile(r"^(?:app|cli|jobs|reconciler|tests|docs|benchmarks)/(?:[\w.-]+/)*$")
DOTTED = re.compile(r"(?<![\w.$/@:'\"-])([a-z_]+(?:\.\w+)+)(?![\w/@-])")
FILE_ENDINGS = ("py", "md", "toml", "css", "html", "yaml", "db", "json")
MADE_BY_A_CHECK = frozenset({"latest.html"})
LINK = re.compile(r"\]\(([^)\s]+)\)")
CLASS = re.compile(r"^[A-Z][a-z]+(?:[A-Z][a-z]+)+$")


def text_of(name: str) -> str:
    return (ROOT / name if name in ("README.md", "CONTRIBUTING.md") else ROOT / "docs" / name).read_text(
        encoding="utf-8"
    )


@cache
def files() -> tuple[str, ...]:
    """Every file of the tree, as `/reconciler/errors.py`: a document may name the end of a path."""
    inside = [path for folder in (*PRODUCT, "docs") for path in (ROOT / folder).rglob("*")]
    return tuple(f"/{path.relative_to(ROOT).as_posix()}" for path in [*inside, *ROOT.glob("*.*")] if path.is_file())


@cache
def definitions(path: Path) -> frozenset[str]:
    """What a module defines or imports, at any depth: functions, classes, fields and constants."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.name)
    return frozenset(found)


def pieces(text: str) -> Iterator[str]:
    """What stands in backticks, in a line or in a block."""
    for found in CODE.finditer(text):
        yield found[1] or found[0].strip("`")


def heading_anchors(path: Path) -> set[str]:
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_named_right(dotted: str) -> bool:
    """A module, perhaps with names that it defines; or a setting. What begins with no package of ours is not judged."""
    parts = dotted.split(".")
    bases = (
        [ROOT] if parts[0] in PRODUCT else [ROOT / "reconciler"] if (ROOT / "reconciler" / parts[0]).is_dir() else []
    )
    if not bases or dotted in KEYS or dotted in SECTIONS:
        return True
    at = bases[0]
    while parts and (at / parts[0]).is_dir():
        at /= parts.pop(0)
    module = at / f"{parts[0]}.py" if parts and (at / f"{parts[0]}.py").is_file() else at / "__init__.py"
    names = parts[1:] if module.name != "__init__.py" else parts
    return module.is_file() and all(name in definitions(module) for name in names)


@pytest.mark.parametrize("name", NAMES)
def test_the_paths_in_a_document_exist(name: str) -> None:
    text = text_of(name)
    named = {path for piece in pieces(text) for path in PATH.findall(piece)}
    folders = {piece for piece in pieces(text) if FOLDER.match(piece)}
    missing = [path for path in named - MADE_BY_A_CHECK if not any(file.endswith(f"/{path}") for file in files())]
    assert not missing
    assert not [folder for folder in folders if not (ROOT / folder).is_dir()]


@pytest.mark.parametrize("name", NAMES)
def test_the_modules_and_settings_in_a_document_exist(name: str) -> None:
    named = {dotted for piece in pieces(text_of(name)) for dotted in DOTTED.findall(piece)}
    judged = {dotted for dotted in named if dotted.rpartition(".")[2] not in FILE_ENDINGS}
    assert not [dotted for dotted in judged if not is_named_right(dotted)]


@pytest.mark.parametrize("name", NAMES)
def test_the_links_of_a_document_lead_somewhere(name: str) -> None:
    folder = ROOT if name in ("README.md", "CONTRIBUTING.md") else ROOT / "docs"
    here = folder / name
    for link in LINK.findall(text_of(name)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = here if not path else folder / path
        assert target.exists(), link
        assert not anchor or anchor in heading_anchors(target), link


@pytest.mark.parametrize("name", ["architecture.md", "extending.md", "glossary.md"])
def test_the_classes_in_a_guide_exist(name: str) -> None:
    known = {one for file in files() if file.endswith(".py") for one in definitions(ROOT / file[1:])}
    assert not [piece for piece in pieces(text_of(name)) if CLASS.match(piece) and piece not in known]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("operations.md", [obstacle.value for obstacle in Obstacle]),
        ("webhooks.md", [kind.value for kind in EventType]),
        ("configuration.md", [key.rpartition(".")[2] for key in KEYS if not key.startswith("mapping.")]),
        ("configuration.md", [rule.value for rule in Rule]),
        ("api.md", [kind.value[0] for kind in ProblemKind]),
    ],
    ids=["obstacles", "events", "settings", "rules", "problems"],
)
def test_a_table_has_a_row_for_each(name: str, words: list[str]) -> None:
    text = text_of(name)
    assert not [word for word in words if f"`{word}`" not in text]
