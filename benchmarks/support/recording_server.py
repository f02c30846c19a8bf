"""The application that bench_api asks: the product's routes, and beside them what others do, on one framework.

python -m benchmarks.support.recording_server URI DATABASE PORT
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pymongo import AsyncMongoClient, UpdateOne
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.write_concern import WriteConcern

from app.recording import recording_of
from reconciler.api.group_commit import GroupCommit
from reconciler.api.recording_routes import recording_router
from reconciler.config import load
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.recording import Outcome, Recorded, RecordingKind, RecordingRefusal, RefusedReport, ViewerReport
from reconciler.mongo.connection import Connection, connect

COST = 1.65
_ANY = DocumentId(IdKind.STRING, "any")


class NoTriggers:
    """Hints nobody: paying is not what is measured."""

    def participation(self, participation_id: DocumentId) -> None:
        """A participation changed."""

    def campaign(self, campaign_id: DocumentId) -> None:
        """A campaign changed."""


class TwoBulkWrites:
    """Group commit without a transaction, and without any guard: the least that two majority writes can cost.

    It leaks on a kill, overspends, and drifts; it is here to show what the transaction costs.
    """

    def __init__(self, connection: Connection) -> None:
        self._participations = connection.database["campaignparticipations"]
        self._campaigns = connection.database["campaigns"]

    def record(self, reports: Sequence[ViewerReport]) -> Sequence[Outcome]:
        """Count some reports."""
        tokens = sorted({report.token for report in reports})
        found = {
            one["browserSourceToken"]: one for one in self._participations.find({"browserSourceToken": {"$in": tokens}})
        }
        list(self._campaigns.find({"_id": {"$in": [one["campaignId"] for one in found.values()]}}))
        costs: dict[Any, int] = {}
        counts: dict[Any, int] = {}
        for report in reports:
            member = found[report.token]
            costs[member["campaignId"]] = costs.get(member["campaignId"], 0) + 1
            counts[member["_id"]] = counts.get(member["_id"], 0) + 1
        self._campaigns.bulk_write(
            [UpdateOne({"_id": one}, {"$inc": {"remainingBudget": -COST * n}}) for one, n in costs.items()],
            ordered=False,
        )
        self._participations.bulk_write(
            [
                UpdateOne({"_id": one}, {"$inc": {"impressions": n, "estimatedEarnings": COST * n}})
                for one, n in counts.items()
            ],
            ordered=False,
        )
        counted = Recorded(participation_id=_ANY, impressions=1, clicks=0, remaining=0, completed=False)
        return [counted] * len(reports)


def application(uri: str, database: str) -> FastAPI:
    """All ways beside each other."""
    settings = load(
        None,
        {},
        {
            "mongodb.uri": uri,
            "mongodb.database": database,
            "api.recording.token_per_s_max": 0,
            "api.recording.impressions_per_minute_max": 0,
            "api.recording.address_per_s_max": 0,
        },
    )
    connection, bare_connection = (connect(uri, database, wait_max_s=15) for _ in range(2))
    recording = recording_of(settings, connection, NoTriggers())
    bare_groups = GroupCommit(TwoBulkWrites(bare_connection), NoTriggers(), group_max=500, queue_max=10_000)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    documents = client.get_database(database, write_concern=WriteConcern("majority"))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(recording.running())
            bare_groups.start()
            stack.callback(bare_groups.stop)
            yield
            await client.close()

    app = FastAPI(lifespan=lifespan)
    app.include_router(recording_router(recording))
    _add_others(app, documents, bare_groups)
    return app


def _add_others(app: FastAPI, documents: AsyncDatabase[dict[str, Any]], bare_groups: GroupCommit) -> None:
    participations, campaigns = documents["campaignparticipations"], documents["campaigns"]

    @app.post("/alone/{token}")
    async def alone(token: str) -> JSONResponse:
        return JSONResponse({"impressions": len(token)})

    @app.post("/inc/{token}")
    async def inc(token: str) -> JSONResponse:
        await participations.update_one({"browserSourceToken": token}, {"$inc": {"impressions": 1}})
        return JSONResponse({})

    @app.post("/usual/{token}")
    async def usual(token: str) -> JSONResponse:
        """Find, find, find-and-modify, save: as services of this kind are written. Two at once lose money."""
        member = await participations.find_one({"browserSourceToken": token, "status": "active"})
        if member is None:
            return JSONResponse({}, status_code=404)
        campaign = await campaigns.find_one({"_id": member["campaignId"]})
        if campaign is None or campaign["status"] != "active" or campaign["remainingBudget"] < COST:
            return JSONResponse({}, status_code=409)
        counted = await participations.find_one_and_update(
            {"_id": member["_id"]}, {"$inc": {"impressions": 1, "estimatedEarnings": COST}}, return_document=True
        )
        assert counted is not None
        left = campaign["remainingBudget"] - COST
        await campaigns.update_one({"_id": campaign["_id"]}, {"$set": {"remainingBudget": left}})
        return JSONResponse({"impressions": counted["impressions"], "clicks": counted["clicks"]})

    @app.post("/two/{token}")
    async def two(token: str) -> JSONResponse:
        outcome = await bare_groups.record(ViewerReport(token=token, kind=RecordingKind.IMPRESSION))
        refused = isinstance(outcome, RefusedReport) and outcome.refusal is not RecordingRefusal.BUSY
        return JSONResponse({}, status_code=409 if refused else 200)


def main() -> None:
    """Serve until killed."""
    uri, database, port = sys.argv[1:]
    uvicorn.run(application(uri, database), host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
