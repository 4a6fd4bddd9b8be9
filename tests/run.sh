#!/bin/sh
# Runs everything that make check proves by running:
#
#   sh tests/run.sh UNIT CLI_DIR [SAMPLES_DIR]
#
# UNIT is the Criterion program; the scripts are CLI_DIR/*/*.sh and, where
# SAMPLES_DIR is given, SAMPLES_DIR/pipelines/*.sh.  Each script runs in a scratch
# directory of its own with
#
#   OCTAVO  the program under test, an absolute path
#   ROOT    the top of the source tree
#   DATA    the shared test data, or empty where there is none
#
# and passes when it exits 0; 77 means skipped (its last line says why).  Lines of a
# script that passes are shown when they begin with "REPORT ".
# TESTS=GLOB runs only the scripts that match, and no unit tests:
#
#   TESTS='*/pack/*' sh tests/run.sh - tests/cli
set -u
LC_ALL=C
export LC_ALL
unset OCTAVO_CPU CDPATH

if [ $# -lt 2 ]; then
    echo "usage: sh tests/run.sh UNIT CLI_DIR [SAMPLES_DIR]" >&2
    exit 2
fi
unit=$1 cli=$2 samples=${3-}

ROOT=$(cd "$(dirname "$0")/.." && pwd) || exit 2
OCTAVO=${OCTAVO:-$ROOT/build/release/octavo}
OCTAVO=$(cd "$(dirname "$OCTAVO")" && pwd)/${OCTAVO##*/} || exit 2
DATA=
[ -d "$ROOT/../shared/data" ] && DATA=$(cd "$ROOT/../shared/data" && pwd)
export ROOT OCTAVO DATA
if [ ! -x "$OCTAVO" ]; then
    echo "tests/run.sh: there is no program $OCTAVO; run make" >&2
    exit 2
fi

# Memory where there is enough of it: the tests write some GB in all and wait for the
# disk after each file.
if [ -z "${TMPDIR-}" ] && [ -w /dev/shm ] &&
    [ "$(df -Pk /dev/shm 2>/dev/null | awk 'END { print int($4 / 1048576) }')" -ge 2 ]; then
    TMPDIR=/dev/shm
fi
scratch=$(mktemp -d "${TMPDIR:-/tmp}/octavo-test-XXXXXX") || exit 2
workers=
finish() {
    for w in $workers; do kill "$w" 2>/dev/null; done
    wait
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# ---- unit tests ------------------------------------------------------------------
passed=0 failed=0 skipped=0
if [ -z "${TESTS-}" ]; then
    "$unit" >"$scratch/unit" 2>&1
    status=$?
    # [====] Synthesis: Tested: 9 | Passing: 9 | Failing: 0 | Crashing: 0
    counts=$(sed -n 's/.*Tested: *\([0-9]*\) *| *Passing: *\([0-9]*\) *| *Failing: *\([0-9]*\) *| *Crashing: *\([0-9]*\).*/\1 \2 \3 \4/p' \
        "$scratch/unit" | tail -n 1)
    set -- $counts
    if [ $# -ne 4 ] || [ "$1" -eq 0 ]; then
        echo "FAIL $unit: exit $status and no count of tests"
        tail -n 30 "$scratch/unit" | sed 's/^/    /'
        failed=1
    else
        passed=$2 failed=$(($3 + $4))
        if [ "$failed" -eq 0 ] && [ "$status" -ne 0 ]; then
            failed=1
        fi
        if [ "$failed" -ne 0 ]; then
            echo "FAIL $unit: $3 failing, $4 crashing, exit $status"
            grep -v '^\[\(PASS\|RUN \|====\)' "$scratch/unit" | tail -n 30 | sed 's/^/    /'
        fi
    fi
fi

# ---- scripts ---------------------------------------------------------------------
: >"$scratch/list"
for s in "$cli"/*/*.sh ${samples:+"$samples"/pipelines/*.sh}; do
    [ -f "$s" ] || continue
    case $s in ${TESTS:-*}) ;; *) continue ;; esac
    s=$(cd "$(dirname "$s")" && pwd)/${s##*/}
    echo "$s" >>"$scratch/list"
done

# Works through the whole list and takes what no other worker has taken: mkdir
# succeeds once.
work() {
    n=0
    while read -r s; do
        n=$((n + 1))
        mkdir "$scratch/$n" 2>/dev/null || continue
        mkdir "$scratch/$n/tmp" "$scratch/$n/cwd"
        (
            cd "$scratch/$n/cwd" || exit 1
            TMPDIR=$scratch/$n/tmp
            export TMPDIR
            exec sh "$s"
        ) >"$scratch/$n/log" 2>&1 </dev/null
        status=$?
        # A pipeline has nothing but its exit status to say that it worked: it must
        # have written a model as well.
        case $s in
        */pipelines/*)
            if [ $status -eq 0 ] && ! find "$scratch/$n/cwd" -name '*.safetensors' -size +0 | grep -q .; then
                echo "it wrote no model" >>"$scratch/$n/log"
                status=1
            fi
            ;;
        esac
        echo $status >"$scratch/$n/status"
        rm -rf "$scratch/$n/cwd" "$scratch/$n/tmp"
    done <"$scratch/list"
}
work & workers="$workers $!"
work & workers="$workers $!"
for w in $workers; do wait "$w"; done
workers=

n=0
while read -r s; do
    n=$((n + 1))
    status=$(cat "$scratch/$n/status" 2>/dev/null || echo lost)
    case $s in "$ROOT"/*) s=${s#"$ROOT"/} ;; esac
    case $status in
    0)
        passed=$((passed + 1))
        sed -n 's/^REPORT //p' "$scratch/$n/log"
        ;;
    77)
        skipped=$((skipped + 1))
        echo "SKIP $s: $(tail -n 1 "$scratch/$n/log")"
        ;;
    *)
        failed=$((failed + 1))
        echo "FAIL $s: exit $status"
        tail -n 30 "$scratch/$n/log" | sed 's/^/    /'
        ;;
    esac
done <"$scratch/list"
if [ "$n" -eq 0 ]; then
    echo "FAIL $cli: no script to run"
    failed=$((failed + 1))
fi

if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
