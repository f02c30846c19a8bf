"""Report files: all of a report or nothing of it, which may go, and what is said of a damaged one."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import UsageError
from reconciler.reports.difference import difference
from reconciler.reports.folder import ReportFolder
from reconciler.reports.publishing import publish
from reconciler.reports.stored import StoredBreak, read_breaks, read_report

OLD, NEW = "20260301T033000Z-0123abcd", "20260302T033000Z-4567cdef"
COLUMNS = (
    *("break_id", "kind", "reason", "severity", "status", "participation_id", "campaign_id", "streamer_id"),
    *("payout_key", "currency", "expected_minor", "actual_minor", "delta_minor", "first_seen", "age_s", "detail"),
    *("action", "acknowledged_by", "acknowledged_reason", "note"),
)
NUMBERS = ("expected_minor", "actual_minor", "delta_minor", "age_s")
PARTS = ("matched", "not_due", "withheld", "held", "in_flight", "settled_before_us", "broken", "malformed")


def a_document(report_id: str = NEW, **changes: Any) -> dict[str, Any]:
    return {
        "schema": "reconciliation-report/1",
        "report_id": report_id,
        "kind": "full_check",
        "trigger": "full_check",
        "started_at": "2026-03-02T03:30:00.000Z",
        "finished_at": "2026-03-02T03:31:00.000Z",
        "verdict": "breaks",
        "dry_run": False,
        "completeness": {"participations": 3, **dict.fromkeys(PARTS, 0)},
        "totals": [],
        "breaks_by_kind": {"held": 1},
        "repairs": {"paid": 0, "projected": 0},
        "carried": {"new": 1, "carried": 0, "cleared": 0},
        "breaks": [],
        "withheld": [],
    } | changes


def a_row(**changes: Any) -> dict[str, Any]:
    told = {"kind": "held", "severity": "warning", "status": "open", "participation_id": "p1"}
    return dict.fromkeys(COLUMNS, "") | dict.fromkeys(NUMBERS) | told | changes


def shelve(directory: Path, report_id: str, *rows: Mapping[str, Any], **changes: Any) -> ReportFolder:
    (directory / f"{report_id}.json").write_text(json.dumps(a_document(report_id, **changes)))
    with (directory / f"{report_id}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return ReportFolder(directory)


def text(content: str) -> Any:
    return lambda file: file.write(content.encode())


def fails(_file: BinaryIO) -> None:
    raise OSError(28, "No space left on device")


class TestPublishing:
    def test_all_of_them_under_all_their_names(self, tmp_path: Path) -> None:
        publish(tmp_path, NEW, {".json": text("{}"), ".csv": text("a")}, {"latest.json": ".json"})

        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
            f"{NEW}.json": "{}",
            f"{NEW}.csv": "a",
            "latest.json": "{}",
        }
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}

    @pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o002, 0o664)])
    def test_who_may_read_them_is_what_the_umask_says(self, tmp_path: Path, umask: int, mode: int) -> None:
        before = os.umask(umask)
        try:
            publish(tmp_path, NEW, {".json": text("{}")}, {"latest.json": ".json"})
        finally:
            os.umask(before)
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}

    @pytest.mark.parametrize("failing", [".json", ".csv"])
    def test_none_of_them_when_one_cannot_be_written(self, tmp_path: Path, failing: str) -> None:
        (tmp_path / "latest.json").write_text("old")
        writers = {".json": text("{}"), ".csv": text("a")} | {failing: fails}

        with pytest.raises(OSError, match="No space left"):
            publish(tmp_path, NEW, writers, {"latest.json": ".json", "latest.csv": ".csv"})

        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"latest.json": "old"}

    def test_none_of_them_when_one_cannot_be_moved(self, tmp_path: Path) -> None:
        (tmp_path / f"{NEW}.csv" / "in the way").mkdir(parents=True)
        (tmp_path / "latest.json").write_text("old")

        with pytest.raises(OSError, match="irectory"):
            publish(tmp_path, NEW, {".json": text("{}"), ".csv": text("a")}, {"latest.json": ".json"})

        assert sorted(path.name for path in tmp_path.iterdir()) == [f"{NEW}.csv", "latest.json"]
        assert (tmp_path / "latest.json").read_text() == "old"

    def test_a_disk_that_fills_up_leaves_everything_as_it_was(self, tmp_path: Path) -> None:
        """The operating system's own refusal, in a process that may write 64 kB to a file: as good as a full disk."""
        (tmp_path / "latest.json").write_text("old")
        program = f"""
            import resource
            from pathlib import Path
            from reconciler.reports.publishing import publish
            resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
            small, large = (lambda file: file.write(b"x")), (lambda file: file.write(b"x" * 100_000))
            try:
                publish(Path({str(tmp_path)!r}), {NEW!r}, {{".json": small, ".csv": large}}, {{"latest.json": ".json"}})
            except OSError as error:
                print(error.strerror)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout == "File too large\n"
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"latest.json": "old"}


class TestPruning:
    def test_the_newest_stay_with_all_of_their_files(self, tmp_path: Path) -> None:
        for day in range(1, 6):
            for suffix in (".json", ".csv", ".html", ".parquet", ".payouts.csv", ".payouts.parquet"):
                (tmp_path / f"2026030{day}T033000Z-0123abcd{suffix}").write_text("x")
        kept = {"latest.json", "latest.csv", "latest.html", "notes.txt", "20260301T033000Z-0123abcd.json.bak", "a.json"}
        for name in kept:
            (tmp_path / name).write_text("x")

        assert ReportFolder(tmp_path).prune(2) == [f"2026030{day}T033000Z-0123abcd" for day in (3, 2, 1)]

        names = {path.name for path in tmp_path.iterdir()}
        assert kept <= names
        assert len(names - kept) == 12
        assert ReportFolder(tmp_path).prune(2) == []

    def test_what_a_dead_process_left_goes_after_a_day(self, tmp_path: Path) -> None:
        mine = [f".{NEW}.json.ab12_x", ".latest.csv.q"]
        for name in (*mine, ".hidden.json.x", ".latest.csv.fresh"):
            (tmp_path / name).write_text("half")
            os.utime(tmp_path / name, (time.time() - 90_000,) * 2)
        os.utime(tmp_path / ".latest.csv.fresh")

        ReportFolder(tmp_path).prune(1)

        assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden.json.x", ".latest.csv.fresh"]

    def test_of_one_second_the_last_written_is_the_newest(self, tmp_path: Path) -> None:
        last, first = "20260302T033000Z-00000000", "20260302T033000Z-ffffffff"
        for age_s, report_id in enumerate([last, first]):
            (tmp_path / f"{report_id}.json").write_text("x")
            os.utime(tmp_path / f"{report_id}.json", (time.time() - age_s,) * 2)
        assert ReportFolder(tmp_path).prune(1) == [first]

    def test_one_that_cannot_be_removed_stays_listed_and_holds_up_nothing(self, tmp_path: Path) -> None:
        shelve(tmp_path, OLD)
        shelve(tmp_path, NEW)
        (tmp_path / f"{OLD}.csv").unlink()
        (tmp_path / f"{OLD}.csv").mkdir()

        assert ReportFolder(tmp_path).prune(1) == []
        assert OLD in ReportFolder(tmp_path).reports()


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "",
            "..",
            "../secret",
            "/etc/passwd",
            f"{NEW}/../x",
            f"{NEW}.json",
            f" {NEW}",
            f"{NEW}\n",
            "latest\x00",
            "LATEST",
        ],
    )
    def test_what_is_no_report_id_never_becomes_a_path(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError, match="is not the id of a report"):
            ReportFolder(tmp_path).path(name, ".json")

    @given(name=st.text(max_size=40))
    def test_every_path_lies_in_the_directory(self, name: str) -> None:
        shelf = ReportFolder(Path("/reports"))
        try:
            path = shelf.path(name, ".json")
        except UsageError:
            return
        assert path.parent == Path("/reports")
        assert path.resolve().parent == Path("/reports")

    def test_what_is_missing_is_said_with_what_can_be_done(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"no report in .* yet: run `python run\.py --full-check`"):
            ReportFolder(tmp_path / "nothing").existing("latest", ".json")
        shelf = shelve(tmp_path, NEW)
        with pytest.raises(UsageError, match=r"there is no report 20260301.* `python run\.py report list` shows them"):
            shelf.existing(OLD, ".json")
        with pytest.raises(
            UsageError, match=r"written without parquet; it has csv, json\. A check writes every format"
        ):
            shelf.existing(NEW, ".parquet")

    def test_the_newest_first(self, tmp_path: Path) -> None:
        shelve(tmp_path, OLD)
        (tmp_path / f"{NEW}.html").write_text("x")
        assert list(ReportFolder(tmp_path).reports().items()) == [(NEW, (".html",)), (OLD, (".csv", ".json"))]


class TestDamage:
    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (b"", "is damaged: Expecting value"),
            (b'{"schema": "reconciliation-report/1", "report_id": ', "is damaged: "),
            (b"\xff\xfe\x00", "is damaged: .*utf-8"),
            (b"[]", "is damaged: it is no reconciliation report"),
            (b'{"schema": "other/1"}', "is damaged: it is no reconciliation report"),
            (b'{"schema": "reconciliation-report/1"}', "is damaged: its field report_id is missing or of another type"),
            (json.dumps(a_document(totals={})).encode(), "its field totals is missing or of another type"),
            (json.dumps(a_document(breaks=[1])).encode(), "its totals or breaks are no objects"),
            (
                json.dumps(a_document(completeness={})).encode(),
                "its field participations is missing or of",
            ),
            (json.dumps(a_document(carried={"new": 0.5})).encode(), "its field new is missing or of another type"),
            (json.dumps(a_document(breaks=[{}])).encode(), "its field kind is missing or of another type"),
            (json.dumps(a_document(totals=[{"currency": "INR"}])).encode(), "its field expected_minor is missing"),
            (json.dumps(a_document(breaks_by_kind={"held": "2"})).encode(), "its field held is missing or of another"),
            (json.dumps(a_document(started_at="once")).encode(), "is damaged: Invalid isoformat"),
            (b"[" * 100_000, "is damaged: "),
        ],
    )
    def test_of_a_document(self, tmp_path: Path, content: bytes, sentence: str) -> None:
        (tmp_path / f"{NEW}.json").write_bytes(content)
        with pytest.raises(UsageError, match=sentence) as refused:
            read_report(ReportFolder(tmp_path), NEW)
        assert str(tmp_path / f"{NEW}.json") in str(refused.value)

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (b"", "it has no column kind"),
            (b"kind,reason\r\nheld,x\r\n", "it has no column severity"),
            (",".join(COLUMNS).encode() + b"\r\nx,held,over", "a row of it is cut off"),
            (",".join(COLUMNS).encode() + b'\r\n"x', "unexpected end of data"),
            (",".join(COLUMNS).encode() + b"\r\n" + b",".join([b"x"] * len(COLUMNS)), "invalid literal for int"),
            (b"\x80", "utf-8"),
        ],
    )
    def test_of_a_table(self, tmp_path: Path, content: bytes, sentence: str) -> None:
        shelf = shelve(tmp_path, NEW)
        (tmp_path / f"{NEW}.csv").write_bytes(content)
        with pytest.raises(UsageError, match=f"csv is damaged: .*{sentence}"):
            read_breaks(shelf, read_report(shelf, NEW), NEW)

    def test_a_directory_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / f"{NEW}.json").mkdir()
        with pytest.raises(UsageError, match="is not a file"):
            read_report(ReportFolder(tmp_path), NEW)


class TestBreaksOfAReport:
    def test_of_the_table_without_what_guards_spreadsheets(self, tmp_path: Path) -> None:
        shelf = shelve(tmp_path, NEW, a_row(participation_id="'=1+1", expected_minor="-5", status="acknowledged"))
        [found] = read_breaks(shelf, read_report(shelf, NEW), NEW)
        assert (found.participation_id, found.expected_minor, found.actual_minor) == ("=1+1", -5, None)
        assert found.status == "acknowledged"

    def test_of_the_document_when_the_table_is_gone_and_it_has_all(self, tmp_path: Path) -> None:
        shelf = shelve(tmp_path, NEW, breaks=[a_row(expected_minor=7, actual_minor=None)])
        (tmp_path / f"{NEW}.csv").unlink()
        [found] = read_breaks(shelf, read_report(shelf, NEW), NEW)
        assert (found.expected_minor, found.status) == (7, "open")

    def test_never_of_a_part(self, tmp_path: Path) -> None:
        shelf = shelve(tmp_path, NEW, breaks=[a_row()], breaks_by_kind={"held": 2})
        (tmp_path / f"{NEW}.csv").unlink()
        with pytest.raises(UsageError, match=r"csv is gone, and .* has only the first breaks of this report"):
            read_breaks(shelf, read_report(shelf, NEW), NEW)


def a_break(identity: str, expected_minor: int | None = 5, status: str = "open") -> StoredBreak:
    return StoredBreak(
        break_id=identity,
        kind="held",
        reason="",
        severity="warning",
        status=status,
        participation_id=identity,
        campaign_id="c",
        payout_key="",
        currency="INR",
        expected_minor=expected_minor,
        actual_minor=0,
        detail="",
    )


class TestDifference:
    def test_appeared_gone_and_changed(self) -> None:
        stays, goes, comes = a_break("stays"), a_break("goes"), a_break("comes")
        before = [stays, goes, a_break("moves", 5), a_break("known")]
        after = [comes, stays, a_break("moves", 6), a_break("known", status="acknowledged")]

        found = difference(before, after)

        assert (found.appeared, found.gone) == ([comes], [goes])
        assert [(one.before.expected_minor, one.after.expected_minor) for one in found.changed] == [(5, 6), (5, 5)]
        assert found.changed[1].after.status == "acknowledged"

    def test_several_of_one_identity_are_told_apart_by_their_amounts(self) -> None:
        found = difference([a_break("x", 1), a_break("x", 2)], [a_break("x", 2), a_break("x", 3)])
        assert [(one.before.expected_minor, one.after.expected_minor) for one in found.changed] == [(1, 3)]
        assert not found.appeared
        assert not found.gone

    @given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
    def test_nothing_is_lost(self, before: list[str], after: list[str]) -> None:
        found = difference(map(a_break, before), map(a_break, after))
        assert len(before) - len(found.gone) == len(after) - len(found.appeared)
        assert not found.changed
        assert (not found.appeared and not found.gone) == (sorted(before) == sorted(after))
