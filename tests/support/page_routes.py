"""The pages' routes, by who may use them; beside the table of the API's routes."""

from __future__ import annotations

ID = "64b000000000000000000001"
KEY = f"payout:oid:{ID}:1"

SHOWN: dict[tuple[str, str], str] = {
    ("GET", "/"): "/",
    ("GET", "/find"): "/find?q=payout:x",
    ("GET", "/halt"): "/halt",
    ("GET", "/payouts"): "/payouts",
    ("GET", "/payouts/{key:identity}"): f"/payouts/{KEY}",
    ("GET", "/participations/{participation_id:identity}"): f"/participations/{ID}",
    ("GET", "/holds"): "/holds",
    ("GET", "/breaks"): "/breaks",
    ("GET", "/reports"): "/reports",
    ("GET", "/reports/checks/{report_id}"): "/reports/checks/none",
    ("GET", "/webhooks"): "/webhooks",
    ("GET", "/test"): "/test",
    ("GET", "/events"): "/events",
    ("GET", "/test/watch/{participation_id:identity}"): f"/test/watch/{ID}",
}
"""What who may read is shown; strangers are sent to the login form."""

READ_BY_POST: dict[tuple[str, str], str] = {("POST", "/test/find"): "/test/find"}
"""Shown as well: what is asked for is a secret, which must be in no address."""

ADMINS_ONLY: dict[tuple[str, str], str] = {("GET", "/payouts/{key:identity}/reverse"): f"/payouts/{KEY}/reverse"}

PRESSED: dict[tuple[str, str], str] = {
    ("POST", "/resume"): "/resume",
    ("POST", "/payouts/{key:identity}/reverse"): f"/payouts/{KEY}/reverse",
    ("POST", "/holds/approve"): "/holds/approve",
    ("POST", "/holds/reject"): "/holds/reject",
    ("POST", "/breaks/acknowledge"): "/breaks/acknowledge",
    ("POST", "/reports/checks"): "/reports/checks",
}
"""Forms of an admin's session; nobody else's, and no token's either, since only a page knows the form's secret."""

PAGES = {*SHOWN, *READ_BY_POST, *ADMINS_ONLY, *PRESSED}
