"""The triggers that make the journal append-only in the database itself, whoever connects to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

REFUSAL = "the journal is append-only"

_POSTGRESQL_FUNCTION = f"""
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '{REFUSAL}: % on %', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$
"""


def protect(dialect: str, table: str, unique_keys: Sequence[Sequence[str]]) -> Iterator[str]:
    """SQL statements that protect ``table``. ``unique_keys``: its primary key and every other unique key.

    SQLite needs a trigger more: INSERT OR REPLACE deletes the row in the way without firing a delete trigger.
    """
    if dialect == "postgresql":
        yield _POSTGRESQL_FUNCTION
        yield (
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        yield (
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        return
    for operation in ("UPDATE", "DELETE"):
        yield (
            f"CREATE TRIGGER {table}_no_{operation.lower()} BEFORE {operation} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}: {operation} on {table}'); END"
        )
    taken = " OR ".join("(" + " AND ".join(f"{column} = NEW.{column}" for column in key) + ")" for key in unique_keys)
    yield (
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {taken}) "
        f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}: the key exists in {table}'); END"
    )
