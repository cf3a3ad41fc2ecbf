"""Asks a data source through the client of Datafold's own MCP server: its columns, its key, a query, a diff.

    python datafold_mcp_client.py HOST KEY DATA_SOURCE_ID FOLDER

FOLDER is the installed package `datafold_mcp`. Its `__init__` wants fastmcp, an optional extra that only its
server part needs; the client part is imported past it, unmodified, by a Python that has httpx.
"""

from __future__ import annotations

import asyncio
import json
import sys
import types

package = types.ModuleType("datafold_mcp")
package.__path__ = [sys.argv[4]]
sys.modules["datafold_mcp"] = package

from datafold_mcp.auth import DatafoldAuth  # noqa: E402
from datafold_mcp.client.api import DatafoldClient  # noqa: E402


async def main(host: str, key: str, source: int) -> None:
    """Prints one JSON object."""
    client = DatafoldClient(host, DatafoldAuth(key))
    await client.verify_connection()
    sources = await client.list_data_sources()
    schema = await client.get_table_schema(source, ["prod", "orders"])
    keys = await client.guess_primary_keys(source, ["prod", "daily_sales"], candidates=3)
    rows = await client.run_query(
        source, "SELECT status, count(*) AS n FROM prod.orders GROUP BY status ORDER BY status"
    )
    diff = await client.create_datadiff(
        data_source1_id=source,
        data_source2_id=source,
        table1=["prod", "orders"],
        table2=["pr", "orders"],
        pk_columns=["id"],
        algorithm="join",
    )
    while (await client.get_datadiff(diff["id"]))["status"] not in ("done", "failed", "cancelled"):
        await asyncio.sleep(0.2)
    summary = await client.get_datadiff_summary(diff["id"])
    found = {
        "sources": [s["name"] for s in sources],
        "columns": [c["name"] for c in schema["columns"]],
        "keys": keys["candidates"],
        "rows": rows.rows,
        "result": summary["result"],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
