#!/bin/sh
# Writes the target files as C: sh formats/targets/embed.sh FILE.json... >targets.c
#
# Byte arrays and not string literals, because C11 promises only 4095 characters
# of a literal.  The table is sorted by id, the name of the file without .json,
# in the order of strcmp(): hence LC_ALL=C.
set -eu
LC_ALL=C
export LC_ALL

if [ $# -eq 0 ]; then
    echo "usage: embed.sh FILE.json..." >&2
    exit 2
fi

sorted=$(for f in "$@"; do
    id=${f##*/}
    printf '%s %s\n' "${id%.json}" "$f"
done | sort)

printf '/* Written by formats/targets/embed.sh: edit the JSON files instead. */\n'
printf '#include "formats/target.h"\n'
n=0
while read -r id f; do
    printf '\nstatic const unsigned char text_%d[] = { /* %s */\n' "$n" "$id"
    od -An -v -tx1 "$f" | sed 's/ *\([0-9a-f][0-9a-f]\)/0x\1,/g; s/ *$//'
    printf '0x00};\n'
    n=$((n + 1))
done <<LIST
$sorted
LIST

printf '\nconst struct target_file target_files[] = {\n'
n=0
while read -r id f; do
    printf '    {"%s", text_%d, sizeof text_%d - 1},\n' "$id" "$n" "$n"
    n=$((n + 1))
done <<LIST
$sorted
LIST
printf '};\nconst size_t target_file_count = %d;\n' "$n"
