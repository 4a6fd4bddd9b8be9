# Any style to any scheme, and to the clothes of every convention.
. "$ROOT/tests/cli/lib.sh"
. "$ROOT/tests/cli/mini/ways.lib"
schemes=$("$OCTAVO" quantize --scheme '?' -n /dev/null 2>&1 | sed -n 's/.*there are: *//p')
[ "$(echo $schemes | wc -w)" -ge 15 ] || fail "the list of schemes, not: $schemes"
to=
for s in $schemes; do
    case $s in *-g128) ;; *) to="$to $s/-" ;; esac # kv_b_proj has 64 columns
done
all_ways "$to"
[ $ways -ge 350 ] && [ $exact -ge 60 ] && [ $few -ge 20 ] || fail "350 ways, not $ways, and 60 exact ones, not $exact (and $few nearly so)"
