"""One word, one meaning: no class name stands twice, and no public name uses a word that the glossary replaces."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPLACED = frozenset({"book", "books", "desk", "lookups", "room", "standing", "tell", "tells", "told", "together"})
"""As docs/glossary.md lists them under "Words that are not used", but for words that have another meaning too."""


def definitions() -> Iterator[tuple[Path, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every class and function of the product, with the file that defines it."""
    for package in ("app", "cli", "jobs", "reconciler"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield path.relative_to(ROOT), node


def words_of(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_no_class_name_stands_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, node in definitions():
        if isinstance(node, ast.ClassDef):
            places[node.name].append(f"{path}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_public_name_uses_a_word_that_the_glossary_replaces() -> None:
    names = {f"{path}:{node.lineno} {node.name}": node.name for path, node in definitions() if node.name[0] != "_"}
    modules = {str(path): path.stem for path, _ in definitions() if path.stem[0] != "_"}
    assert [place for place, name in {**names, **modules}.items() if words_of(name) & REPLACED] == []


def test_the_glossary_lists_the_words() -> None:
    glossary = (ROOT / "docs/glossary.md").read_text("utf-8")
    _, section = glossary.split("## Words that are not used")
    listed = set(re.findall(r"\w+", " ".join(re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE))))
    assert listed | {"tells"} >= REPLACED
