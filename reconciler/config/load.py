"""From what was given to valid settings, or to one sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reconciler.config.checks import database_of_uri
from reconciler.config.keys import HOLD_SECRETS, KEYS, SECRET_KEYS, SECTIONS, members, nearest
from reconciler.config.models import Settings
from reconciler.config.sources import Given, from_environment, from_file, from_flags
from reconciler.errors import ConfigError
from reconciler.redaction import redact

_SHOWN_CHARACTERS_MAX = 60

# By pydantic's name of the error. Its own messages say the same, but neither in our words nor without the input.
_REASONS = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a number of a sensible size",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "path_type": "must be a path",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le:.10g}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "missing": "is missing",
    "extra_forbidden": "is not a setting",
    "list_type": "must be a list",
    "model_type": "must be a section",
    "too_short": "must not be empty",
    "value_error": "{error}",
}


def load(config_path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]) -> Settings:
    """The effective settings: file < environment < flags.

    ``config_path`` (a flag) names the file, else the variable ``RECONCILER_CONFIG``, else config.yaml in the working
    directory is read if it is there. ``environ``: ``RECONCILER__SECTION__KEY``, or the shorthands ``MONGODB_URI`` and
    ``LEDGER_URL``, which the long form beats. ``overrides``: values by dotted key.

    Raises ConfigError: one sentence with the key, where it came from and what is wrong. It never quotes a secret.
    """
    layers = [from_file(config_path, environ), from_environment(environ), from_flags(overrides)]
    given = [one for layer in layers for one in layer]
    for one in given:
        _refuse_unknown(one)
    try:
        return Settings.model_validate(_nested([*given, *_database_of_uri(layers)]))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    # Raised out here, so that not even the error's context holds what was typed.
    raise ConfigError(_sentence(first, given))


def _database_of_uri(layers: Sequence[Sequence[Given]]) -> list[Given]:
    """The database that the connection string names, unless one was given beside it, or over it, by its own key."""
    for layer in reversed(layers):
        if any(one.key == "mongodb.database" for one in layer):
            return []
        uris = [one for one in layer if one.key == "mongodb.uri"]
        if uris:
            name = database_of_uri(uris[-1].value)
            return [] if name is None else [Given(key="mongodb.database", value=name, origin=uris[-1].origin)]
    return []


def _refuse_unknown(one: Given) -> None:
    if one.key in KEYS:
        return
    if one.key in SECTIONS:
        first = members(one.key)[0]
        raise ConfigError(f"{one.key} is a section and holds settings such as {one.key}.{first} (from {one.origin}).")
    near = nearest(one.key)
    section = one.key.rpartition(".")[0]
    if near is not None:
        hint = f"did you mean {near}?"
    elif section in SECTIONS:
        hint = f"{section} has {', '.join(members(section))}."
    else:
        hint = f"the sections are {', '.join(members(''))}."
    raise ConfigError(f"{one.key} is not a setting (from {one.origin}); {hint}")


def _nested(given: Sequence[Given]) -> dict[str, Any]:
    """One tree of all that was given; the later of two wins."""
    tree: dict[str, Any] = {}
    for one in given:
        *sections, name = one.key.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = _without_blanks(one.value)
    return tree


def _without_blanks(value: object) -> object:
    """Text without blanks and line ends around it: a name with one is another name, and nobody sees the difference."""
    match value:
        case str():
            return value.strip()
        case list():
            return [_without_blanks(one) for one in value]
        case dict():
            return {name: _without_blanks(one) for name, one in value.items()}
        case _:
            return value


def _sentence(error: Any, given: Sequence[Given]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    context = error.get("ctx", {})
    reason = _REASONS.get(error["type"], "must be valid").format(**context)
    wanted, _, hint = reason.partition("; ")
    exact = [one for one in given if one.key == key]
    whole = [one for one in given if one.key in HOLD_SECRETS and key.startswith(f"{one.key}.")]
    if whole:
        return f"{key} {reason} (from {whole[-1].origin})."
    if not exact:
        # A rule about a whole section: every origin that had a part in it.
        origins = dict.fromkeys(one.origin.partition(" line ")[0] for one in given if one.key.startswith(f"{key}."))
        return f"{key} {reason} (from {' and '.join(origins)})."
    shown = "" if key in SECRET_KEYS else f", not {_shown(exact[-1].value)}"
    return f"{key} {wanted}{shown} (from {exact[-1].origin})" + (f"; {hint}" if hint else ".")


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            text = repr(redact(value))
        case dict():
            return "a section"
        case list():
            return "a list"
        case _:
            text = redact(str(value))
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}…"
