# Any style in the clothes of any other.
. "$ROOT/tests/cli/lib.sh"
. "$ROOT/tests/cli/mini/ways.lib"
all_ways "fp8-ue8m0-128x128/deepseek-v4 mxfp4/deepseek-v4 fp8-bf16-128x128/compressed-tensors
    fp8-bf16-channel/compressed-tensors fp8-tensor/modelopt mxfp8/modelopt nvfp4/modelopt mxfp8/ascend-v1
    int8-channel/ascend-v1 fp8-tensor/quark mxfp4/quark fp8-channel/octavo"
[ $ways -ge 250 ] && [ $exact -ge 45 ] || fail "250 ways, not $ways, and 45 exact ones, not $exact"
