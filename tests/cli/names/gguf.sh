# From Hugging Face to GGUF and back: names, keys, config.json.
. "$ROOT/tests/cli/lib.sh"
keys() { octavo ls -q --metadata "$1" | grep '^# ' || fail "keys in $1"; }
# The sample with norms in F32, as a GGUF has them.
octavo convert -q "$MODEL" -o zero.gguf
octavo convert -q zero.gguf --names hf -o hf
cp "$MODEL/config.json" hf/config.json
expect_exit 0 "$OCTAVO" verify "$MODEL" hf --require-exact
expect_exit 0 "$OCTAVO" convert hf -o m.gguf
expect_err "39 tensors get GGUF names" "no tokenizer"
keys m.gguf >out
expect_out "general.architecture = llama" "llama.block_count = 4" "llama.context_length = 256" "llama.embedding_length = 256" \
    "llama.feed_forward_length = 464" "llama.attention.head_count = 4" "llama.attention.head_count_kv = 2" \
    "llama.attention.key_length = 64" "llama.attention.value_length = 64" "llama.rope.dimension_count = 64" \
    "llama.attention.layer_norm_rms_epsilon = 9.99999975e-06" "llama.rope.freq_base = 10000" "llama.vocab_size = 256" \
    "general.file_type = 32"
expect_exit 0 "$OCTAVO" ls -q m.gguf
expect_out "blk.3.ffn_down.weight" "output.weight" "token_embd.weight"
refute_out "model." "lm_head"
# back: the same digest, and a config.json with the same values
expect_exit 0 "$OCTAVO" convert m.gguf --names hf -o back
same_digest hf back
valid_json back/config.json
for k in hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim vocab_size \
    max_position_embeddings rope_theta rms_norm_eps hidden_act tie_word_embeddings torch_dtype model_type; do
    a=$(grep "\"$k\"" hf/config.json | tr -d ' ,') b=$(grep "\"$k\"" back/config.json | tr -d ' ,')
    [ "$a" = "$b" ] || fail "$a in config.json, not $b"
done
grep -A1 architectures back/config.json | grep -q LlamaForCausalLM || fail "the class"
# and there again: the same file
octavo convert -q back -o m2.gguf
same m.gguf m2.gguf
# through pipes, threads, one step more
octavo convert -q hf -o - --container gguf -T 4 >p.gguf
same_digest m.gguf p.gguf
cat m.gguf | octavo convert -q - --names hf -o - | octavo convert -q - -o piped
same_digest hf piped
grep -q '"num_hidden_layers": 4' piped/config.json || fail "config.json to travel through a pipe"
octavo convert -q m.gguf -o plain.safetensors
octavo convert -q plain.safetensors --names hf -o texts
same back/config.json texts/config.json     # made of keys that were carried as text
# without --names a GGUF source keeps its names, and no config.json is made
octavo convert -q m.gguf -o stays
[ ! -e stays/config.json ] || fail "no config.json"
same_digest m.gguf stays
# --names hf keeps the names of the source in a GGUF
expect_exit 0 "$OCTAVO" convert hf --names hf -o names.gguf
same_digest hf names.gguf
# BF16: norms become F32, and values stay
octavo convert -q "$MODEL" -o bf16.gguf
expect_exit 0 "$OCTAVO" verify "$MODEL" bf16.gguf --names hf --require-exact
octavo convert -q bf16.gguf --names hf -o bf16
grep -q '"torch_dtype": "bfloat16"' bf16/config.json || fail "the type of most matrices"
# a GGUF becomes a model that serving software loads, with scales and quantization_config
octavo quantize -q bf16.gguf --names hf -o q
octavo quantize -q "$MODEL" -o q2
expect_exit 0 "$OCTAVO" verify q2 q --require-exact
grep -q quantization_config q/config.json && grep -q '"num_attention_heads": 4' q/config.json || fail "a whole config.json"
octavo dequantize -q q -o d.gguf
octavo dequantize -q q2 --names gguf -o d.safetensors
expect_exit 0 "$OCTAVO" verify d.safetensors d.gguf --require-exact
# keys that a person names win; those of another file take the place of all
echo '{"general.name": "other", "llama.rope.freq_base": 5.0}' >k.json
octavo convert -q hf --gguf-metadata k.json -o k.gguf
keys k.gguf >out
expect_out "general.name = other" "llama.rope.freq_base = 5" "llama.block_count = 4"
octavo convert -q hf --gguf-metadata names.gguf -o k2.gguf
octavo ls -q --metadata k2.gguf >out
refute_out "llama.block_count"

# config.json lies beside the GGUF: it holds, and nothing is made
mkdir beside
cp m.gguf beside/m.gguf
sed 's/"rope_theta": 10000.0/"rope_theta": 7.0/' hf/config.json >beside/config.json
octavo convert -q beside --names hf -o b
same beside/config.json b/config.json

# What cannot be said.
edit() { # edit SED: config.json of another model
    rm -rf e
    mkdir e
    cp hf/model.safetensors e
    sed "$1" hf/config.json >e/config.json
}
edit 's/"rope_scaling": null/"rope_scaling": {"rope_type": "longrope", "factor": 2.0}/'
refused 3 convert e -o x.gguf
expect_err "rope_scaling" "longrope"
edit '/"intermediate_size"/d'
refused 3 convert e -o x.gguf
expect_err "intermediate_size" "llama.feed_forward_length"
edit 's/"num_attention_heads": 4/"num_attention_heads": 3/'
refused 3 convert e -o x.gguf
expect_err "model.layers.0.self_attn.q_proj.weight" "3 heads"
edit 's/"model_type": "llama"/"model_type": "gemma3"/'
refused 3 convert e --names gguf -o x.gguf
expect_err "gemma3" "norm"
expect_exit 0 "$OCTAVO" convert e -o unknown.gguf
expect_err "no table of names" "general.architecture"
same_digest hf unknown.gguf
absent x.gguf
# Llama 3: factors are a tensor there and a rule here
edit 's/"rope_scaling": null/"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}/'
expect_exit 0 "$OCTAVO" convert e -o l3.gguf
expect_err "rope_freqs.weight is made"
expect_exit 0 "$OCTAVO" ls -q l3.gguf
grep -q '^rope_freqs.weight *F32 *\[32\]' out || fail "32 factors"
expect_exit 0 "$OCTAVO" convert l3.gguf --names hf -o l3
expect_err "dropped rope_freqs.weight"
same_digest hf l3
tr -d ' \n' <l3/config.json >out
expect_out '"rope_scaling":{"factor":8.0,"high_freq_factor":4.0,"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"}'
# keys that are missing
octavo convert -q hf --gguf-metadata names.gguf -o nokeys.gguf
refused 3 convert nokeys.gguf --names hf -o x
expect_err "general.architecture"
no_temporary .

# A tied model: no classifier of its own on either side.
[ -n "$DATA" ] || skip "the rest needs ../shared/data"
octavo convert -q "$DATA/models/stories260K-hf" -o s.gguf
! octavo ls -q s.gguf | grep -q '^output.weight' || fail "no classifier in the GGUF"
octavo convert -q s.gguf --names hf -o s
grep -q '"tie_word_embeddings": true' s/config.json || fail "a tied classifier"
same_digest "$DATA/models/stories260K.bin" s
same_digest "$DATA/models/stories260K.f32.gguf" s.gguf
octavo convert -q "$DATA/models/stories260K-hf" --gguf-metadata "$DATA/models/stories260K.f32.gguf" -o t.gguf
keys t.gguf >out
expect_out "tokenizer.ggml.tokens = [512 strings]"
