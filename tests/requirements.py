"""Requirements are rows: every acceptance criterion of the specifications, with the tests that prove it.

`source` is the document and its section. A proof is `path::test`, below `tests/`; `tests/unit/test_requirements.py`
checks that each exists, and that every acceptance, conformance and property test stands in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("REQUIREMENTS", "Requirement")

CODE_MODE = "code-mode-database.md"
PROJECT = "project-database.md"
SESSION = "session databases, end to end"
AGENTS = "code mode for real agents"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One promise: its id, where it was made, what it says, and the tests that prove it."""

    id: str
    source: str
    text: str
    proofs: tuple[str, ...]


def _row(id: str, source: str, text: str, *proofs: str) -> Requirement:
    return Requirement(id, source, text, proofs)


_RUNS_LIVE = "acceptance/test_runs_live.py::"
_RESUME = "acceptance/test_runs_resume.py::"
_STATEMENTS = "unit/actors/test_statements.py::"
_DEMO = "acceptance/test_cli_demo.py::"
_CLI = "acceptance/test_cli.py::"
_SESSIONS = "acceptance/test_sessions_scale.py::"
_HTTP_BODIES = "acceptance/test_http_bodies.py::"
_MANY_ALARMS = "acceptance/test_alarms_scale.py::"
_CRASH = "acceptance/test_crash.py::"
_DEADLINES = "acceptance/test_deadlines.py::"
_SERVER = "acceptance/test_http_server.py::"
_OVER_HTTP = "acceptance/test_sessions_over_http.py::"
_CORPUS = "acceptance/test_guard_corpus.py::"
_GATEWAY = "unit/runtime/gateway/"
_MCP = "conformance/test_mcp_client.py::"
_HOST = "unit/runtime/test_host.py::"
_ALARMS = "unit/runtime/test_alarms.py::"
_MAILBOX = "unit/runtime/test_mailbox.py::"
_REFERENCE = "unit/test_docs_reference.py::"
DATA_SOURCES = "data-sources.md"
_SOURCES = "acceptance/test_sources_over_http.py::"
_SOURCES_CRASH = "acceptance/test_sources_crash.py::"
_SOURCE = "unit/actors/sources/"
_PROMOTION = "unit/runtime/test_promotion.py::"
_PROJECTS = "acceptance/test_projects_over_http.py::"
_PROJECT_API = "conformance/test_project_api.py::"
_PROJECT = "unit/actors/project/"
_BUILDERS = "properties/test_sql_helpers.py::test_"

_TOOLS = "unit/sandbox/tools/"

REQUIREMENTS: tuple[Requirement, ...] = (
    # code-mode-database.md
    _row(
        "cm-01",
        f"{CODE_MODE}, Durable Object with SQLite storage",
        "Operations exec, query, batchInsert, createTable, saveState, getState, getMetrics.",
        f"{_STATEMENTS}test_query_reads_and_exec_writes",
        f"{_STATEMENTS}test_metrics_count_what_happened",
        f"{_GATEWAY}test_calls.py::test_a_call_answers_as_the_session_protocol_says",
    ),
    _row(
        "cm-02",
        f"{CODE_MODE}, Durable Object with SQLite storage",
        "A session that nobody uses for 24 hours is deleted.",
        f"{_HOST}test_an_unused_actor_expires_and_a_used_one_does_not",
        f"{_HOST}test_a_ttl_that_ran_out_while_the_service_was_down_is_seen_at_start",
    ),
    _row(
        "cm-03",
        f"{CODE_MODE}, Features",
        "SQL is validated with allow and block lists; the listed statements run, the blocked ones do not.",
        "properties/test_guard_gate.py::test_no_blocked_verb_passes_and_nothing_that_reads_writes",
        "properties/test_guard_gate.py::test_nothing_that_sqlite_accepts_from_the_allowed_verbs_is_refused",
        "unit/runtime/guard/test_gate.py::test_refusals_name_their_rule",
    ),
    _row(
        "cm-04",
        f"{CODE_MODE}, Features",
        "Queries are parameterised; values are bound and never part of the text.",
        "unit/helpers/test_sql.py::test_every_value_is_bound_and_never_in_the_text",
        "unit/runtime/test_values.py::test_named_parameters_are_found_with_every_sign",
    ),
    _row(
        "cm-05",
        f"{CODE_MODE}, Features",
        "At most 10,000 rows a query; what is cut is said so.",
        "unit/runtime/storage/test_rows.py::test_the_row_limit_cuts_and_says_which_limit_it_was",
        "unit/runtime/storage/test_rows.py::test_the_byte_limit_cuts_between_rows",
    ),
    _row(
        "cm-06",
        f"{CODE_MODE}, Features",
        "A query ends at its time-out of 30 seconds.",
        f"{_MAILBOX}test_a_running_unit_ends_at_its_deadline_and_is_rolled_back",
        "unit/runtime/guard/test_guard.py::test_a_statement_past_its_deadline_is_ended_by_the_backstop",
    ),
    _row(
        "cm-07",
        f"{CODE_MODE}, Features",
        "Executions are logged for debugging.",
        f"{_STATEMENTS}test_the_log_of_statements_is_complete_and_bounded",
    ),
    _row(
        "cm-08",
        f"{CODE_MODE}, Automatic transaction wrapping",
        "Every call is one transaction; explicit transaction control is blocked.",
        f"{_STATEMENTS}test_insert_or_rollback_is_one_call_like_any_other",
        f"{_STATEMENTS}test_a_trigger_that_rolls_back_takes_the_whole_batch_and_leaves_the_session_usable",
    ),
    _row(
        "cm-09",
        f"{CODE_MODE}, Features",
        "Batches go in chunks of 500 records, all or nothing.",
        f"{_STATEMENTS}test_a_batch_goes_in_slices_of_500",
        f"{_STATEMENTS}test_a_batch_is_all_or_nothing",
    ),
    _row(
        "cm-10",
        f"{CODE_MODE}, Session ID strategy",
        "A call without a session uses default-session.",
        f"{_GATEWAY}test_calls.py::test_code_without_a_session_runs_in_the_default_one",
    ),
    _row(
        "cm-11",
        f"{CODE_MODE}, Helper API",
        "helpers.db with its seven methods, in camelCase too.",
        "unit/helpers/test_specs.py::test_the_stub_is_python_and_holds_every_helper_in_both_spellings",
        "acceptance/test_programs.py::test_a_program_gives_its_value_and_output",
    ),
    _row(
        "cm-12",
        f"{CODE_MODE}, Helper API",
        "helpers.sql with ten and more builders of common queries.",
        f"{_BUILDERS}count_by_counts_each_value_most_frequent_first",
        f"{_BUILDERS}top_n_gives_the_extremes_of_the_table_and_of_each_group",
        f"{_BUILDERS}group_stats_summarise_each_group",
        f"{_BUILDERS}temporal_cuts_time_like_the_calendar",
        f"{_BUILDERS}statistics_agree_with_the_statistics_module",
        f"{_BUILDERS}distinct_values_are_each_value_once_in_order",
        f"{_BUILDERS}a_histogram_holds_every_number_once",
        f"{_BUILDERS}percentiles_interpolate_in_each_group",
        f"{_BUILDERS}search_finds_the_text_as_it_stands",
        f"{_BUILDERS}pivot_has_a_column_for_each_value",
        f"{_BUILDERS}join_matches_rows_of_equal_keys",
        f"{_BUILDERS}null_analysis_counts_what_is_missing",
        f"{_BUILDERS}duplicates_are_the_combinations_that_occur_again",
        f"{_BUILDERS}correlation_and_line_agree_with_the_statistics_module",
        f"{_BUILDERS}moving_average_looks_back_in_its_group",
        f"{_BUILDERS}a_sample_takes_each_row_at_most_once_and_repeats_with_its_seed",
        f"{_BUILDERS}seeds_choose_different_rows_and_each_row_about_equally_often",
        f"{_BUILDERS}cohorts_follow_who_came_back",
        f"{_BUILDERS}conditions_say_what_sql_says",
    ),
    _row(
        "cm-13",
        f"{CODE_MODE}, Future enhancements",
        "Session listing and cleanup; sessions belong to an owner.",
        f"{_GATEWAY}test_access.py::test_another_account_gets_the_answers_of_a_session_that_does_not_exist",
        f"{_CLI}test_sessions_are_listed_shown_kept_copied_and_deleted_under_any_name",
    ),
    _row(
        "cm-14",
        f"{CODE_MODE}, Future enhancements",
        "Query plans, index recommendations, slow query log.",
        f"{_STATEMENTS}test_explain_proposes_an_index_until_it_is_there",
        f"{_STATEMENTS}test_slow_statements_are_remembered_slowest_first",
    ),
    _row(
        "cm-15",
        f"{CODE_MODE}, Future enhancements",
        "Full-text search with FTS5, JSON functions, virtual tables.",
        f"{_CORPUS}test_every_legitimate_statement_gives_the_recorded_rows",
        "unit/runtime/guard/test_guard.py::test_full_text_search_has_its_functions",
    ),
    # Session databases, end to end
    _row(
        "se-01",
        f"{SESSION}, On a fresh machine",
        "`make demo` loads Palmer penguins, runs a model-style program in the sandbox and shows its answer.",
        f"{_DEMO}test_the_demo_loads_all_penguins_and_its_program_answers",
        f"{_DEMO}test_the_demo_as_json_is_the_result_of_the_run_and_what_it_saved",
        "unit/runtime/cli/test_cli_parts.py::test_the_penguins_are_the_344_of_the_data_set",
    ),
    _row(
        "se-02",
        f"{SESSION}, What it must show",
        "1,000 sessions over HTTP with interleaved writers: nothing lost, nothing mixed.",
        f"{_OVER_HTTP}test_a_thousand_sessions_with_interleaved_writers_lose_and_mix_nothing",
        f"{_HTTP_BODIES}test_a_large_batch_and_its_rows_go_over_one_connection",
        f"{_HTTP_BODIES}test_the_application_serves_a_host_that_runs_already",
        f"{_SESSIONS}test_interleaved_writers_lose_and_mix_nothing",
    ),
    _row(
        "se-03",
        f"{SESSION}, What it must show",
        "10,000 sessions on disk with at most max_open files open.",
        f"{_SESSIONS}test_at_most_max_open_files_are_open_whatever_happens",
        f"{_HOST}test_never_more_are_open_than_there_are_places",
    ),
    _row(
        "se-04",
        f"{SESSION}, What it must show",
        "A kill -9 during inserts loses no acknowledged row and needs no manual repair.",
        f"{_OVER_HTTP}test_kill_9_during_inserts_loses_no_acknowledged_row",
        f"{_CRASH}test_no_acknowledged_row_is_lost",
        f"{_CRASH}test_a_kill_between_making_and_deleting_leaves_the_directory_and_the_files_in_step",
        f"{_CRASH}test_the_folder_of_a_running_service_is_refused_and_that_of_a_killed_one_is_not",
    ),
    _row(
        "se-05",
        f"{SESSION}, What it must show",
        "TTL and alarms survive kill -9.",
        f"{_CRASH}test_alarms_and_ttls_survive",
        f"{_CRASH}test_jobs_are_continued_or_marked_failed",
        f"{_ALARMS}test_an_overdue_alarm_fires_right_after_start",
        f"{_ALARMS}test_the_counter_of_failures_survives_a_restart",
    ),
    _row(
        "se-06",
        f"{SESSION}, What it must show",
        "10,000 alarms due in the same second all fire once or more, in order of time.",
        f"{_MANY_ALARMS}test_ten_thousand_alarms_of_one_actor_due_in_one_second_all_fire_in_order",
        f"{_MANY_ALARMS}test_alarms_of_many_actors_due_in_one_second_all_fire_in_order",
        f"{_MANY_ALARMS}test_ten_thousand_pending_alarms_make_none_late",
        f"{_MANY_ALARMS}test_alarms_fire_in_real_time",
        "properties/test_alarms.py::test_every_alarm_that_stands_fires_once_when_it_is_due",
        f"{_ALARMS}test_alarms_of_one_actor_fire_in_order_of_time",
    ),
    _row(
        "se-07",
        f"{SESSION}, What it must show",
        "Every guard attack is blocked or bounded as it says.",
        f"{_CORPUS}test_every_attack_is_blocked_or_bounded_as_it_says",
        f"{_CORPUS}test_the_categories_cover_the_whole_corpus",
        f"{_CORPUS}test_every_attack_of_our_own_is_blocked_or_bounded",
        "properties/test_guard_gate.py::test_any_text_gets_a_verdict_or_a_refusal",
        "properties/test_guard_gate.py::test_tokens_lie_side_by_side_and_rebuild_nothing_else",
        "properties/test_guard_gate.py::test_the_statement_that_runs_passes_the_gate_again",
    ),
    _row(
        "se-08",
        f"{SESSION}, What it must show",
        "Every legitimate statement is accepted with the same rows.",
        f"{_CORPUS}test_every_legitimate_statement_gives_the_recorded_rows",
    ),
    _row(
        "se-09",
        f"{SESSION}, What it must show",
        "Every escape fails on the process engine.",
        "acceptance/test_escapes.py::test_a_shared_escape_fails",
        "acceptance/test_escapes.py::test_an_escape_of_our_own_fails",
        "unit/sandbox/test_process_engine.py::test_a_hole_in_the_filter_keeps_the_engine_from_starting",
    ),
    _row(
        "se-10",
        f"{SESSION}, What it must show",
        "A runaway query is stopped at its deadline; where it cannot be, its caller is answered all the same.",
        f"{_DEADLINES}test_a_runaway_statement_is_stopped_and_the_session_answers_the_next_call",
        f"{_DEADLINES}test_a_call_that_nothing_can_interrupt_is_answered_at_its_deadline",
        f"{_DEADLINES}test_other_sessions_are_answered_while_one_runs_away",
        f"{_DEADLINES}test_calls_behind_a_runaway_statement_keep_their_own_deadlines",
        f"{_DEADLINES}test_many_runaway_sessions_end_together",
        f"{_MAILBOX}test_a_unit_that_cannot_be_interrupted_is_answered_at_its_deadline_and_not_committed",
        f"{_MAILBOX}test_a_caller_that_goes_away_interrupts_its_statement",
    ),
    _row(
        "se-11",
        f"{SESSION}, What it must show",
        "Bad input of every kind: a problem with the right status and a hint; never a 500, never a trace.",
        "conformance/test_schemathesis.py::test_every_answer_is_one_that_the_document_promises",
        f"{_GATEWAY}test_bad_input.py::test_a_bad_body_is_refused_with_a_hint",
        f"{_GATEWAY}test_bad_input.py::test_a_bad_path_is_refused_with_a_hint",
        f"{_GATEWAY}test_bad_input.py::test_a_hundred_megabytes_are_refused_without_being_kept",
        f"{_GATEWAY}test_calls.py::test_the_unforeseen_becomes_an_internal_error_that_tells_nothing",
    ),
    _row(
        "se-12",
        f"{SESSION}, What it must show",
        "SIGTERM drains: calls in flight finish or fail clearly, files are checkpointed.",
        f"{_SERVER}test_a_signal_drains_and_the_exit_code_is_0",
        f"{_SERVER}test_a_second_signal_ends_at_once",
        f"{_SERVER}test_a_call_in_c_that_nobody_can_interrupt_does_not_hold_up_the_end",
        f"{_OVER_HTTP}test_sigterm_checkpoints_every_file",
    ),
    _row(
        "se-13",
        f"{SESSION}, HTTP",
        "Two accounts cannot see or guess each other's sessions; a public bind without keys is refused.",
        f"{_GATEWAY}test_access.py::test_another_account_gets_the_answers_of_a_session_that_does_not_exist",
        f"{_SERVER}test_a_public_bind_is_refused_while_there_is_no_key",
        "unit/runtime/test_ids.py::test_two_owners_with_one_name_have_two_actors",
    ),
    _row(
        "se-14",
        f"{SESSION}, Runtime",
        "A caller that goes away interrupts its query; a port or folder in use is told; logs carry the request.",
        f"{_SERVER}test_a_client_that_goes_away_interrupts_its_query",
        f"{_SERVER}test_a_port_or_folder_in_use_is_a_clear_refusal",
        f"{_SERVER}test_logs_are_json_lines_with_the_request_id_and_never_reach_the_caller",
    ),
    _row(
        "se-15",
        f"{SESSION}, Storage",
        "Calls that share a commit answer and write as if each had its own.",
        "properties/test_groups.py::test_sharing_a_commit_changes_no_answer_and_no_row",
        "properties/test_groups.py::test_durable_inserts_that_wait_together_share_their_fsync",
        "properties/test_groups.py::test_a_deferred_foreign_key_is_not_mended_by_a_neighbour",
        "properties/test_groups.py::test_a_group_shares_its_commit_and_the_guilty_one_fails_alone",
    ),
    _row(
        "se-16",
        f"{SESSION}, Sandbox",
        "Programs of models run as they would under plain Python; monty gives the same or says what it lacks.",
        "acceptance/test_programs.py::test_a_program_gives_its_value_and_output",
        "acceptance/test_programs.py::test_monty_gives_the_same_or_says_what_it_lacks",
    ),
    _row(
        "se-17",
        f"{SESSION}, CLI",
        "serve, run, sql, sessions, keys, tools, config show, doctor, demo, bench, each with --json and exit codes.",
        f"{_CLI}test_a_statement_that_writes_tells_the_rows_changed_and_one_that_reads_shows_them",
        f"{_CLI}test_exit_codes_tell_a_refusal_a_missing_name_a_limit_and_wrong_usage_apart",
        f"{_CLI}test_a_program_prints_its_output_and_then_its_value",
        f"{_CLI}test_a_program_that_fails_tells_its_line_and_what_to_do",
        f"{_CLI}test_words_and_programs_that_are_not_text_are_refused_and_not_traced",
        f"{_CLI}test_a_program_that_the_guard_refuses_ends_with_its_exit_code",
        f"{_CLI}test_control_and_bidi_characters_in_data_are_shown_escaped",
        f"{_CLI}test_sessions_are_listed_shown_kept_copied_and_deleted_under_any_name",
        f"{_CLI}test_what_is_exported_is_a_database_and_comes_back_whole",
        f"{_CLI}test_a_file_that_is_no_database_is_refused_and_not_imported",
        f"{_CLI}test_keys_are_shown_once_and_work_until_they_are_revoked",
        f"{_CLI}test_a_service_that_is_not_there_is_told_as_a_problem",
        f"{_CLI}test_without_a_service_the_data_folder_is_opened_by_the_command_itself",
        f"{_CLI}test_files_of_any_size_go_in_and_out_without_a_service_too",
        f"{_CLI}test_a_marker_of_a_service_that_was_killed_is_not_believed",
        f"{_CLI}test_settings_are_shown_with_where_they_come_from",
        f"{_CLI}test_a_wrong_settings_file_is_told_and_not_traced",
        f"{_CLI}test_an_actor_type_that_is_none_is_told_and_not_traced",
        f"{_CLI}test_doctor_sees_the_sandbox_refuse_and_the_folder_writable",
        f"{_CLI}test_doctor_fails_where_the_data_folder_cannot_be",
        f"{_CLI}test_tools_are_written_for_each_api",
        f"{_CLI}test_quiet_writes_the_answer_and_nothing_else",
        f"{_CLI}test_a_reader_that_closes_early_gets_no_trace",
        "unit/runtime/cli/test_cli_parts.py::test_help_of_every_command_has_an_example_that_calls_it",
    ),
    _row(
        "se-18",
        f"{SESSION}, Docs",
        "Tutorial, how-to, generated reference, explanation; examples run, and nothing is undocumented.",
        "unit/test_docs_examples.py::test_every_block_of_the_page_runs",
        "unit/test_docs_examples.py::test_the_example_runs_by_itself",
        f"{_REFERENCE}test_a_generated_page_is_what_the_code_would_write_now",
        f"{_REFERENCE}test_every_setting_is_documented",
        f"{_REFERENCE}test_every_limit_is_documented_with_unit_and_reason",
        f"{_REFERENCE}test_every_error_code_is_documented_with_its_status",
        f"{_REFERENCE}test_every_command_is_documented_with_its_options",
        f"{_REFERENCE}test_every_endpoint_is_documented",
        f"{_REFERENCE}test_every_helper_is_documented",
        f"{_REFERENCE}test_every_guard_rule_is_documented_with_what_to_write_instead",
        f"{_REFERENCE}test_every_metric_is_documented",
    ),
    _row(
        "ag-01",
        f"{AGENTS}, Resume",
        "A run cut off by kill -9 goes on with the recorded results; effects on its database happen exactly once.",
        f"{_RESUME}test_inserts_happen_once",
        f"{_RESUME}test_a_gather_of_tool_calls_goes_on",
        "properties/test_runs.py::test_a_program_that_is_stopped_anywhere_does_each_thing_once",
    ),
    _row(
        "ag-02",
        f"{AGENTS}, Approvals",
        "A marked call pauses the run, is listed, and goes on or fails by approve or reject, also after kill -9.",
        f"{_RESUME}test_a_pause_for_approval_outlives_the_service",
        f"{_RUNS_LIVE}test_an_agents_key_cannot_approve_what_its_programs_ask_for",
    ),
    _row(
        "ag-03",
        f"{AGENTS}, Runs as records",
        "Each run is stored, listable, replayable, within a bound, and its account's alone.",
        "unit/sandbox/runs/test_records.py::test_a_run_is_kept_with_its_calls_and_how_it_ended",
        "unit/sandbox/runs/test_resume.py::test_a_replay_does_nothing_and_gives_the_same",
        f"{_RUNS_LIVE}test_another_account_sees_no_runs",
    ),
    _row(
        "ag-04",
        f"{AGENTS}, What it must show",
        "10,000 helper calls in one gather finish without growth of the host beyond 8 MB.",
        f"{_RUNS_LIVE}test_ten_thousand_calls_in_one_gather_leave_the_host_small",
    ),
    _row(
        "ag-05",
        f"{AGENTS}, Snippets",
        "A run that worked is saved, found by search, and run by name with inputs.",
        "unit/sandbox/runs/test_snippets.py::test_a_run_that_worked_is_kept_and_run_again_with_inputs",
        "unit/sandbox/runs/test_snippets.py::test_snippets_are_found_by_their_words",
    ),
    _row(
        "ag-10",
        f"{AGENTS}, Type check before the run",
        "Code is checked against the helper specs and linted before it runs; what would have worked is not refused.",
        "unit/helpers/test_check.py::test_a_mistake_is_told_with_its_place_and_the_nearest_name",
        "unit/helpers/test_check.py::test_what_may_work_is_not_refused",
        "properties/test_check.py::test_no_call_that_its_spec_allows_is_refused",
        "properties/test_check.py::test_a_check_never_fails_whatever_the_text",
        "properties/test_check.py::test_what_the_check_refuses_fails_in_the_sandbox",
        "properties/test_check.py::test_specs_of_any_tool_give_a_report",
        f"{_CLI}test_a_program_that_cannot_be_right_is_not_begun",
    ),
    _row(
        "ag-11",
        f"{AGENTS}, One tool for the model",
        "run_code with a description within a budget, search and describe inside the program, tools in each API's form.",
        "unit/helpers/test_discovery.py::test_thousands_of_tools_are_told_within_the_budget",
        "unit/helpers/test_discovery.py::test_a_program_searches_and_describes_its_helpers",
        "unit/helpers/test_discovery.py::test_a_session_gives_its_tools_in_the_form_of_each_api",
        "unit/test_docs_examples.py::test_a_model_mends_its_program_through_its_own_client_library",
        f"{_CLI}test_the_one_tool_comes_first_and_is_the_same_as_a_session_gives",
        "conformance/test_tool_schemas.py::test_every_method_is_a_tool_of_each_api",
        "conformance/test_tool_schemas.py::test_a_session_gives_its_tools_over_http",
    ),
    _row(
        "ag-12",
        f"{AGENTS}, MCP client",
        "Two published tool servers by stdio: one program calls both, stages their data, joins it, returns the answer.",
        "acceptance/test_tools_real_servers.py::test_one_program_calls_two_published_servers_and_joins_their_data_in_sql",
        f"{_TOOLS}test_servers_by_stdio.py::test_tools_become_helpers_and_answers_become_values",
        f"{_TOOLS}test_servers_over_http.py::test_a_server_by_url_works_like_any_other",
        f"{_TOOLS}test_servers_over_http.py::test_only_what_the_operator_allows_can_be_connected_to",
        f"{_TOOLS}test_parts.py::test_names_that_are_alike_are_refused_both",
    ),
    _row(
        "ag-13",
        f"{AGENTS}, MCP client",
        "Servers that die come back, calls that are given up are cancelled, and no server outlives the service.",
        "acceptance/test_tools_real_servers.py::test_no_server_outlives_a_service_that_is_killed",
        f"{_TOOLS}test_servers_by_stdio.py::test_a_server_that_is_killed_comes_back_with_the_next_call",
        f"{_TOOLS}test_servers_by_stdio.py::test_a_call_that_is_given_up_is_cancelled_at_the_server",
        f"{_TOOLS}test_servers_by_stdio.py::test_no_process_is_left_when_the_host_stops",
        f"{_TOOLS}test_hostile_servers.py::test_a_flood_of_notices_and_requests_slows_nobody_but_the_server",
        f"{_TOOLS}test_hostile_servers.py::test_a_huge_answer_fails_its_call_alone",
    ),
    _row(
        "ag-14",
        f"{AGENTS}, MCP client",
        "The servers' secrets never reach the sandbox, the logs, or anything that a caller can see.",
        "acceptance/test_tools_secrets.py::test_a_canary_is_found_nowhere",
        f"{_TOOLS}test_parts.py::test_a_secret_is_taken_out_wherever_it_stands",
    ),
    _row(
        "ag-15",
        f"{AGENTS}, Staging",
        "A tool result goes into a table on demand and by itself over a limit, without loss, all of it or nothing.",
        f"{_TOOLS}test_staging.py::test_a_value_is_read_as_columns_and_rows",
        f"{_TOOLS}test_staging.py::test_a_column_loses_nothing",
        f"{_TOOLS}test_staging.py::test_rows_that_do_not_fit_are_refused_with_the_difference_and_nothing_stays",
        f"{_TOOLS}test_staging.py::test_a_large_result_goes_into_a_table_by_itself",
    ),
    _row(
        "mcp-01",
        f"{AGENTS}, MCP server",
        "Tools for every public method of every actor type, with schemas, annotations, and answers that fit them.",
        f"{_MCP}test_every_tool_of_every_type_can_be_called_and_answers_as_its_schema_says",
        f"{_MCP}test_the_description_of_the_code_tool_keeps_to_its_budget",
        f"{_MCP}test_what_a_program_gives_beyond_the_limit_is_cut_and_said_so",
        f"{_GATEWAY}mcp/test_tools.py::test_each_public_method_of_each_type_is_a_tool_and_no_other_is",
        f"{_GATEWAY}mcp/test_calls.py::test_bad_arguments_are_named_and_nothing_runs",
    ),
    _row(
        "mcp-02",
        f"{AGENTS}, MCP server",
        "The official client drives the service in memory, over Streamable HTTP and over stdio, in both revisions.",
        f"{_MCP}test_a_program_runs_and_its_data_is_there_as_tools_and_resources",
        f"{_MCP}test_a_run_in_the_background_tells_its_progress",
        f"{_MCP}test_many_clients_call_side_by_side",
        f"{_MCP}test_a_listener_over_stdio_hears_of_changes",
        f"{_MCP}test_the_end_of_stdin_ends_the_server_and_its_data_is_kept",
        f"{_MCP}test_a_signal_ends_the_server_while_stdin_is_open",
        f"{_MCP}test_nothing_but_messages_is_written_to_stdout",
        f"{_MCP}test_a_second_server_on_a_folder_is_told_who_has_it",
    ),
    _row(
        "mcp-03",
        f"{AGENTS}, MCP server",
        "The service's keys are the auth; accounts do not meet; the gateway's checks and limits hold for /mcp.",
        f"{_GATEWAY}mcp/test_edge.py::test_two_accounts_do_not_meet",
        f"{_GATEWAY}mcp/test_edge.py::test_a_page_of_another_site_and_a_rebound_name_are_refused",
        f"{_GATEWAY}mcp/test_edge.py::test_sessions_are_bounded_in_number_and_idle_time",
        f"{_GATEWAY}mcp/test_edge.py::test_an_accounts_oldest_session_makes_room_and_no_other_accounts_does",
    ),
    _row(
        "mcp-04",
        f"{AGENTS}, MCP server",
        "Clients outlive a kill -9 of the service.",
        "conformance/test_mcp_restart.py::test_a_client_without_a_handshake_goes_on_after_kill_9",
        "conformance/test_mcp_restart.py::test_a_client_with_a_session_is_told_to_begin_anew_and_finds_its_data",
        "conformance/test_mcp_restart.py::test_a_forwarder_outlives_the_service_it_forwards_to",
    ),
    _row(
        "tables-01",
        "project databases and data sources, import",
        "Nasty delimited files are read without loss, bad rows kept aside; what cannot be read says why and leaves nothing.",
        "acceptance/test_csv_cases.py::test_a_file_is_read_as_expected_and_adopted",
        "acceptance/test_csv_cases.py::test_a_preview_shows_the_first_rows_of_the_load",
        "acceptance/test_csv_cases.py::test_a_file_that_cannot_be_read_says_why_and_leaves_nothing",
        "properties/test_tables.py::test_a_file_comes_out_as_it_went_in",
        "properties/test_tables.py::test_any_bytes_are_a_table_or_one_clear_error",
    ),
    _row(
        "ag-16",
        f"{AGENTS}, Parity of engines",
        "The corpus of model programs gives the same values on both engines, but for gaps that are told.",
        "acceptance/test_programs.py::test_a_program_gives_its_value_and_output",
        "acceptance/test_programs.py::test_monty_gives_the_same_or_says_what_it_lacks",
        "unit/sandbox/test_parity.py::test_a_program_is_the_same_on_both_engines_or_meets_a_gap",
        "unit/sandbox/test_parity.py::test_a_gap_that_is_told_is_there",
        "properties/test_parity.py::test_two_good_ends_of_one_program_are_the_same",
    ),
    _row(
        "pj-01",
        f"{PROJECT}, AC1-AC3",
        "Files are parsed on the service into one database a project, by upload, URL and command line.",
        f"{_PROJECT_API}test_parse_returns_column_metadata",
        f"{_PROJECTS}test_nasty_files_come_out_of_http_as_expected",
        f"{_PROJECTS}test_a_workbook_of_several_sheets_is_imported_sheet_by_sheet",
        f"{_PROJECTS}test_a_form_with_a_file_is_taken_like_a_raw_body",
        f"{_PROJECT}test_imports.py::test_a_file_is_fetched_from_an_allowed_host",
    ),
    _row(
        "pj-02",
        f"{PROJECT}, AC4",
        "Pipelines run on the service and store their result, with the specification's names in SQL.",
        f"{_PROJECT_API}test_execute_stores_and_tells_what_it_did",
        f"{_PROJECT_API}test_pipelines_are_saved_listed_read_and_deleted",
        f"{_PROJECT}test_pipelines.py::test_a_pipeline_is_executed_into_a_result_of_its_own",
        f"{_PROJECT}test_views.py::test_the_names_of_the_specification_work_in_sql",
    ),
    _row(
        "pj-03",
        f"{PROJECT}, AC5",
        "A preview of at most 100 rows after any step, with nothing stored.",
        f"{_PROJECT_API}test_preview_stops_after_a_step",
        f"{_PROJECT}test_pipelines.py::test_a_preview_shows_each_step_and_stores_nothing",
    ),
    _row(
        "pj-04",
        f"{PROJECT}, AC6 and API Response Format",
        "Pages, columns, samples and questions in one shape each.",
        f"{_PROJECT_API}test_data_has_the_shape_of_the_specification",
        f"{_PROJECT_API}test_columns_tell_names_types_and_statistics",
        f"{_PROJECT_API}test_every_kind_of_sample_has_one_shape",
        f"{_PROJECT_API}test_a_question_says_what_was_understood",
        f"{_PROJECT_API}test_paths_that_are_not_there_and_verbs_that_are_not_answered",
    ),
    _row(
        "pj-05",
        f"{PROJECT}, AC7",
        "An export streams from the database as a file to download.",
        f"{_PROJECT_API}test_export_is_a_file_to_download",
        f"{_PROJECT}test_pipelines.py::test_what_is_exported_can_be_imported_again",
    ),
    _row(
        "pj-06",
        f"{PROJECT}, AC14 and Testing Plan",
        "Real files go end to end, and ten large imports at once end while others are answered.",
        f"{_PROJECTS}test_a_year_of_flights_end_to_end_by_http",
        f"{_PROJECTS}test_a_year_of_flights_end_to_end_by_the_command_line",
        f"{_PROJECTS}test_ten_large_imports_at_once_end_while_others_are_answered",
        f"{_PROJECTS}test_progress_comes_as_events",
    ),
    _row(
        "pj-07",
        f"{PROJECT}, Security Considerations",
        "A project is its owner's alone; files are capped; temporary files go on every path, kill -9 included.",
        f"{_PROJECTS}test_a_project_is_its_owners_alone",
        f"{_PROJECT_API}test_a_file_over_the_limit_is_refused_by_the_name_of_the_setting",
        f"{_PROJECTS}test_kill_9_in_an_import_leaves_the_old_data",
        f"{_PROJECTS}test_kill_9_in_a_pipeline_and_in_an_export",
        f"{_PROJECT}test_views.py::test_sql_of_strangers_reads_data_tables_and_never_changes_them",
    ),
    _row(
        "pj-08",
        f"{PROJECT}, Testing Plan: all operations and edge cases; Phase 4",
        "Results of pipelines equal those of plain rows and of DuckDB; a preview shows the first rows of a run.",
        "properties/test_pipelines.py::test_a_pipeline_gives_what_plain_rows_give",
        "properties/test_pipelines.py::test_a_preview_shows_the_first_rows_of_the_result",
        "properties/test_pipelines_duckdb.py::test_a_pipeline_gives_what_duckdb_gives",
        "properties/test_pipelines_duckdb.py::test_ten_steps_over_many_rows_give_what_duckdb_gives",
        "unit/actors/project/pipeline/test_operations.py::test_a_column_of_text",
    ),
    _row(
        "ds-01",
        f"{DATA_SOURCES}, Week 1: Data Source Manager",
        "Files are registered and imported; the catalogue has the specification's shape, and outlives the service.",
        f"{_SOURCES}test_real_files_are_registered_queried_and_joined",
        f"{_SOURCES}test_the_specifications_paths_and_shapes",
        f"{_SOURCES}test_the_command_line_does_it_all",
        f"{_SOURCE}test_catalogue.py::test_an_imported_file_is_a_source_in_the_specifications_shape",
        f"{_SOURCE}test_catalogue.py::test_sources_are_found_by_name_path_and_table",
    ),
    _row(
        "ds-02",
        f"{DATA_SOURCES}, Import Pipeline; Progress Tracking",
        "CSV, XLSX and the like become Parquet without loss, with progress over SSE; a crash leaves nothing half-made.",
        f"{_SOURCE}test_catalogue.py::test_types_lose_nothing",
        f"{_SOURCE}test_catalogue.py::test_progress_is_streamed_in_the_specifications_shape",
        f"{_SOURCES_CRASH}test_an_import_that_is_killed_shows_nothing_half_made",
    ),
    _row(
        "ds-03",
        f"{DATA_SOURCES}, Unified Query Interface; Add DuckDB Integration",
        "One query interface: SQLite natively, Parquet through DuckDB, joins by name; hostile SQL and files reach nothing.",
        f"{_SOURCE}test_querying.py::test_sources_of_all_kinds_are_joined_by_name",
        f"{_SOURCE}test_statement.py::test_what_reaches_beyond_is_refused_and_says_why",
        f"{_SOURCE}test_statement.py::test_the_database_is_shut_in_even_where_the_list_fails",
        f"{_SOURCE}test_lite.py::test_a_damaged_file_is_one_clear_error",
        f"{_SOURCES}test_hostile_requests_are_refused_as_problems",
        f"{_SOURCES}test_two_accounts_cannot_see_each_other",
    ),
    _row(
        "ds-04",
        f"{DATA_SOURCES}, Caching & Optimization; Auto-refresh for file changes",
        "Answers and schemas are kept within bounds, never stale; live imports follow their files.",
        f"{_SOURCE}test_cache.py::test_the_bounds_hold_whatever_is_done",
        f"{_SOURCE}test_querying.py::test_no_answer_is_ever_stale",
        f"{_SOURCE}test_catalogue.py::test_a_live_import_follows_its_file",
    ),
    _row(
        "ds-05",
        f"{DATA_SOURCES}, Feature Flag Implementation; Metrics to Monitor",
        "Feature flags switch sources and imports off; imports, queries and the cache are counted.",
        f"{_SOURCE}test_catalogue.py::test_feature_flags_switch_sources_and_imports_off",
        f"{_SOURCES}test_metrics_tell_of_imports_queries_and_the_cache",
    ),
    _row(
        "ds-06",
        "data sources and projects, end to end",
        "Sources and query results are copied into sessions and projects, and back, with their types.",
        f"{_SOURCE}test_copying.py::test_a_round_trip_keeps_values_and_types",
        f"{_SOURCE}test_copying.py::test_a_copy_goes_into_a_project_as_its_data_or_as_a_table",
    ),
    _row(
        "ds-07",
        "data sources and projects, end to end",
        "A session becomes a lasting project by command and by rule; its name goes on working; kill -9 leaves one of them.",
        f"{_PROMOTION}test_tables_indexes_and_state_are_there_under_both_names",
        f"{_PROMOTION}test_the_rule_promotes_what_lasts",
        f"{_SOURCES}test_a_promoted_session_goes_on_over_http",
        f"{_SOURCES_CRASH}test_a_promotion_that_is_killed_leaves_one_whole_actor",
    ),
)
