#!/bin/sh
# Installs the Debian packages named as arguments that are missing: as root, or
# with sudo. Elsewhere it says what is missing and lets the build try.
missing=
for p in "$@"; do
    case $(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null) in
    installed) ;;
    *) missing="$missing $p" ;;
    esac
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "not a Debian system; these packages (or their like) are needed:$missing" >&2
    exit 0
fi
as=
if [ "$(id -u)" != 0 ]; then
    as=sudo
    command -v sudo >/dev/null || { echo "please install:$missing" >&2; exit 0; }
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$as apt-get install -y -q --no-install-recommends $missing >/dev/null 2>&1 ||
    { $as apt-get update -q >/dev/null && $as apt-get install -y -q --no-install-recommends $missing >/dev/null; }
