#!/usr/bin/env bash
# Run the tests against the built wheel, without src/, in a temporary environment.
#
#   tests/wheel.sh KIND PYTHON [OPTION OF PYTEST…]
#
# KIND selects what is installed in addition to the wheel:
#   bare         no extra
#   full         all extras and the dependencies of `make test`; also checks the types of the public names
#   lowest-bare  no extra, with the lowest versions that pyproject.toml allows
#   lowest       the extras with a minimum version, in the lowest versions that pyproject.toml allows
# All kinds except bare need uv on the path.
set -euo pipefail
KIND=$1 PYTHON=$(command -v "$2")
[[ $PYTHON = /* ]] || PYTHON=$PWD/$PYTHON
shift 2
WORKERS=${WORKERS:-2}
cd "$(dirname "$0")/.."
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# Without the emulator, which requires one exact version of botocore.
WITH_FLOORS="--extra aws --extra bench --extra check --extra excel --extra msgspec --extra parquet --extra powertools --extra pydantic --extra zstd"

# Tests that need extras, and tests that read src/ or build from it.
NEEDS_EXTRAS=(
	--ignore=tests/contract --ignore=tests/integration
	--ignore=tests/unit/_consumer/test_handler_names.py --ignore=tests/unit/_consumer/test_odd_processes.py
	--ignore=tests/unit/_consumer/test_process_calls.py --ignore=tests/unit/_consumer/test_process_looks.py
	--ignore=tests/unit/aws/test_breakers.py --ignore=tests/unit/aws/test_mappings.py
	--ignore=tests/unit/cli/test_breaker_status.py --ignore=tests/unit/powertools/test_processes.py
	--ignore=tests/unit/powertools/test_traces_of_processes.py --ignore=tests/unit/_consumer/test_breaker_batches.py
	--ignore=tests/unit/_consumer/test_breaker_copies.py --ignore=tests/unit/_consumer/test_breaker_faults.py
	--ignore=tests/unit/_consumer/test_breaker_pairs.py --ignore=tests/unit/_consumer/test_breaker_with_blocks.py
	--ignore=tests/unit/_consumer/test_consumer_commit.py --ignore=tests/unit/init/test_init.py
	--ignore=tests/faults/test_process_kills.py --ignore=tests/faults/test_tampered_ledger.py
	--ignore=tests/unit/_base/test_aws_limits.py --ignore=tests/unit/_consumer/test_process_pool.py
	--ignore=tests/unit/_consumer/test_processes.py --ignore=tests/unit/_consumer/test_process_settings.py --ignore=tests/unit/_jobs/test_inline_runs.py
	--ignore=tests/unit/_jobs/test_run_details.py --ignore=tests/unit/_jobs/test_run_logs.py
	--ignore=tests/unit/aws/test_resend.py --ignore=tests/unit/bench/test_report.py --ignore=tests/unit/check
	--ignore=tests/unit/cli/test_confirm.py --ignore=tests/unit/cli/test_redrive.py
	--ignore=tests/unit/test_otel_metrics.py --ignore=tests/unit/_consumer/test_auto_batches.py
	--ignore=tests/unit/_consumer/test_fair_batches.py --ignore=tests/unit/_replay/test_replayed_handler.py
	--ignore=tests/unit/_replay/test_switches_and_outages.py --ignore=tests/properties/test_auto_properties.py
	--ignore=tests/unit/sources/test_s3_inventory.py --ignore=tests/unit/sources/test_s3_parquet.py
	--ignore=tests/unit/sources/test_s3_parquet_refusals.py --ignore=tests/unit/_jobs/test_empty_runs.py
	--ignore=tests/unit/cli/test_run_status.py --ignore=tests/unit/_report/test_page.py --ignore=tests/unit/_report/test_serve.py
	--ignore=tests/unit/sources/test_fixed_inputs.py --ignore=tests/unit/sources/test_fixed_parquet_inputs.py
	--ignore=tests/properties/test_dynamodb_export_properties.py --ignore=tests/properties/test_s3_inventory_properties.py
	--ignore=tests/properties/test_s3_parquet_properties.py --ignore=tests/properties/test_csv_dialects_properties.py
	--ignore=tests/properties/test_fold_values_properties.py --ignore=tests/properties/test_resumed_reads_properties.py
	--ignore=tests/unit/sources/test_compression.py --ignore=tests/unit/aws/test_s3_read.py --ignore=tests/unit/aws/test_tables.py
	--ignore=tests/unit/aws/test_fast_calls.py --ignore=tests/unit/aws/test_signing.py
	--deselect=tests/unit/_jobs/test_result_text.py::test_the_fold_does_not_check_results_that_are_combined_first
	"--deselect=tests/unit/_jobs/test_empty_runs.py::test_empty_input_is_folded_to_an_empty_output[parquet"
	"--deselect=tests/unit/_jobs/test_empty_runs.py::test_a_job_that_does_not_allow_it_refuses_a_source_without_segments_by_name[parquet"
	--ignore=tests/properties/test_check_properties.py --ignore=tests/properties/test_many_objects_properties.py
	--ignore=tests/properties/test_s3_select_properties.py --ignore=tests/unit/check/test_command.py
	--ignore=tests/unit/check/test_corpus.py --ignore=tests/unit/check/test_rules.py
	--ignore=tests/unit/cli/test_bench_plan.py --ignore=tests/unit/cli/test_show.py --ignore=tests/unit/_jobs/test_collect.py --ignore=tests/unit/_consumer/test_decode.py --ignore=tests/unit/_replay/test_endpoint.py --ignore=tests/unit/aws/test_faults.py
	--ignore=tests/unit/test_folds.py --ignore=tests/unit/aws/test_functions.py --ignore=tests/unit/sinks/test_item_sizes.py
	--ignore=tests/unit/_consumer/test_event_data_classes.py --ignore=tests/unit/test_observers.py --ignore=tests/unit/test_observers_calls.py
	--ignore=tests/unit/powertools/test_processors.py --ignore=tests/unit/powertools/test_fifo_processors.py
	--ignore=tests/unit/_replay/test_deployed_settings.py --ignore=tests/unit/_replay/test_deployed_environment.py --ignore=tests/properties/test_deployed_settings_properties.py
	--ignore=tests/unit/_stack/test_template.py --ignore=tests/test_examples.py --ignore=tests/test_migration_guide.py --ignore=tests/test_migration_guides.py
	--ignore=tests/test_documentation.py --ignore=tests/test_observe_page.py --ignore=tests/unit/test_idempotency_keys.py
	--ignore=tests/unit/_stack/test_deploy.py --ignore=tests/unit/test_logs.py --ignore=tests/unit/test_otel.py
	--ignore=tests/unit/powertools/test_observers.py --ignore=tests/unit/_replay/test_page.py
	--ignore=tests/unit/_consumer/test_isolation.py
	--ignore=tests/unit/_consumer/test_struct_bodies.py --ignore=tests/properties/test_body_properties.py
	--ignore=tests/unit/_consumer/test_never_stuck.py
	--ignore=tests/unit/cli/test_help.py --ignore=tests/unit/cli/test_replay_screen.py
	--ignore=tests/properties/test_settling_properties.py --ignore=tests/unit/_worker/test_decorated.py
	--ignore=tests/unit/aws/test_clients.py --ignore=tests/unit/aws/test_renewing.py
	--ignore=tests/unit/testing/test_deliver_to_handlers.py
	--ignore=tests/unit/_base/test_jitter.py --ignore=tests/unit/test_payload_limits.py
	--deselect=tests/unit/bench/test_report.py::test_a_page_of_a_handler_that_is_not_a_consumer_has_no_record_durations
	--deselect=tests/unit/bench/test_report.py::test_names_and_reasons_are_shown_as_text
	--deselect=tests/unit/bench/test_report.py::test_the_page_is_self_contained_and_shows_every_cell
	--deselect=tests/unit/bench/test_report.py::test_a_cell_that_ran_out_of_memory_is_hatched_and_has_no_number
	--deselect=tests/test_imports.py::test_the_command_line_needs_only_its_extra
	--deselect=tests/test_public_api.py::test_all_is_sorted_and_complete
	--deselect=tests/test_public_api.py::test_everything_in_all_is_documented
	--deselect=tests/unit/bench/test_report.py::test_the_picture_is_drawn
	--deselect=tests/unit/_consumer/test_binding.py::test_the_body_is_decoded_if_the_type_of_the_context_is_only_imported_for_type_checkers
	--deselect=tests/unit/_consumer/test_binding.py::test_a_function_that_cannot_be_a_handler_is_refused_at_decoration
	--deselect=tests/unit/test_capture.py::test_a_batch_is_saved_and_processed_as_without_capture
	--deselect=tests/unit/_consumer/test_lists.py::test_a_handler_of_lists_gets_up_to_chunk_size_bodies
	--deselect=tests/unit/test_payloads.py::test_handlers_of_lists_receive_payloads_and_only_a_missing_one_fails
	--deselect=tests/unit/_consumer/test_environment.py::test_a_settler
	--deselect=tests/unit/_replay/test_simulator_visibility.py::test_a_body_that_cannot_be_decoded_is_dead_lettered_immediately
	--deselect=tests/unit/_replay/test_simulator_handlers.py::test_a_consumer
	--deselect=tests/unit/_replay/test_simulator_visibility.py::test_without_a_dead_letter_queue_url_a_rejected_message_is_reported
	--deselect=tests/unit/_replay/test_simulator_visibility.py::test_a_message_is_not_redelivered_before_its_invocation_has_ended
	--deselect=tests/unit/_replay/test_simulator_visibility.py::test_the_backoff_grows_with_each_delivery
	--deselect=tests/unit/_replay/test_simulator_handlers.py::test_the_simulator_does_not_change_the_consumer
	--deselect=tests/unit/_replay/test_simulator_visibility.py::test_the_jitter_of_a_backoff_is_the_same_for_the_same_seed
	--deselect=tests/unit/_replay/test_simulator_handlers.py::test_the_lifespan_of_a_consumer_can_be_ended
)
NEEDS_SOURCE=(
	--ignore=tests/test_layers.py --ignore=tests/test_paths.py --ignore=tests/test_documentation.py --ignore=tests/test_project_files.py --ignore=tests/integration/test_sam.py --ignore=tests/integration/test_init.py
	'--deselect=tests/test_examples.py::test_links_and_paths_exist[README.md]'
)
NEEDS_THE_EMULATOR=(
	-m "not stack" --ignore=tests/integration --ignore=tests/contract/test_powertools_contract.py
	--ignore=tests/contract/test_powertools_subclasses_contract.py
	--ignore=tests/test_examples.py --ignore=tests/test_migration_guide.py --ignore=tests/test_migration_guides.py
	# tests of extras that are not installed here, and comparisons with the current Powertools
	--ignore=tests/unit/test_logs.py --ignore=tests/unit/test_otel.py --ignore=tests/unit/powertools/test_observers.py
	'--deselect=tests/test_public_api.py::test_all_is_sorted_and_complete[fanfold.otel]'
	'--deselect=tests/test_public_api.py::test_everything_in_all_is_documented[fanfold.otel]'
	--deselect=tests/unit/test_idempotency_keys.py::test_keys_are_those_of_powertools
	--deselect=tests/unit/test_idempotency_keys.py::test_some_values_that_are_not_json_can_be_keys
)

"${BUILDER:-$PYTHON}" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$WORK" .
WHEEL=$(echo "$WORK"/fanfold-*.whl)
"$PYTHON" -m venv "$WORK/venv"
BIN=$WORK/venv/bin

install() { uv pip install --quiet --python "$BIN/python" "$@"; }
lowest() { # shellcheck disable=SC2086 # split the extras
	uv pip compile --quiet --python "$BIN/python" --resolution lowest-direct --no-emit-index-url --no-header ${1:-} pyproject.toml -o "$WORK/lowest.txt"
}
case $KIND in
bare)
	"$BIN/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements/bare.txt
	"$BIN/pip" install --quiet --disable-pip-version-check --no-deps "$WHEEL"
	CHOSEN=("${NEEDS_EXTRAS[@]}")
	;;
full)
	sed -n 's/^\([a-z0-9._-]*\)\(\[.*\]\)\?\(==.*[^ ]\) *\\$/\1\3/p' requirements/dev.txt >"$WORK/pins.txt"
	install "fanfold[all] @ file://$WHEEL" --group tests --group typing -c "$WORK/pins.txt"
	CHOSEN=()
	;;
lowest-bare)
	lowest
	install "$WHEEL" -r "$WORK/lowest.txt" --group bare
	CHOSEN=("${NEEDS_EXTRAS[@]}")
	;;
lowest)
	lowest "$WITH_FLOORS"
	install "$WHEEL" -r "$WORK/lowest.txt" --group bare openpyxl
	CHOSEN=("${NEEDS_THE_EMULATOR[@]}")
	;;
*)
	echo "wheel.sh: KIND must be bare, full, lowest-bare or lowest, not $KIND" >&2
	exit 2
	;;
esac

mkdir "$WORK/tree"
cp -r benchmarks docs examples tests statemachine template.yaml samconfig.toml pyproject.toml README.md CHANGELOG.md CONTRIBUTING.md LICENSE "$WORK/tree"
cd "$WORK/tree"
imported=$("$BIN/python" -c "import fanfold; print(fanfold.__file__)")
case $imported in
"$WORK/venv"/*) ;;
*) echo "wheel.sh: the tests would run against $imported, not against the wheel" >&2 && exit 1 ;;
esac
echo "$KIND, $("$BIN/python" --version): $(basename "$WHEEL")"
[[ $KIND != full ]] || "$BIN/python" tests/typing/completeness.py
"$BIN/python" -m pytest -q -n "$WORKERS" --dist loadfile -p no:cacheprovider "${NEEDS_SOURCE[@]}" "${CHOSEN[@]}" "$@" tests
