"""Makes a connection and a suite, runs it and follows the run, with looker-sdk. Run by examples/demo.py; also
a snippet to copy.

usage: with_looker_sdk.py PROJECT CONNECTION DUCKDB_FILE
(LOOKERSDK_BASE_URL, _CLIENT_ID, _CLIENT_SECRET in the environment)
"""

import sys
import time

import looker_sdk
from looker_sdk import models40 as models

project, connection, database = sys.argv[1:]
sdk = looker_sdk.init40()
sdk.create_connection(models.WriteDBConnection(name=connection, dialect_name="duckdb", database=database))
suite = sdk.create_continuous_integration_suite(
    project,
    models.WriteProjectCISuite(
        name="demo",
        lookml_validator_config_is_enabled=True,
        sql_validator_config_is_enabled=True,
        assert_validator_config_is_enabled=True,
        content_validator_config_is_enabled=True,
        style_validator_config_is_enabled=True,
        style_validator_config_incremental=False,
    ),
)
run = sdk.create_continuous_integration_run(
    project, models.CreateContinuousIntegrationRunRequest(suite_id=suite.id)
)
while run.status in ("queued", "running"):
    print(f"run {run.id} {run.status}", flush=True)
    time.sleep(0.3)
    run = sdk.get_continuous_integration_run(project, run.id)
for explore in (run.result.sql_result.tested if run.result and run.result.sql_result else None) or []:
    print(f"  {explore.model}/{explore.explore:<20} {explore.status}")
for explore in (run.result.assert_result.tested if run.result and run.result.assert_result else None) or []:
    print(
        f"  {explore.model}/{explore.explore:<20} {explore.status}, {explore.success_count} data tests hold"
    )
print(f"RESULT run={run.id} jobs=5 outcome={run.status}")
