#!/bin/sh
# Client libraries open what Octavo writes:
#
#   sh tests/clients/run.sh [STORY...]
#
# STORY is a Python script of this folder without its suffix; without arguments all run
# (common.py is what they share, unicode.py makes a table of Octavo's).
# OCTAVO is the program (build/release/octavo).  A virtual environment with the packages
# of requirements.txt is made in build/clients/venv and used again while that file stays
# what it is.  Each check is a line; the last line says how many passed and failed.
# Exit 0, 1 when something failed, 4 when Python or the network is missing.
set -eu
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/../.."
ROOT=$PWD
OCTAVO=${OCTAVO:-$ROOT/build/release/octavo}
WORK=$ROOT/build/clients/work
here=$ROOT/tests/clients venv=$ROOT/build/clients/venv
export ROOT OCTAVO WORK PYTHONDONTWRITEBYTECODE=1

die() {
    echo "clients: $*" >&2
    exit 4
}
[ -x "$OCTAVO" ] || die "there is no program $OCTAVO; run make"

if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        die "python3 of version 3.11 or later is needed (apt-get install python3 python3-venv)"
    rm -rf "$venv"
    mkdir -p "${venv%/*}"
    python3 -m venv "$venv" >/dev/null 2>&1 ||
        die "python3 cannot make a virtual environment (apt-get install python3-venv)"
    echo "installing the packages of tests/clients/requirements.txt into build/clients/venv (5.6 GB)" >&2
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-cache-dir -r "$here/requirements.txt" \
        >"$venv.log" 2>&1 ||
        die "pip could not install tests/clients/requirements.txt, for which it needs PyPI and 6 GB of disk" \
            "(build/clients/venv.log)"
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi

if [ $# -eq 0 ]; then
    for s in "$here"/*.py; do
        s=${s##*/}
        [ "$s" = common.py ] || [ "$s" = unicode.py ] || set -- "$@" "${s%.py}"
    done
fi
rm -rf "$WORK"
mkdir -p "$WORK"
: >"$WORK/log"
for s; do
    [ -f "$here/$s.py" ] || die "there is no story '$s' in tests/clients"
    echo "$s"
    # The script's own last line is its sum; here all are summed.
    { "$venv/bin/python" "$here/$s.py" 2>"$WORK/$s.err" || true; } | tee "$WORK/$s.out" |
        sed -n '/^ok \|^not ok \|^skip /s/^/  /p'
    cat "$WORK/$s.out" >>"$WORK/log"
    if ! tail -n 1 "$WORK/$s.out" | grep -q '^[0-9]* passed, [0-9]* failed$'; then
        tail -n 20 "$WORK/$s.err" | sed 's/^/    /'
        echo "not ok $s: it ended early" | tee -a "$WORK/log" | sed 's/^/  /'
    elif grep -q '^not ok ' "$WORK/$s.out"; then
        echo "  what it said is in build/clients/work/$s.err"
    fi
done
passed=$(grep -c '^ok ' "$WORK/log" || true)
failed=$(grep -c '^not ok ' "$WORK/log" || true)
skipped=$(grep -c '^skip ' "$WORK/log" || true)
[ "$((passed + failed))" -gt 0 ] || failed=1
if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
