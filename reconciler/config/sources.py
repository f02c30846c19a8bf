"""Where settings are found: a file, the environment, flags. Each value is kept with its origin in words.

pydantic-settings is not used for this: it drops where a value came from, passes over unknown variables, and reads
``os.environ`` by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reconciler.config.keys import KEYS, SECTIONS
from reconciler.errors import ConfigError

ENV_PREFIX = "RECONCILER__"
ENV_PATH = "RECONCILER_CONFIG"
SHORTHANDS = (("MONGODB_URI", "mongodb.uri"), ("LEDGER_URL", "ledger.url"))
OF_FILE = "_FILE"
DEFAULT_PATH = Path("config.yaml")

_LOADERS: tuple[Any, ...] = (getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.SafeLoader)
"""That of libyaml takes a tenth of the time; the other one is asked where a file is wrong, since it knows the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value somebody gave, its dotted key, and where it was found, in words."""

    key: str
    value: object
    origin: str


def from_file(config_path: Path | None, environ: Mapping[str, str]) -> list[Given]:
    """The settings of the file that a flag or ``RECONCILER_CONFIG`` names, else of config.yaml where there is one.

    Raises ConfigError when a file that was named cannot be read, or when its text is no mapping in YAML.
    """
    named = environ.get(ENV_PATH, "").strip()
    path = config_path or Path(named or DEFAULT_PATH)
    if config_path is None and not named and not path.exists():
        return []
    whose = f" (named by {ENV_PATH})" if config_path is None and named else ""
    return _parse_yaml(_text_of(path, "configuration file", whose), str(path))


def from_environment(environ: Mapping[str, str]) -> list[Given]:
    """``MONGODB_URI`` and ``LEDGER_URL``, then ``RECONCILER__SECTION__KEY``, which beats them.

    Each may end in ``_FILE`` and name a file that holds the value instead, as secrets come into containers. A known
    variable that is empty counts as not set: that is how compose files and unit files leave things out. Raises
    ConfigError where a variable is given both ways, or its file cannot be read.
    """
    named = [*SHORTHANDS, *((f"{name}{OF_FILE}", f"{key}{OF_FILE}".lower()) for name, key in SHORTHANDS)]
    long = sorted(name for name in environ if name.upper().startswith(ENV_PREFIX))
    named += [(name, name[len(ENV_PREFIX) :].lower().replace("__", ".")) for name in long]
    given = [_from_variable(name, key, environ) for name, key in named]
    return [one for one in given if one.value != "" or one.key not in KEYS]


def _from_variable(name: str, key: str, environ: Mapping[str, str]) -> Given:
    value = environ.get(name, "").strip()
    meant = key.removesuffix(OF_FILE.lower())
    if key in KEYS or meant not in KEYS:
        return Given(key=key, value=value, origin=_variable(name))
    plain = name[: -len(OF_FILE)]
    if value and environ.get(plain, "").strip():
        raise ConfigError(f"{meant} is given twice, by the environment variables {plain} and {name}.")
    content = _text_of(Path(value), "file", f" (named by {name})").strip() if value else ""
    if value and not content:
        raise ConfigError(f"The file {value} (named by {name}) is empty.")
    return Given(key=meant, value=content, origin=f"the file that {name} names")


def _text_of(path: Path, what: str, whose: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        why = error.strerror or "it is not readable"
    except UnicodeDecodeError:
        why = "it is not UTF-8 text"
    raise ConfigError(f"The {what} {path}{whose} cannot be read: {why}.")


def from_flags(overrides: Mapping[str, object]) -> list[Given]:
    """Dotted keys with values, as flags of the command line gave them."""
    return [Given(key=key, value=value, origin="the command line") for key, value in overrides.items()]


def _variable(name: str) -> str:
    return f"environment variable {name}"


def _parse_yaml(text: str, file: str) -> list[Given]:
    fault: str | None = None
    content: object = None
    lines: Mapping[str, int] = {}
    for loader in _LOADERS:
        try:
            content, lines = _read(loader(text), file)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            # Only the place: the parser's own message quotes the line, and the line may hold a password.
            mark = getattr(error, "problem_mark", None)
            where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            fault = f"{file} is not valid YAML{where}."
        else:
            fault = None
            break
    if fault is None and content is not None and not isinstance(content, dict):
        fault = f"{file} must consist of sections such as mongodb: and ledger:."
    if fault is not None:
        raise ConfigError(fault)
    return [
        Given(key=key, value=value, origin=f"{file} line {lines[key]}" if key in lines else file)
        for key, value in _leaves(content, "")
    ]


def _read(loader: Any, file: str) -> tuple[object, Mapping[str, int]]:
    """The content of a file, and the line of each setting in it."""
    root = loader.get_single_node()
    if root is None:
        return None, {}
    lines = dict(_lines(root, "", file))
    return loader.construct_document(root), lines


def _lines(node: Any, prefix: str, file: str) -> Iterator[tuple[str, int]]:
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        key = f"{prefix}{key_node.value}"
        line = key_node.start_mark.line + 1
        if key in seen:
            # YAML silently takes the last of two: a second payout: section would undo the first.
            raise ConfigError(f"{key} stands twice in {file}, in lines {seen[key]} and {line}.")
        seen[key] = line
        yield key, line
        if key in SECTIONS:
            yield from _lines(value_node, f"{key}.", file)


def _leaves(content: object, key: str) -> Iterator[tuple[str, object]]:
    """Values by dotted key. Known sections are opened, and an empty one is nothing; all else is a value."""
    if key and key not in SECTIONS:
        yield key, content
    elif isinstance(content, dict):
        for name, value in content.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif content is not None:
        yield key, content
