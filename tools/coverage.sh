#!/usr/bin/env bash
# Runs the tests (or those named) and lists the lines and branches of the engine that none of them reached.
#   tools/coverage.sh [Testing/engine ...]        PYTHON names the interpreter, .venv/bin/python unless told
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
export COVERAGE_FILE="$PWD/.coverage"  # of the worker too, which runs in another folder
"$python" -m coverage erase
status=0
"$python" -m coverage run -m pytest "$@" || status=$?
"$python" -m coverage combine --quiet
"$python" -m coverage report
exit "$status"
