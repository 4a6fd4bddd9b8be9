# What calibrate reads back, and what it is given: damaged, of another kind, or gone.
. "$ROOT/tests/cli/lib.sh"
head -c 1024 "$MODEL/excerpt.txt" >text
run() { octavo calibrate -q "$MODEL" --text text --length 128 --diagonal "$@"; }

# ---- a directory that is gone on with: its state is a mark and a number of layers, or nothing is done ----
run -o whole/
mkdir half half/layer-00002.safetensors
run -o half/ 2>err && fail "a layer that cannot be written"
rmdir half/layer-00002.safetensors
mark=$(cut -d' ' -f1 half/resume)
[ ${#mark} -eq 64 ] && [ "$(cat half/resume)" = "$mark 2" ] || { cat half/resume; fail "a mark, and two layers"; }
cp -r half kept
for state in "" x -1 0 2x " 2" 5 99 18446744073709551616; do
    rm -rf half
    cp -r kept half
    printf '%s %s\n' "$mark" "$state" >half/resume
    refused 3 calibrate "$MODEL" --text text --length 128 --diagonal -o half/ --resume
    expect_err "half//resume" "damaged"
    absent half/layer-00002.safetensors half/layer-00003.safetensors
done
printf '%s 2' "$mark" >half/resume # cut: the number may have had more digits
refused 3 calibrate "$MODEL" --text text --length 128 --diagonal -o half/ --resume
printf '%s 2\n' "$mark" >half/resume
head -c 1000 kept/hidden >half/hidden
refused 3 calibrate "$MODEL" --text text --length 128 --diagonal -o half/ --resume
expect_err "half//hidden"
cp kept/hidden half/hidden
run -o half/ --resume
same_tree whole half

# ---- what went to a pipe or nowhere is not read again ----
run -o s.safetensors
"$OCTAVO" calibrate "$MODEL" --text text --length 128 --diagonal -o - >piped 2>err </dev/null || { cat err; fail "statistics in a pipe"; }
same s.safetensors piped
expect_exit 0 "$OCTAVO" calibrate "$MODEL" --text text --length 128 --diagonal -o null:

# ---- a file's name that is no text, which metadata would have to say ----
odd=$(printf 'odd\377')
if cp text "$odd" 2>/dev/null; then
    refused 3 calibrate "$MODEL" --text "$odd" --length 128 -o x
    expect_err "octavo.calibration.text" "UTF-8"
    absent x
fi

# ---- config.json of another model: before anything is read or written ----
cp -r "$MODEL" other
chmod -R u+w other
for change in 's/"num_hidden_layers": 4/"num_hidden_layers": 1000000000/|1000000000 layers' 's/"num_hidden_layers": 4/"num_hidden_layers": 5/|model.layers.4.' \
    's/"head_dim": 64/"head_dim": 1073741824/|asks for' 's/"intermediate_size": 464/"intermediate_size": 465/|asks for \[465,256\]' \
    's/"rope_theta": 10000.0/"rope_theta": 0/|rope_theta' 's/"rms_norm_eps": 1e-05/"rms_norm_eps": NaN/|rms_norm_eps'; do
    sed "${change%|*}" "$MODEL/config.json" >other/config.json
    ! cmp -s "$MODEL/config.json" other/config.json || fail "a change: $change"
    refused 3 calibrate other --text text --length 128 --diagonal -o x
    grep -q "^octavo calibrate: other.*${change#*|}" err || { cat err; fail "${change#*|}"; }
    refused 3 verify "$MODEL" other --end-to-end --text text --length 128
    absent x
done

# ---- dumps that are wider than there is memory for ----
{
    printf '\223NUMPY\001\000\166\000'
    printf "%-117s\n" "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 100000), }"
    zeros 400000
} >m.npy
refused 3 calibrate --dumps m.npy -o x -M 1GiB
expect_err "m.npy" "100000 channels" "-M"
absent x
octavo calibrate -q --dumps m.npy -o wide.safetensors -M 1GiB --diagonal --no-holdout
octavo ls wide.safetensors | grep -q '^m.xx .*\[100000\]' || fail "100000 channels"
