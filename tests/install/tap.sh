# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What the scripts here begin with: . "$(dirname "$0")/tap.sh"
# The project's folder becomes the current one; $work is a folder of the script's own.  check() and
# skip() print TAP, finish() its last line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# What was set on the command line of a make above, without its job server.
case ${MAKEFLAGS:-} in
*' -- '*) MAKEFLAGS=${MAKEFLAGS##* -- } ;;
*) unset MAKEFLAGS ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
failures=0

# check WHAT COMMAND...: one line of TAP; the command's output only if it fails.
check() {
    local what=$1
    shift
    n=$((n + 1))
    if "$@" >"$work/log" 2>&1; then
        echo "ok $n - $what"
    else
        echo "not ok $n - $what"
        sed 's/^/# /' "$work/log"
        failures=$((failures + 1))
    fi
}

# skip WHAT WHY
skip() {
    n=$((n + 1))
    echo "ok $n - $1 # SKIP $2"
}

# finish: whether all were ok.
finish() {
    echo "1..$n"
    exit $((failures > 0))
}

quiet_make() {
    make --no-print-directory -s ${BUILD:+BUILD="$BUILD"} "$@"
}
