#!/bin/sh
# Pin what `make` and CI install, with hashes and without index addresses. Needs uv on the path.
set -eu
cd "$(dirname "$0")/.."
options="--python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --no-strip-extras --upgrade -q"
# shellcheck disable=SC2086 # the options are words
uv pip compile $options pyproject.toml --extra bench --extra local --extra parquet --extra powertools --group dev -o requirements/dev.txt
# shellcheck disable=SC2086
uv pip compile $options pyproject.toml --extra local --group build -c requirements/dev.txt -o requirements/demo.txt
# shellcheck disable=SC2086
uv pip compile $options pyproject.toml --extra cli --group docs -c requirements/dev.txt -o requirements/docs.txt
# Everything it needs stands in this file, installed with --no-deps: pip does not see that a pin of boto3[crt] is one of boto3.
# shellcheck disable=SC2086
uv pip compile $options --group pyproject.toml:sam -o requirements/sam.txt
# What the tests need that need no extra; for an environment with nothing else in it.
# shellcheck disable=SC2086
uv pip compile $options pyproject.toml --group bare -c requirements/dev.txt -o requirements/bare.txt
# What a laptop with macOS or Windows needs to run the tests of what works there.
# shellcheck disable=SC2086
uv pip compile $options pyproject.toml --extra all --group build --group bare -c requirements/dev.txt -o requirements/laptops.txt
# The locks of new projects: exact pins without hashes, because pip wants hashes for all packages or for none, and
# `fanfold init` adds its own release. They are the versions that the tests use.
locks=src/fanfold/init/templates/locks
options="--python-version 3.11 --universal --no-emit-index-url --no-header --no-annotate -q -c requirements/dev.txt"
for powertools in "" _powertools; do
  extra=${powertools:+--extra powertools --group lock_powertools}
  # shellcheck disable=SC2086
  uv pip compile $options pyproject.toml --extra aws $extra -o "$locks/function$powertools.txt"
  # shellcheck disable=SC2086
  uv pip compile $options pyproject.toml --extra local --group lock_tests $extra -o "$locks/development$powertools.txt"
done
