"""Configuration: defaults, precedence, and one good sentence for everything that is wrong."""

from __future__ import annotations

import ast
import inspect
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from reconciler.config import Settings, load
from reconciler.config.keys import KEYS, SECTIONS
from reconciler.config.section import Section
from reconciler.errors import ConfigError

ROOT = Path(__file__).parents[3]
NOWHERE = Path("/dev/null")
"""An empty file: tests must not read the config.yaml of whatever directory they run in."""


def refusal(environ: dict[str, str] | None = None, **overrides: object) -> str:
    """The sentence for settings that must be refused; ``__`` in a name stands for a dot."""
    with pytest.raises(ConfigError) as refused:
        load(NOWHERE, environ or {}, {key.replace("__", "."): value for key, value in overrides.items()})
    return str(refused.value)


def leaves(settings: Section, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in settings:
        if isinstance(value, Section):
            found |= leaves(value, f"{prefix}{name}.")
        elif isinstance(value, SecretStr):
            found[f"{prefix}{name}"] = value.get_secret_value()
        else:
            found[f"{prefix}{name}"] = str(value) if isinstance(value, Path) else value
    return found


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return found


def descriptions(section: type[Section]) -> dict[str, str]:
    """Setting → the text below it in the source."""
    [found] = ast.parse(inspect.getsource(section)).body
    assert isinstance(found, ast.ClassDef)
    return {
        setting.target.id: inspect.cleandoc(text.value.value)
        for setting, text in pairwise(found.body)
        if isinstance(setting, ast.AnnAssign) and isinstance(setting.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


class TestConfigYaml:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    examples: ClassVar = {"safety.impressions_per_minute_max": 10_000}
    """What it switches on as an example, though the default is off."""

    def test_it_names_every_setting_with_its_default(self) -> None:
        assert flat(yaml.safe_load(self.text)) == leaves(Settings()) | self.examples

    def test_loading_it_gives_the_defaults_but_for_its_examples(self) -> None:
        off = dict.fromkeys(self.examples)
        assert load(ROOT / "config.yaml", {}, off) == Settings()
        assert load(ROOT / "config.yaml", {}, {}).safety.impressions_per_minute_max == 10_000

    def test_it_gives_the_reason_of_every_setting(self) -> None:
        missing = []
        for section in ("", *SECTIONS):
            node: type[Section] = Settings
            for name in filter(None, section.split(".")):
                node = node.model_fields[name].annotation  # type: ignore[assignment]
            described = descriptions(node)
            for name in node.model_fields:
                comment = " ".join(described.get(name, "no description").split())
                above = rf"{re.escape(comment)} {name}:(\s|$)"
                said = re.sub(r"\s+", " ", re.sub(r"^\s*# ?", "", self.text, flags=re.MULTILINE))
                missing += [] if re.search(above, said) else [f"{section}.{name}: {comment}"]
        assert missing == []


class TestPrecedence:
    def test_file_then_environment_then_flags(self, tmp_path: Path) -> None:
        file = tmp_path / "c.yaml"
        file.write_text("sweep:\n  interval_s: 10\n  page_size: 10\n  deadline_s: 10\n")
        environ = {"RECONCILER__SWEEP__PAGE_SIZE": "20", "RECONCILER__SWEEP__DEADLINE_S": "20"}

        sweep = load(file, environ, {"sweep.deadline_s": 30}).sweep

        assert (sweep.interval_s, sweep.page_size, sweep.deadline_s) == (10, 20, 30)
        assert sweep.facts_age_max_s == Settings().sweep.facts_age_max_s

    def test_shorthands_yield_to_the_long_form(self) -> None:
        short = {"MONGODB_URI": "mongodb://short/", "LEDGER_URL": "sqlite:///short.db"}
        long = {"RECONCILER__MONGODB__URI": "mongodb://long/"}

        settings = load(NOWHERE, short | long, {})

        assert settings.mongodb.uri.get_secret_value() == "mongodb://long/"
        assert settings.ledger.url.get_secret_value() == "sqlite:///short.db"

    def test_a_flag_beats_the_variable_that_names_the_file(self, tmp_path: Path) -> None:
        for name in ("flag", "variable"):
            (tmp_path / name).write_text(f"mongodb: {{database: {name}}}")
        environ = {"RECONCILER_CONFIG": str(tmp_path / "variable")}

        assert load(None, environ, {}).mongodb.database == "variable"
        assert load(tmp_path / "flag", environ, {}).mongodb.database == "flag"

    def test_without_any_file_everything_is_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert load(None, {}, {}) == Settings()

    def test_config_yaml_of_the_working_directory_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "config.yaml").write_text("log: {level: debug}")
        assert load(None, {}, {}).log.level == "debug"

    @pytest.mark.parametrize("name", ["MONGODB_URI", "RECONCILER__SWEEP__INTERVAL_S", "RECONCILER_CONFIG"])
    def test_an_empty_variable_is_one_that_is_not_set(self, name: str) -> None:
        assert load(NOWHERE, {name: ""}, {}) == Settings()

    def test_other_variables_are_nobodys_business(self) -> None:
        # Kubernetes sets the second for a service that is named reconciler.
        assert load(NOWHERE, {"PATH": "/bin", "RECONCILER_SERVICE_HOST": "10.0.0.1"}, {}) == Settings()

    def test_case_of_variables_and_words_does_not_matter(self) -> None:
        settings = load(NOWHERE, {"reconciler__log__LEVEL": "WARNING", "RECONCILER__PAYOUT__ENABLED": "False"}, {})
        assert (settings.log.level, settings.payout.enabled) == ("warning", False)

    def test_every_setting_can_be_set_in_the_environment(self) -> None:
        environ = {f"RECONCILER__{key.upper().replace('.', '__')}": str(leaves(Settings())[key]) for key in KEYS}
        assert load(NOWHERE, environ, {}) == Settings()


UNKNOWN = [
    ("sweep.intervall_s", "did you mean sweep.interval_s?"),
    ("sweeep.interval_s", "did you mean sweep.interval_s?"),
    ("interval_s", "did you mean sweep.interval_s?"),
    ("full-check.cron", "did you mean full_check.cron?"),
    ("payout.currency", "did you mean payout.default_currency?"),
    ("mapping.campaigns.budgett", "did you mean mapping.campaigns.budget?"),
    ("mongo.uri", "did you mean mongodb.uri?"),
    ("loog", "did you mean log?"),
    ("reports.xyz", "reports has directory, timezone, json_breaks_max, keep."),
    ("xyz", "the sections are mongodb, ledger, mapping,"),
]


@pytest.mark.parametrize(("key", "hint"), UNKNOWN)
class TestUnknownKeys:
    def test_among_flags(self, key: str, hint: str) -> None:
        sentence = refusal(None, **{key: "1"})
        assert sentence.startswith(f"{key} is not a setting (from the command line); {hint}")

    def test_in_the_environment(self, key: str, hint: str) -> None:
        variable = f"RECONCILER__{key.upper().replace('.', '__')}"
        sentence = refusal({variable: "1"})
        assert sentence.startswith(f"{key} is not a setting (from environment variable {variable}); {hint}")

    def test_in_the_file(self, key: str, hint: str, tmp_path: Path) -> None:
        tree: object = 1
        for name in reversed(key.split(".")):
            tree = {name: tree}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
        with pytest.raises(ConfigError, match="is not a setting") as refused:
            load(tmp_path / "c.yaml", {}, {})
        # Of an unknown section only its name is looked at, so that is all the hint can go by.
        assert "did you mean" in str(refused.value) or hint.partition(" ")[0] in str(refused.value)


BAD = [
    ("mongodb.database", "a b", "mongodb.database must be a MongoDB database name"),
    ("mongodb.database", "", "1 to 63 bytes"),
    ("mongodb.wait_max_s", 0, "mongodb.wait_max_s must be greater than 0, not 0 (from the command line)."),
    ("ledger.wait_max_s", "soon", "ledger.wait_max_s must be a number, not 'soon'"),
    ("mapping.collections.gkeys", "campaigns", "must not use the collection campaigns for both campaigns and gkeys"),
    ("mapping.collections.gkeys", "system.users", "not one of the server's own"),
    ("mapping.campaigns.budget", "", "mapping.campaigns.budget must not be empty"),
    ("mapping.campaigns.budget", "$budget", "must not begin with $"),
    ("mapping.campaigns.budget", "a\0b", "must not begin with $ or contain NUL"),
    ("mapping.campaigns.budget", "money.budget", "nested paths (with dots) are not supported, not 'money.budget'"),
    ("mapping.campaigns.budget", 5, "mapping.campaigns.budget must be text, not 5"),
    ("mapping.wallets.ledger", "balance", "mapping.wallets must not use the field balance for both balance and ledger"),
    ("completion.fixed_impressions_per_unit", 0, "must be at least 1, not 0"),
    ("completion.impressions_target_reached", "perhaps", "must be true or false, not 'perhaps'"),
    ("payout.default_currency", "XYZ", "must be a currency code of ISO 4217 such as INR or EUR, not 'XYZ'"),
    ("payout.default_currency", "inr", "did you mean INR?"),
    ("payout.default_currency", "XAU", "must be a currency code of ISO 4217"),
    ("payout.overdelivery", "cap", "must be 'cap_at_target' or 'pay', not 'cap'"),
    ("payout.enabled", None, "payout.enabled must be true or false, not nothing"),
    ("projection.batch_size", -1, "must be at least 1, not -1"),
    ("projection.batch_size", 10**7, "must be at most 100000, not 10000000"),
    ("projection.blocked_retry_s", float("nan"), "must be greater than 0, not nan"),
    ("sweep.interval_s", 0, "must be greater than 0"),
    ("sweep.interval_s", -5, "must be greater than 0, not -5"),
    ("sweep.interval_s", "inf", "must be at most 604800, not 'inf'"),
    ("sweep.interval_s", True, "must be a number, not true"),
    ("sweep.interval_s", [60], "must be a number, not a list"),
    ("sweep.page_size", 1.5, "must be a whole number, not 1.5"),
    ("sweep.page_size", {"a": 1}, "must be a whole number, not a section"),
    ("sweep.deadline_s", 10**9, "must be at most 604800"),
    ("full_check.cron", "30 3 * *", "must be five cron fields"),
    ("full_check.cron", "61 3 * * *", "must be five cron fields"),
    ("full_check.cron", "0 0 31 2 *", "must fire at some time, but no date ever matches it"),
    ("full_check.cron", "0 0 * * 0", "must name weekdays"),
    ("housekeeping.interval_s", 0, "must be greater than 0"),
    ("reports.timezone", "Asia/Kolkatta", "not 'Asia/Kolkatta' (from the command line); did you mean Asia/Kolkata?"),
    ("reports.timezone", "Asia", "must be an IANA time zone"),
    ("reports.timezone", "../../etc/passwd", "must be an IANA time zone"),
    ("reports.json_breaks_max", -1, "must be at least 0, not -1"),
    ("api.recording.impressions_per_minute_max", 999, "an impressions_per_minute_max of count_max or more, or 0"),
    ("log.format", "xml", "must be 'auto', 'json' or 'console', not 'xml'"),
    ("log.level", "loud", "not 'loud'"),
    ("sweep", 5, "sweep is a section and holds settings such as sweep.interval_s"),
]


@pytest.mark.parametrize(("key", "value", "fragment"), BAD)
def test_bad_values_are_refused_in_one_sentence(key: str, value: object, fragment: str) -> None:
    sentence = refusal(None, **{key: value})
    assert fragment in sentence
    assert key.partition(".")[0] in sentence
    assert "(from the command line)" in sentence
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))


def test_the_origin_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("sweep:\n  interval_s: -1\n")
    with pytest.raises(ConfigError, match=re.escape(f"not -1 (from {file} line 2).")):
        load(file, {}, {})
    with pytest.raises(ConfigError, match=r"not '-2' \(from environment variable RECONCILER__SWEEP__INTERVAL_S\)"):
        load(file, {"RECONCILER__SWEEP__INTERVAL_S": "-2"}, {})


BAD_FILES = [
    ("sweep: [", "is not valid YAML at line 1"),
    ("- a\n- b\n", "must consist of sections such as mongodb: and ledger:"),
    ("just text", "must consist of sections"),
    ("sweep:\n  interval_s: 1\n  interval_s: 2\n", "sweep.interval_s stands twice in"),
    ("payout: {enabled: false}\nsweep: {}\npayout: {}\n", "in lines 1 and 3."),
    ("sweep: 5\n", "sweep is a section"),
    ("5: 5\n", "5 is not a setting"),
    ("a: !!python/object/apply:os.system [ls]\n", "is not valid YAML"),
]


@pytest.mark.parametrize(("text", "fragment"), BAD_FILES)
def test_bad_files_are_refused(text: str, fragment: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "c.yaml", {}, {})
    assert fragment in str(refused.value)
    assert str(tmp_path / "c.yaml") in str(refused.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "sweep:\n", "sweep: {}\n"])
def test_empty_files_and_sections_are_all_defaults(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    assert load(tmp_path / "c.yaml", {}, {}) == Settings()


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "missing.yaml"
    with pytest.raises(ConfigError, match=r"missing.yaml cannot be read: No such file"):
        load(path, {}, {})
    with pytest.raises(ConfigError, match=r"missing.yaml \(named by RECONCILER_CONFIG\) cannot be read"):
        load(None, {"RECONCILER_CONFIG": str(path)}, {})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        load(path, {}, {})


GOOD_URIS = [
    "mongodb://localhost:27017/?directConnection=true",
    "mongodb://u:p%40ss@h1:1,h2:2/db?replicaSet=rs0&authSource=admin",
    "mongodb://[::1]:27017/",
    "mongodb+srv://u:p@cluster.example.net/?retryWrites=true&srvServiceName=mongodb",
]


@pytest.mark.parametrize("uri", GOOD_URIS)
def test_good_mongodb_uris_are_kept_and_not_looked_up(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dns.resolver.resolve", None)
    monkeypatch.setattr("socket.getaddrinfo", None)
    assert load(NOWHERE, {"MONGODB_URI": uri}, {}).mongodb.uri.get_secret_value() == uri


URLS = [
    ("sqlite:///ledger.db", "sqlite:///ledger.db"),
    ("sqlite+pysqlite:////var/lib/ledger.db", "sqlite:////var/lib/ledger.db"),
    ("postgresql://u:p%40s@h:5432/db?sslmode=require", "postgresql+psycopg://u:p%40s@h:5432/db?sslmode=require"),
    ("postgres://h/db", "postgresql+psycopg://h/db"),
    ("postgresql+psycopg:///db", "postgresql+psycopg:///db"),
]


@pytest.mark.parametrize(("given_url", "url"), URLS)
def test_ledger_urls_name_their_driver(given_url: str, url: str) -> None:
    assert load(NOWHERE, {"LEDGER_URL": given_url}, {}).ledger.url.get_secret_value() == url


# The secret is s3cr3t; each is a way of typing it wrong that makes some parser quote a piece of it.
BAD_SECRETS = [
    ("MONGODB_URI", "http://u:s3cr3t@h/", "mongodb.uri must begin with mongodb:// or mongodb+srv://"),
    ("MONGODB_URI", "mongodb://u:s3cr3t@@h/", "have its user name and password percent-encoded"),
    ("MONGODB_URI", "mongodb://u:/s3cr3t@h/db", "have a valid database name, and its password percent-encoded"),
    ("MONGODB_URI", "mongodb://u:?s3cr3t=1@h/db", "have only options that MongoDB drivers know"),
    ("MONGODB_URI", "mongodb://u:s3cr3t@h:99999/", "have ports from 1 to 65535"),
    ("MONGODB_URI", "mongodb://u:s3cr3t@h/?tls=s3cr3t", "have options with valid values"),
    ("MONGODB_URI", "mongodb://u:s3cr3t@h/?readPreference=s3cr3t", "be a valid MongoDB URI"),
    ("MONGODB_URI", "mongodb://u:s3cr3t@h/?w=1&w=2", "name each option once"),
    ("MONGODB_URI", "mongodb+srv://u:s3cr3t@h:27017/", "be a valid MongoDB URI"),
    ("MONGODB_URI", "mongodb://", "name at least one host"),
    ("LEDGER_URL", "s3cr3t", "ledger.url must be a URL such as sqlite:///ledger.db"),
    ("LEDGER_URL", "postgresql://u:p@h:s3cr3t/db", "must be a URL such as"),
    ("LEDGER_URL", "mysql://u:s3cr3t@h/db", "must be a URL such as"),
    ("LEDGER_URL", "postgresql+asyncpg://u:s3cr3t@h/db", "must be a URL such as"),
    ("LEDGER_URL", "sqlite://u:s3cr3t@h/db", "three slashes"),
    ("LEDGER_URL", "sqlite://", "a ledger in memory forgets whom it has paid"),
    ("LEDGER_URL", "sqlite:///:memory:", "a ledger in memory forgets"),
    ("LEDGER_URL", "sqlite:///file:x?mode=memory&uri=true", "a ledger in memory forgets"),
]


@pytest.mark.parametrize(("variable", "value", "fragment"), BAD_SECRETS)
def test_bad_secrets_are_refused_without_being_shown(variable: str, value: str, fragment: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(NOWHERE, {variable: value}, {})
    assert fragment in str(refused.value)
    assert f"(from environment variable {variable})" in str(refused.value)
    assert "s3cr3t" not in str(refused.value)
    # A traceback printed by mistake would show the error it came from.
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


def test_a_file_that_is_no_yaml_does_not_show_its_lines(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text('mongodb:\n  uri: "mongodb://u:s3cr3t@h/\n')
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "c.yaml", {}, {})
    assert "s3cr3t" not in str(refused.value)
    assert refused.value.__context__ is None


@given(st.text(min_size=1), st.sampled_from(["MONGODB_URI", "LEDGER_URL"]))
def test_any_text_for_a_uri_is_taken_or_refused_by_a_config_error(text: str, variable: str) -> None:
    try:
        load(NOWHERE, {variable: text}, {})
    except ConfigError as error:
        assert variable in str(error)


def test_masked_settings_hide_credentials_and_show_the_rest() -> None:
    environ = {
        "MONGODB_URI": "mongodb://app:s3cr3t@h1,h2/?replicaSet=rs0&tlsCertificateKeyFilePassword=s3cr3t",
        "LEDGER_URL": "postgresql://app:s3cr3t@db/ledger?sslmode=require",
    }
    settings = load(NOWHERE, environ, {"sweep.interval_s": 7})

    masked = settings.masked()

    assert masked["mongodb"]["uri"] == "mongodb://***@h1,h2/?replicaSet=rs0&tlsCertificateKeyFilePassword=***"
    assert masked["ledger"]["url"] == "postgresql+psycopg://***@db/ledger?sslmode=require"
    assert masked["sweep"]["interval_s"] == 7
    assert masked["reports"]["directory"] == "reports"
    assert "s3cr3t" not in repr(settings)
    assert "s3cr3t" not in str(masked)
    assert set(flat(masked)) == set(KEYS)


def test_the_fingerprint_changes_with_what_decides_and_with_nothing_else() -> None:
    plain = Settings().fingerprint()
    assert re.fullmatch("[0-9a-f]{16}", plain)
    decisive = {
        "payout.overdelivery": "pay",
        "completion.fixed_impressions_per_unit": 7,
        "mapping.campaigns.budget": "b",
    }
    other = {
        "sweep.interval_s": 7,
        "mongodb.uri": "mongodb://u:p@h/",
        "ledger.url": "sqlite:///x.db",
        "log.level": "debug",
    }
    for key, value in decisive.items():
        assert load(NOWHERE, {}, {key: value}).fingerprint() != plain, key
    assert load(NOWHERE, {}, other).fingerprint() == plain


def test_settings_cannot_be_changed_and_are_closed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.sweep.interval_s = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Settings.model_validate({"unknown": 1})


URI = "mongodb://user:word@db.example/production?authSource=admin"
FILE = "mongodb:\n  uri: mongodb://localhost/\n  database: sponsorship\n"


@pytest.mark.parametrize(
    ("file", "environ", "flags", "database"),
    [
        ("", {}, {}, "sponsorship"),
        ("", {"MONGODB_URI": URI}, {}, "production"),
        ("", {"MONGODB_URI": "mongodb://localhost/?replicaSet=rs0"}, {}, "sponsorship"),
        (FILE, {"MONGODB_URI": URI}, {}, "production"),
        (FILE, {"MONGODB_URI": URI, "RECONCILER__MONGODB__DATABASE": "other"}, {}, "other"),
        (FILE, {"MONGODB_URI": URI}, {"mongodb.database": "flagged"}, "flagged"),
        (FILE, {"RECONCILER__MONGODB__DATABASE": "other"}, {"mongodb.uri": URI}, "production"),
        (FILE.replace("localhost/", "localhost/production"), {}, {}, "sponsorship"),
        ("", {"MONGODB_URI": "mongodb+srv://cluster.example/production"}, {}, "production"),
    ],
)
def test_the_database_that_a_uri_ends_in_is_taken_unless_one_is_given_as_strongly(
    tmp_path: Path, file: str, environ: dict[str, str], flags: dict[str, object], database: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(file or "{}\n", encoding="utf-8")

    assert load(path, environ, flags).mongodb.database == database


class TestBlanksAndFiles:
    URL = "postgresql://ledger@db.example/ledger"

    @pytest.mark.parametrize("blanks", ["{} ", "\n{}\r\n", "\t{}\t", "\u00a0{}"])
    def test_blanks_around_a_value_are_no_part_of_it(self, blanks: str, tmp_path: Path) -> None:
        (tmp_path / "url").write_text(blanks.format(self.URL))
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({"mongodb": {"database": blanks.format("shop")}}))
        for environ in (
            {"LEDGER_URL": blanks.format(self.URL)},
            {"RECONCILER__LEDGER__URL": blanks.format(self.URL)},
            {"LEDGER_URL_FILE": str(tmp_path / "url")},
            {"RECONCILER__LEDGER__URL_FILE": str(tmp_path / "url")},
        ):
            settings = load(tmp_path / "c.yaml", environ, {"mongodb.uri": blanks.format("mongodb://m.example/")})
            url = settings.ledger.url.get_secret_value()
            assert url == self.URL.replace("postgresql", "postgresql+psycopg")
            assert settings.mongodb.database == "shop"
            assert settings.mongodb.uri.get_secret_value() == "mongodb://m.example/"

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://h/ledger ?sslmode=require",
            "postgresql://h/%20ledger",
            "postgresql://h/led%0Ager",
            "sqlite:/// x",
            "sqlite:///ledger.db\u200b",
            "sqlite:///\ufeffledger.db",
        ],
    )
    def test_what_nobody_sees_and_would_be_part_of_a_name_is_refused(self, url: str) -> None:
        assert "must have no blanks around the names in it" in refusal(ledger__url=url)

    def test_blanks_around_a_variable_are_no_part_of_it(self, tmp_path: Path) -> None:
        """One of blanks alone is not set at all: not to nothing, and not beside a file."""
        (tmp_path / "url").write_text(self.URL)
        assert "url" not in load(NOWHERE, {"LEDGER_URL": " \n"}, {}).ledger.model_fields_set
        settings = load(NOWHERE, {"LEDGER_URL_FILE": f" {tmp_path / 'url'}\n", "LEDGER_URL": " "}, {})
        assert settings.ledger.url.get_secret_value().endswith("db.example/ledger")

    def test_secrets_come_from_files_that_variables_name(self, tmp_path: Path) -> None:
        (tmp_path / "uri").write_text("mongodb://mongo.example/\n")
        (tmp_path / "secret").write_text("a secret of at least thirty-two characters\n")
        settings = load(
            NOWHERE,
            {
                "MONGODB_URI_FILE": str(tmp_path / "uri"),
                "RECONCILER__API__AUTH__JWT_SECRET_FILE": str(tmp_path / "secret"),
                "LEDGER_URL_FILE": "",
            },
            {},
        )
        assert settings.mongodb.uri.get_secret_value() == "mongodb://mongo.example/"
        assert settings.api.auth.jwt_secret is not None
        assert settings.api.auth.jwt_secret.get_secret_value() == "a secret of at least thirty-two characters"
        assert "url" not in settings.ledger.model_fields_set

    def test_a_file_that_says_nothing_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty").write_text("\n")
        named = {"LEDGER_URL_FILE": str(tmp_path / "empty")}
        assert refusal(named) == f"The file {tmp_path / 'empty'} (named by LEDGER_URL_FILE) is empty."
        assert "cannot be read: No such file" in refusal({"MONGODB_URI_FILE": str(tmp_path / "absent")})
        twice = {"LEDGER_URL": self.URL, "LEDGER_URL_FILE": str(tmp_path / "empty")}
        assert "ledger.url is given twice" in refusal(twice)
        assert "must be" in refusal({"LEDGER_URL_FILE": __file__})
        assert __doc__ not in refusal({"LEDGER_URL_FILE": __file__})
