# Limits by pattern, those that a scheme should reach, and how many rows are shown.
. "$ROOT/tests/cli/lib.sh"
octavo quantize -q "$MODEL" -o q
octavo quantize -q "$MODEL" --scheme fp8-f32-128x128 -o f32
octavo quantize -q f32 --scheme fp8-ue8m0-128x128 --allow-requantize -o twice
cat >loose <<'END'
# weights, then what is not quantized
*_proj.weight   max-rel=0.03 max-saturated=0 min-cosine=0.999  # comment
re:norm|embed   exact
END
expect_exit 0 "$OCTAVO" verify "$MODEL" q --limits loose
expect_exit 1 "$OCTAVO" verify "$MODEL" twice --limits loose
[ "$(grep -c "' fails --max-rel: 0.0" out)" -eq 28 ] || fail "all 28 tensors by name"
expect_err "tensor 'model.layers.0.mlp.down_proj.weight' fails --max-rel: 0.0" "(and 27 more)"
# The first pattern that matches counts.
printf '*.0.* max-rel=1\n* max-rel=0.03\n' >first
expect_exit 1 "$OCTAVO" verify "$MODEL" twice --limits first
[ "$(grep -c "' fails --max-rel" out)" -eq 21 ] || fail "21 tensors of the other layers"
expect_exit 1 "$OCTAVO" verify "$MODEL" twice --limits first --json
valid_json out
[ "$(grep -c '"ok":false' out)" -eq 21 ] || fail "21 in JSON"
printf '* exact\n' >exact
refused 1 verify -q "$MODEL" q --limits exact
expect_err "values that differ (and 27 more)"
# What a scheme should reach.
expect_exit 0 "$OCTAVO" verify "$MODEL" q --strict
refused 1 verify -q "$MODEL" twice --strict
expect_err "fails --min-sqnr: 28."
octavo quantize -q "$MODEL" --scale-rule floor -o floor
refused 1 verify -q "$MODEL" floor --strict
expect_err "fails --m"
refused 1 verify -q "$MODEL" q --max-flushed 0
expect_err "fails --max-flushed"
# Rows.
for n in 1 3 100; do
    expect_exit 0 "$OCTAVO" verify "$MODEL" q --worst $n
    want=$((n > 28 ? 28 : n))
    [ "$(grep -c '^model.layers.* at \[' out)" -eq $want ] || fail "$want rows"
done
# What is no limit.
while IFS='|' read -r line says; do
    printf "# first\n$line\n" >bad
    refused 2 verify "$MODEL" q --limits bad
    expect_err "bad:2" "$says"
done <<'END'
* max-rel|'max-rel' is no limit
* max-rel=|'' is no number
* max-rel=x|'x' is no number
* max-rel=nan|'nan' is no number
* fast|'fast' is no limit
*|'*' without a limit
END
printf 're:( exact\n' >bad
refused 2 verify "$MODEL" q --limits bad
refused 3 verify "$MODEL" q --limits no-such-file
