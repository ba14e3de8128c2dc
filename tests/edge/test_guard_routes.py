"""The routes of counts and policies, as an operator and a tenant meet them."""

from __future__ import annotations

from pathlib import Path

from tenantry.flow.ingest import ingest
from tests import worlds
from tests.edge.doorstep import doorstep

MINE = "policy: mine\nlines:\n  - {counts: bounce, line: 5%}\n"


async def test_counts_and_backtests_over_the_api(tmp_path: Path) -> None:
    """Mail shows by day, the check finds nothing, a wrong policy is refused with its line, a right one is replayed."""
    async with doorstep(tmp_path) as doors:
        cell = worlds.CellId((await doors.operate("GET", "/v1/cells")).json["items"][0]["id"])
        await worlds.accepted(doors.store, doors.acme, 60, "marketing")
        done = await worlds.handed(doors.store, cell)
        await ingest(doors.store, cell, [worlds.report("Bounce", *one) for one in done[:30]])
        days = await doors.operate("GET", f"/v1/tenants/{doors.acme.tenant_id}/counts")
        assert [(one["provider"], one["handed"], one["bounced"]) for one in days.json["items"]] == [("others", 60, 30)]
        check = await doors.operate("GET", f"/v1/tenants/{doors.acme.tenant_id}/counts/check?days=1")
        assert check.json["differences"] == []
        wrong = await doors.operate("POST", "/v1/policies/backtest", {"text": MINE.replace("5%", "5")})
        assert (wrong.status, wrong.json["error"]["field"]) == (422, "text")
        assert "line 3" in wrong.json["error"]["message"]
        told = await doors.operate("POST", "/v1/policies/backtest", {"text": MINE, "days": 7})
        assert {one["policy"] for one in told.json["found"] if one["paused_at"]} == {"mine", "in force"}
        shipped = await doors.operate("GET", "/v1/policies")
        assert {one["name"] for one in shipped.json["items"]} == {"standard", "observe", "strict", "ses"}
