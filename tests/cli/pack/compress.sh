# pack --compress zstd: what zstd undoes to the packed file, and octavo reads as it is.
. "$ROOT/tests/cli/lib.sh"
mini bf16 m
octavo quantize -q m --target nvidia-sm90 -o q
octavo pack -q q --target nvidia-sm90 -o - >plain.octp
for how in zstd zstd:1 zstd:12; do
    expect_exit 0 "$OCTAVO" pack q --target nvidia-sm90 --compress $how -o z.octp -f
    expect_err "compressed:" "-> z.octp"
    [ "$(size_of z.octp)" -lt "$(size_of plain.octp)" ] || fail "fewer bytes"
    same_digest q z.octp
    zstd -q -d -c <z.octp >back.octp
    same plain.octp back.octp
    for t in 1 2 5; do
        octavo pack -q q --target nvidia-sm90 --compress $how -o - -T $t >t.octp
        same z.octp t.octp
    done
    octavo unpack -q z.octp -o whole
    same_digest q whole
    rm -rf whole
done
[ "$(zstd -l z.octp 2>/dev/null | awk 'NR == 2 { print $1 }')" -ge 2 ] || fail "several frames"
# Ranks, too.
octavo quantize -q m --target metax-c500 -o i
octavo pack -q i --target metax-c500 --tp 2 --compress zstd -o ranks
[ "$(ls ranks | wc -l)" -eq 2 ] || fail "two files"
for r in 0 1; do zstd -q -d -c <ranks/rank-0$r-of-2.octp >r$r.octp; done
octavo unpack -q r0.octp r1.octp -o joined
same_digest i joined
# Damage, and what cannot be written.
printf '\377' | dd of=z.octp bs=1 seek=3000 conv=notrunc 2>/dev/null
refused 3 unpack z.octp -o x
absent x
refused 2 pack q --target nvidia-sm90 --compress gzip -o y.octp
refused 2 pack q --target nvidia-sm90 --compress zstd:77 -o y.octp
refused 2 pack q --target nvidia-sm90 --compress zstd
refused 2 pack q --target nvidia-sm90 --compress zstd -o plain.octp
expect_err "plain.octp exists"
refused 4 pack q --target nvidia-sm90 --compress zstd -o no/such/folder/y.octp
[ ! -e /dev/full ] || { expect_exit 4 "$OCTAVO" pack q --target nvidia-sm90 --compress zstd -o /dev/full; expect_err "No space left"; }
refused 3 pack m --target nvidia-sm90 --compress zstd -o y.octp
absent y.octp
no_temporary .
expect_exit 0 "$OCTAVO" pack q --target nvidia-sm90 --compress zstd -o y.octp --json -q
valid_json out
expect_out '"output":"y.octp"'
