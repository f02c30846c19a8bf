"""Logs: their three forms, the bridge from the standard library, and that no credential passes."""

from __future__ import annotations

import io
import json
import logging
import re
import string
import warnings
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.config import LogSettings
from reconciler.errors import InvariantBroken, Outage
from reconciler.telemetry import configure_logging, redact, redact_event
from tests.support.examples import examples

REDACTED = [
    ("mongodb://app:pw@db1,db2/?authSource=admin", "mongodb://***@db1,db2/?authSource=admin"),
    ("mongodb+srv://app:pw@c.example.net", "mongodb+srv://***@c.example.net"),
    ("postgresql+psycopg://app@db/ledger", "postgresql+psycopg://***@db/ledger"),
    ("at mongodb://u:p@a/ and redis://u:p@b", "at mongodb://***@a/ and redis://***@b"),
    ("mongodb://u:p@ss/w?rd@host/", "mongodb://***@host/"),
    ("postgresql://h/db?user=u&password=pw&sslmode=require", "postgresql://h/db?user=u&password=***&sslmode=require"),
    ("https://h/cb?access_token=abc&x=1", "https://h/cb?access_token=***&x=1"),
    (
        "mongodb://h/?tlsCertificateKeyFilePassword=pw&tls=true",
        "mongodb://h/?tlsCertificateKeyFilePassword=***&tls=true",
    ),
    ("mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:abc", "mongodb://h/?authMechanismProperties=***"),
    ("https://h/?password=p@w&a=b", "https://***"),
    ("a=1;password=pw", "a=1;password=***"),
    ("connecting with password = 'p w' failed", "connecting with password = *** failed"),
    ("host=db user=u password=pw dbname=x", "host=db user=u password=*** dbname=x"),
]

UNTOUCHED = [
    "",
    "paid a participation",
    "mongodb://localhost:27017/?replicaSet=rs0&authSource=admin&tls=true",
    "sqlite:///ledger.db",
    "payout:oid:64b000000000000000000001:1",
    "somebody@example.org wrote: a = b, passed=3",
]


@pytest.mark.parametrize(("text", "safe"), REDACTED)
def test_credentials_are_struck_out(text: str, safe: str) -> None:
    assert redact(text) == safe
    assert redact(safe) == safe


@pytest.mark.parametrize("text", UNTOUCHED)
def test_other_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


# Upper case and a marker that occurs nowhere else, so that finding it means that it came through.
MARK = "QZX"
typed = st.text(alphabet=string.ascii_letters + string.digits + "!$%&'()*+,-./:;<=>?@[]^_`{|}~\"#\\äß€")
schemes = st.sampled_from(["mongodb", "mongodb+srv", "postgresql+psycopg", "https", "amqp"])
prose = st.text(alphabet=string.ascii_lowercase + " .,:;()'\"")


@settings(max_examples=examples(500))
@given(scheme=schemes, before=typed, after=typed, lead=prose, trail=prose)
def test_a_planted_password_never_comes_out(scheme: str, before: str, after: str, lead: str, trail: str) -> None:
    password = f"{before}{MARK}{after}"
    # Typed as it is, with every sign in it, and percent-encoded as it should be.
    for spelled in (password, quote(password, safe="")):
        for text in (
            f"{lead} {scheme}://app:{spelled}@host:1,other:2/db?x=1 {trail}",
            f"{lead}{scheme}://{spelled}@host{trail}",
        ):
            assert MARK not in redact(text)


SECRET_NAMES = (
    "password",
    "PASSWORD",
    "sslpassword",
    "passwd",
    "pwd",
    "pass",
    "passphrase",
    "proxyPassword",
    "access_token",
    "api-key",
    "access_key",
    "client_secret",
    "credentials",
    "signature",
    "authMechanismProperties",
)


@settings(max_examples=examples(500))
@given(name=st.sampled_from(SECRET_NAMES), before=typed, after=typed, lead=prose)
def test_a_planted_parameter_never_comes_out(name: str, before: str, after: str, lead: str) -> None:
    value = f"{before}{MARK}{after}"
    # An ampersand that was not encoded ends a parameter, for every reader of URLs and so for this one.
    for spelled in (value.replace("&", ""), quote(value, safe="")):
        assert MARK not in redact(f"{lead} https://host/path?a=1&{name}={spelled}&b=2")
        assert MARK not in redact(f"{lead} host=h {name}={spelled} port=1")
    assert MARK not in redact(f"{lead} host=h {name}='with blanks {MARK}' port=1")


@settings(max_examples=examples(500))
@given(name=st.sampled_from(SECRET_NAMES), first=typed, second=typed)
def test_neither_of_two_planted_secrets_comes_out(name: str, first: str, second: str) -> None:
    value = f"{second}{MARK}".replace("&", "")
    assert MARK not in redact(f"lost postgresql://app:{first}{MARK}@host/db?{name}={value}&sslmode=require at last")
    assert MARK not in redact(f"lost postgresql://app:{MARK}{name}={first}@host/db?{name}={value} at last")


def test_redaction_stays_cheap_on_long_text() -> None:
    # An expression that backtracks would need hours for these, and the suite's time limit would end it.
    for text in ("a." * 200_000 + "=", "://" * 200_000, "password" * 50_000, "x=" * 200_000, "@" * 400_000):
        redact(text)


def test_errors_redact_what_drivers_say() -> None:
    assert str(Outage("mongodb", "no answer from mongodb://u:pw@h/")) == (
        "MongoDB cannot be reached: no answer from mongodb://***@h/"
    )
    assert str(Outage("ledger", "x")) == "The ledger's database cannot be reached: x"
    broken = InvariantBroken("zero_sum", "entry payout:str:a:1 sums to 1")
    assert (str(broken), broken.invariant) == (
        "The invariant zero_sum is broken: entry payout:str:a:1 sums to 1",
        "zero_sum",
    )


def test_every_value_of_an_event_is_made_safe() -> None:
    url = "mongodb://u:QZX@h/"
    event = redact_event(
        None,
        "info",
        {
            "event": f"lost {url}",
            "error": ValueError(url),
            "deep": {"list": [url, {"tuple": (url,)}], url: {url}},
            "browserSourceToken": "QZX",
            "raw": url.encode(),
            "resume_token_age_s": 3,
            "count": 7,
            "none": None,
        },
    )
    assert "QZX" not in repr({key: value for key, value in event.items() if key != "deep"})
    assert "QZX" not in repr(list(event["deep"].values()))
    assert event["error"] == "ValueError: mongodb://***@h/"
    assert (event["resume_token_age_s"], event["count"], event["none"]) == (3, 7, None)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines_of(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_json_lines_hold_the_sentence_the_action_and_the_ids() -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(format="json"), stream)

    structlog.get_logger("jobs.payment.sweep").info(
        "paid a participation", action="payout_posted", payout_key="payout:str:a:1"
    )

    (line,) = lines_of(stream)
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "paid a participation",
        "action": "payout_posted",
        "payout_key": "payout:str:a:1",
        "level": "info",
        "logger": "jobs.payment.sweep",
    }


def test_auto_is_plain_when_piped_and_coloured_on_a_terminal() -> None:
    pipe, terminal, forced = io.StringIO(), Terminal(), io.StringIO()
    for log_settings, stream in (
        (LogSettings(), pipe),
        (LogSettings(), terminal),
        (LogSettings(format="console"), forced),
    ):
        configure_logging(log_settings, stream)
        structlog.get_logger().warning("held one", action="payout_held", reason="over budget", count=2)

    timestamp, rest = lines_of(pipe)[0].split(" ", 1)
    assert timestamp.endswith("Z")
    assert rest == "warning held one action=payout_held reason='over budget' count=2"
    assert "\x1b[" in terminal.getvalue()
    assert "\x1b[" in forced.getvalue()


def lose_the_database(url: str) -> None:
    raise ConnectionError(f"no route to {url}")


@pytest.mark.parametrize("form", ["auto", "json", "console"])
def test_tracebacks_have_neither_credentials_nor_local_variables(form: str) -> None:
    stream = io.StringIO()
    configure_logging(LogSettings.model_validate({"format": form}), stream)
    local = "variable local a"[::-1]
    try:
        lose_the_database("mongodb://u:QZX@h/".replace("X", f"X{len(local)}"))
    except ConnectionError:
        structlog.get_logger().exception("lost the database", action="outage")
        logging.getLogger("elsewhere").exception("lost it too")
    written = stream.getvalue()
    assert written.count("ConnectionError: no route to mongodb://***@h/") == 2
    assert written.count("in lose_the_database") == 2
    assert "QZX16" not in written
    assert local not in written


def test_lines_of_libraries_go_through_the_same_formatter() -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(format="json", level="debug"), stream)

    logging.getLogger("alembic.runtime").warning("revision of %s", "postgresql://u:QZX@h/db")
    logging.getLogger("apscheduler.executors").info("Running job")
    logging.getLogger("pymongo.command").debug("a whole document")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("see http://u:QZX@h/", stacklevel=1)

    events = [json.loads(line) for line in lines_of(stream)]
    assert [event["logger"] for event in events] == ["alembic.runtime", "py.warnings"]
    assert events[0]["event"] == "revision of postgresql://***@h/db"
    assert events[0]["level"] == "warning"


def test_the_level_and_the_last_configuration_count() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging(LogSettings(), first)
    log = structlog.get_logger()
    configure_logging(LogSettings(level="warning"), second)
    log.info("not heard")
    logging.getLogger("x").info("not heard")
    log.warning("heard")
    assert first.getvalue() == ""
    assert [line.split(" ", 1)[1] for line in lines_of(second)] == ["warning heard"]


@pytest.mark.parametrize("form", ["auto", "console", "json"])
def test_nothing_in_a_line_is_obeyed_by_a_terminal_or_begins_a_line(form: str) -> None:
    stream = io.StringIO()
    configure_logging(LogSettings.model_validate({"format": form}), stream)
    odd = "a\x1b[31mb\x9b2J\u202ec\nforged line\x07\x7f"
    structlog.get_logger("reconciler.test").warning("said", action="x", participation_id=odd, many=[odd], of={"k": odd})
    logging.getLogger("a.library").warning("quoted %s", "a\x1b[31mb\x9b")
    said = stream.getvalue()
    # The console's own colours apart.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said) if form == "console" else said
    assert not set("\x1b\x9b\u202e\x07\x7f") & set(plain)
    assert not any(line.startswith("forged") for line in said.splitlines())
    assert "31m" in plain
