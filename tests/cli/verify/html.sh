# The report: one file, whole, the same every time, and nothing in it that a browser would fetch or run.
. "$ROOT/tests/cli/lib.sh"

# well_formed FILE: every tag is closed; no scripts, no addresses.
well_formed() {
    [ "$(head -c 15 "$1")" = '<!DOCTYPE html>' ] || fail "a page in $1"
    ! grep -qiE '<script|https?:|src=|@import|url\(' "$1" || fail "nothing to fetch or run in $1"
    if command -v python3 >/dev/null 2>&1; then
        python3 - "$1" <<'END' || fail "closed tags in $1"
import sys
from html.parser import HTMLParser
class P(HTMLParser):
    open = []
    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)
    def handle_startendtag(self, tag, attrs):
        pass
    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            sys.exit("</%s> closes nothing" % tag)
p = P()
p.feed(open(sys.argv[1], encoding="utf-8").read())
sys.exit(1 if p.open else 0)
END
    fi
}

octavo quantize -q "$MODEL" -o fp8
expect_exit 0 "$OCTAVO" verify -q "$MODEL" fp8 --html r.html -T 1
well_formed r.html
for text in 'Accuracy report' '31.51 dB' 'rounded to nearest at the scales of smallest' 'model.layers.3.self_attn.k_proj.weight' 'down_proj' 'octavo verify -q' "$(digest_of fp8)" "$(digest_of "$MODEL")"; do
    grep -qF "$text" r.html || fail "'$text' in the report"
done
[ "$(grep -o '<svg' r.html | wc -l)" -eq 12 ] || fail "four pictures and eight maps"
expect_exit 0 "$OCTAVO" verify -q "$MODEL" fp8 --html again.html -T 3
sed 's/again.html -T 3/r.html -T 1/' again.html | cmp - r.html || fail "the same report for any number of threads"

# Failed, in Chinese, with what was asked for besides.
octavo calibrate -q "$MODEL" --text "$MODEL/excerpt.txt" --length 64 --limit 640 --no-holdout -o statistics.safetensors
expect_exit 1 "$OCTAVO" verify -q "$MODEL" fp8 --max-rel 0.01 --html zh.html --lang zh --calibration statistics.safetensors --end-to-end --text "$MODEL/excerpt.txt" --length 64 --limit 640
well_formed zh.html
for text in '精度报告' '未通过' 'fails --max-rel' '各层输出' '就近舍入；缩放因子规则' '困惑度' 'lang="zh-CN"'; do
    grep -qF "$text" zh.html || fail "'$text' in the Chinese report"
done

# Names are text, whatever they hold.
safetensors a.safetensors '{"<b>&\"x\".weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"only":{"dtype":"F32","shape":[1],"data_offsets":[16,20]}}'
repeat 5 '\000\000\200\077' >>a.safetensors
safetensors b.safetensors '{"<b>&\"x\".weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
repeat 4 '\000\000\000\100' >>b.safetensors
expect_exit 1 "$OCTAVO" verify -q a.safetensors b.safetensors --html names.html
well_formed names.html
grep -qF '&lt;b&gt;&amp;&quot;x&quot;.weight' names.html || fail "an escaped name"
grep -qF '<code>only</code>' names.html || fail "the tensor that is missing"

# A pipe has no maps; GGUF has other names.
octavo convert -q fp8 -o - | octavo verify -q "$MODEL" - --html pipe.html
well_formed pipe.html
[ "$(grep -o '<svg' pipe.html | wc -l)" -eq 4 ] || fail "four pictures for a pipe"

# Manners.
refused 2 verify "$MODEL" fp8 --html r.html
expect_err "r.html exists"
expect_exit 0 "$OCTAVO" verify -q "$MODEL" fp8 --html r.html -f
refused 2 verify "$MODEL" fp8 --html x.html --lang fr
refused 4 verify -q "$MODEL" fp8 --html no/such/folder/x.html
refused 3 verify -q "$MODEL" no-such-model --html x.html
absent x.html
