"""Every limit of the service, in one table: unit, default and reason.

An error that a limit caused names the limit as it is written here (`limit: "max_rows"`); the reference page is
generated from this class. A limit is set in `duralite.toml` under `[limits]` or by
`DURALITE_LIMITS__<NAME>`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ("Limits",)

KIB, MIB, GIB = 1024, 1024**2, 1024**3


def _limit(default: Any, unit: str, reason: str, *, ge: float = 0, le: float | None = None) -> Any:
    return Field(default, ge=ge, le=le, description=reason, json_schema_extra={"unit": unit})


class Limits(BaseModel):
    """The limits of one service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Actors
    max_open: int = _limit(
        100, "actors", "Open files and threads; the least recently used idle actor is closed first.", ge=1
    )
    idle_s: float = _limit(60.0, "seconds", "An actor that nobody called for so long is closed.", ge=0.01)
    mailbox: int = _limit(
        1_000, "calls", "Calls that may wait for one actor; more are refused with 503.", ge=1
    )
    call_s: float = _limit(
        30.0, "seconds", "The deadline of a call, unless the caller asks for less.", ge=0.001
    )
    concurrent_calls: int = _limit(
        16, "calls", "Runs, exports and the like that one actor serves side by side.", ge=1
    )
    drain_s: float = _limit(10.0, "seconds", "How long SIGTERM waits for calls that run.", ge=0)

    # SQL
    statement_s: float = _limit(
        30.0, "seconds", "The deadline of one statement (code-mode-database.md).", ge=0.001
    )
    max_rows: int = _limit(
        10_000, "rows", "Rows of one result (code-mode-database.md); more are cut, and said so.", ge=1
    )
    max_result_bytes: int = _limit(
        16 * MIB, "bytes", "JSON of one result; more is cut, and said so.", ge=1024
    )
    max_sql_bytes: int = _limit(256_000, "bytes", "Text of one statement.", ge=100)
    max_params: int = _limit(32_766, "values", "Parameters of one statement (SQLite's own default).", ge=1)
    batch_chunk: int = _limit(500, "records", "Records of one INSERT slice (code-mode-database.md).", ge=1)
    max_batch_records: int = _limit(100_000, "records", "Records of one batch_insert.", ge=1)
    max_file_bytes: int = _limit(1 * GIB, "bytes", "Size of one actor's file.", ge=64 * KIB)
    heap_bytes: int = _limit(
        512 * MIB, "bytes", "Memory that SQLite may use in the whole process.", ge=16 * MIB
    )
    temp_bytes: int = _limit(
        2 * GIB, "bytes", "Temporary files that SQLite may write in the whole process.", ge=MIB
    )
    slow_query_ms: float = _limit(
        100.0, "milliseconds", "Statements slower than this are in the slow-query log."
    )
    log_rows: int = _limit(1_000, "rows", "Rows that an actor keeps in execution_logs.", ge=1)

    # State and records
    max_state_bytes: int = _limit(1_000_000, "bytes", "JSON of one saved state value.", ge=100)
    max_state_keys: int = _limit(10_000, "keys", "Saved state values of one session.", ge=1)
    max_alarms: int = _limit(20_000, "alarms", "Alarms that one actor may hold.", ge=1)
    max_jobs_kept: int = _limit(200, "jobs", "Ended jobs that an actor remembers.", ge=1)
    events_kept: int = _limit(
        1_000, "events", "Events of one actor that a reconnecting reader can still get.", ge=1
    )
    idempotency_s: float = _limit(86_400.0, "seconds", "How long an Idempotency-Key is remembered.", ge=1)

    # Sandbox
    run_wall_s: float = _limit(30.0, "seconds", "Wall time of one run of user code.", ge=0.05)
    run_cpu_s: float = _limit(10.0, "seconds", "CPU time of one run.", ge=0.05)
    run_memory_bytes: int = _limit(256 * MIB, "bytes", "Memory of one run.", ge=16 * MIB)
    run_output_bytes: int = _limit(
        256 * KIB, "bytes", "Printed text of one run; more is cut, and said so.", ge=1024
    )
    run_result_bytes: int = _limit(1 * MIB, "bytes", "JSON of a run's value.", ge=1024)
    run_calls: int = _limit(10_000, "calls", "Helper calls of one run.", ge=1)
    run_code_bytes: int = _limit(256 * KIB, "bytes", "Text of a program.", ge=100)
    run_concurrency: int = _limit(4, "runs", "Programs that run at once in the whole service.", ge=1)
    run_waiting: int = _limit(256, "runs", "Programs that may wait for a place.", ge=1)

    runs_kept: int = _limit(50, "runs", "Ended runs that an actor remembers; the oldest are forgotten.", ge=1)
    run_record_bytes: int = _limit(
        1 * MIB, "bytes", "Record of an ended run; large results in it are cut, and said so.", ge=4 * KIB
    )
    run_journal_bytes: int = _limit(
        64 * MIB, "bytes", "Journal of a run under way; past it a crash cannot be resumed.", ge=64 * KIB
    )
    run_resumes: int = _limit(3, "times", "How often one run is taken up again after a crash.", ge=0)
    run_approval_s: float = _limit(
        86_400.0, "seconds", "How long a run waits for an approval; then it is cancelled.", ge=1
    )
    snippets_kept: int = _limit(500, "snippets", "Snippets that an actor holds.", ge=1)

    # Tool servers
    tool_connect_s: float = _limit(
        60.0,
        "seconds",
        "How long a tool server may take to start and to list its tools; some are fetched first.",
        ge=0.1,
    )
    tool_call_s: float = _limit(
        30.0, "seconds", "The deadline of one tool call; the run's own is the outer.", ge=0.05
    )
    tool_calls_at_once: int = _limit(8, "calls", "Calls that one tool server gets side by side.", ge=1)
    tool_calls_waiting: int = _limit(
        512, "calls", "Calls that may wait for one tool server; more are refused.", ge=1
    )
    tool_message_bytes: int = _limit(
        16 * MIB, "bytes", "One message of a tool server; a larger answer fails its call.", ge=64 * KIB
    )
    tool_result_bytes: int = _limit(
        1 * MIB, "bytes", "JSON of a tool's result; a larger one goes into a table by itself.", ge=1024
    )
    tools_per_server: int = _limit(2_000, "tools", "Tools that are taken from one server.", ge=1)
    tool_doc_bytes: int = _limit(
        4 * KIB, "bytes", "Description of one tool, as programs and models see it.", ge=100
    )
    tool_schema_bytes: int = _limit(
        64 * KIB, "bytes", "JSON of one tool's schema; a tool with a larger one is left out.", ge=1024
    )
    session_servers: int = _limit(8, "servers", "Tool servers that one session may connect to.", ge=0)

    # MCP
    mcp_sessions: int = _limit(
        1_000, "sessions", "Open MCP sessions of clients that shake hands; more are refused with 503.", ge=1
    )
    mcp_account_sessions: int = _limit(
        100, "sessions", "Open MCP sessions of one account; its least recently used makes room.", ge=1
    )
    mcp_idle_s: float = _limit(
        600.0,
        "seconds",
        "An MCP session without a request for so long is closed; its client begins anew.",
        ge=0.05,
    )
    mcp_body_bytes: int = _limit(4 * MIB, "bytes", "One MCP message; data beyond goes over HTTP.", ge=1024)
    mcp_result_bytes: int = _limit(
        96 * KIB, "bytes", "JSON of one tool's answer or one resource: models pay for each byte.", ge=1024
    )
    mcp_docs_tokens: int = _limit(
        2_000, "tokens", "The description of run_code, a quarter of its characters.", ge=200
    )
    mcp_job_s: float = _limit(
        600.0,
        "seconds",
        "How long a tool call that asked for progress waits for the job it started.",
        ge=0.05,
    )

    # Worker processes
    worker_processes: int = _limit(
        0, "processes", "Imports, pipelines and exports that run at once; 0 means one a core."
    )
    worker_waiting: int = _limit(
        256, "tasks", "Tasks that may wait for a worker process, in each of its two lanes.", ge=1
    )
    worker_s: float = _limit(
        1_800.0, "seconds", "How long a task of a worker process may wait, and may work.", ge=1
    )
    worker_memory_bytes: int = _limit(
        1 * GIB, "bytes", "Memory that a task may add to its worker process.", ge=64 * MIB
    )

    # Projects
    max_original_bytes: int = _limit(
        100 * MIB,
        "bytes",
        "An imported file up to this size is kept, to be parsed again with other options.",
        ge=0,
    )
    import_fetch_s: float = _limit(300.0, "seconds", "How long a file may take to arrive from a URL.", ge=0.1)
    max_pipelines: int = _limit(200, "pipelines", "Pipelines that one project holds.", ge=1)
    max_pipeline_steps: int = _limit(200, "steps", "Steps of one pipeline.", ge=1)

    # Sources
    max_sources: int = _limit(1_000, "sources", "Data sources of one account.", ge=1)
    source_memory_bytes: int = _limit(
        512 * MIB, "bytes", "Memory of one query over Parquet, and of one conversion to it.", ge=64 * MIB
    )
    source_threads: int = _limit(2, "threads", "Threads of one query over Parquet.", ge=1)
    source_temp_bytes: int = _limit(
        1 * GIB, "bytes", "Temporary files of one query over Parquet (sorts, joins).", ge=0
    )
    source_cache_bytes: int = _limit(
        100 * MIB, "bytes", "Kept answers of queries of sources, of all accounts (data-sources.md).", ge=0
    )
    source_cache_entries: int = _limit(500, "answers", "Kept answers and schemas of sources, each.", ge=0)

    # HTTP
    max_body_bytes: int = _limit(
        32 * MIB, "bytes", "Body of one request; a larger one is refused with 413.", ge=1024
    )
    max_json_depth: int = _limit(64, "levels", "Nesting of JSON in a request.", ge=4)
    body_s: float = _limit(
        20.0,
        "seconds",
        "How long a request's head or body may take to arrive; large bodies get more.",
        ge=0.05,
    )
    max_header_bytes: int = _limit(64 * KIB, "bytes", "Head of one request: target and headers.", ge=4 * KIB)
    max_upload_bytes: int = _limit(500 * MIB, "bytes", "An uploaded file (project-database.md).", ge=1024)
    max_connections: int = _limit(2_000, "connections", "Open HTTP connections.", ge=1)
    page_size: int = _limit(100, "items", "Items of one page of a list.", ge=1)
    max_page_size: int = _limit(1_000, "items", "The largest page that can be asked for.", ge=1)
    rate_per_s: float = _limit(0.0, "requests a second", "Requests of one key; 0 means no limit.")
    rate_burst: int = _limit(
        200, "requests", "Requests that a key may send at once when a rate is set.", ge=1
    )
