/* What signatures say, in English and in Chinese: the same conversions in the same order. */
#include "calibrate/signature_words.h"

#include <inttypes.h>

static const struct { const char *en, *zh; } words[SENTENCES] = {
    [S_TRANSPOSED] = {"the grid of scales is transposed: each is that of the block across the diagonal (rule %s)",
        "缩放因子网格被转置：每个值属于对角线另一侧的块（规则 %s）"},
    [S_EXCHANGED] = {"rows %" PRIu64 " and %" PRIu64 " of the scales are exchanged (rule %s)",
        "缩放因子的第 %" PRIu64 " 行与第 %" PRIu64 " 行互换（规则 %s）"},
    [S_NEAREST_SATURATED] = {"rounded to nearest, and the largest values saturated, at the scales of %s",
        "就近舍入，最大的数值已饱和；缩放因子规则：%s"},
    [S_NEAREST] = {"rounded to nearest at the scales of %s",
        "就近舍入；缩放因子规则：%s"},
    [S_NEAREST_F32] = {"rounded to nearest, in FP32 arithmetic of another order, at the scales of %s",
        "就近舍入（FP32 运算次序不同）；缩放因子规则：%s"},
    [S_ROUNDED] = {"rounded %s at the scales of %s",
        "%s；缩放因子规则：%s"},
    [S_NEAREST_BF16] = {"rounded to nearest, in BF16 arithmetic, at the scales of %s",
        "就近舍入（BF16 运算）；缩放因子规则：%s"},
    [S_FEW_MOVED] = {"%" PRIu64 " of %" PRIu64 " codes are not the nearest, the first at [%" PRIu64 ",%" PRIu64 "], and all others are",
        "%" PRIu64 " 个编码（共 %" PRIu64 " 个）不是最近编码，首个位于 [%" PRIu64 ",%" PRIu64 "]，其余均为最近编码"},
    [S_SCALES_BF16] = {"the scales, those of %s, were rounded to BF16 after the codes were made",
        "编码完成后缩放因子（规则：%s）又被舍入到 BF16"},
    [S_SCALES_LATER] = {"the scales were rounded to those of %s after the codes were made: the largest code is in every block",
        "编码完成后缩放因子被舍入为规则 %s 的值：每个块都含最大编码"},
    [S_BESIDE] = {"scales of %s, and codes beside the nearest: output-aware or stochastic rounding, or a second one",
        "缩放因子规则：%s；编码偏离最近编码：输出感知舍入、随机舍入或二次舍入"},
    [S_FAR] = {"scales of %s, and codes that are not near: other weights than the original's",
        "缩放因子规则：%s；编码相差甚远：不是原模型的权重"},
    [S_OFF_BY] = {"%" PRIu64 " of %" PRIu64 " scales are not those of %s, the first at [%" PRIu64 ",%" PRIu64 "], off by 2^%d",
        "%" PRIu64 " 个缩放因子（共 %" PRIu64 " 个）不符合规则 %s，首个位于 [%" PRIu64 ",%" PRIu64 "]，相差 2^%d 倍"},
    [S_OFF_LESS] = {"%" PRIu64 " of %" PRIu64 " scales are not those of %s, the first at [%" PRIu64 ",%" PRIu64 "], by less than an exponent",
        "%" PRIu64 " 个缩放因子（共 %" PRIu64 " 个）不符合规则 %s，首个位于 [%" PRIu64 ",%" PRIu64 "]，相差不足一个指数"},
    [S_NO_RULE] = {"rounded to nearest at scales of no rule that is known here",
        "就近舍入；缩放因子不属于任何已知规则"},
    [S_DOUBLED] = {"all values are twice the original's: E4M3FNUZ codes declared as E4M3, or scales that are twice as large",
        "所有数值都是原值的两倍：E4M3FNUZ 编码被标为 E4M3，或缩放因子大了一倍"},
    [S_TIMES] = {"all values are 2^%d times the original's",
        "所有数值都是原值的 2^%d 倍"},
    [S_AS_E4M3] = {"as E4M3 rounded to nearest (31.5 dB)",
        "与 E4M3 就近舍入一致（31.5 dB）"},
    [S_ABOVE_E4M3] = {"better than E4M3 rounded to nearest: scales that are no powers of two, or weights that lie on a grid",
        "优于 E4M3 就近舍入：缩放因子不是 2 的幂，或权重本就在网格上"},
    [S_TWICE] = {"as E4M3 rounded twice, or at random (28.5 dB)",
        "与 E4M3 二次舍入或随机舍入一致（28.5 dB）"},
    [S_BELOW_E4M3] = {"below E4M3 rounded to nearest: output-aware rounding, or scales that are too large",
        "低于 E4M3 就近舍入：输出感知舍入，或缩放因子过大"},
    [S_LIKE_E5M2] = {"as E5M2 (25.5 dB)",
        "与 E5M2 一致（25.5 dB）"},
    [S_AS_E5M2] = {"as E5M2 rounded to nearest (25.5 dB)",
        "与 E5M2 就近舍入一致（25.5 dB）"},
    [S_BELOW_E5M2] = {"below E5M2 rounded to nearest",
        "低于 E5M2 就近舍入"},
    [S_APART] = {"codes and scales do not belong together, or these are other weights (%.1f dB)",
        "编码与缩放因子不匹配，或不是同一权重（%.1f dB）"},
    [S_SATURATED] = {"%" PRIu64 " values are saturated, as by the floor rule",
        "%" PRIu64 " 个数值已饱和，与 floor 规则一致"},
    [S_NAN_CODES] = {"%" PRIu64 " codes are NaN, the first at [%" PRIu64 ",%" PRIu64 "]",
        "%" PRIu64 " 个编码为 NaN，首个位于 [%" PRIu64 ",%" PRIu64 "]"},
    [S_BAD_SCALES] = {"%" PRIu64 " scales are 0, negative or no numbers, the first at [%" PRIu64 ",%" PRIu64 "] is %g",
        "%" PRIu64 " 个缩放因子为 0、负数或非数，首个位于 [%" PRIu64 ",%" PRIu64 "]，其值为 %g"},
    [S_EXACT] = {"all values are exact",
        "所有数值完全一致"},
    [S_BLOCK] = {"the block at [%" PRIu64 ",%" PRIu64 "] is 2^%d times the original's",
        "位于 [%" PRIu64 ",%" PRIu64 "] 的块是原值的 2^%d 倍"},
};

const char *signature_sentence(enum sentence s, bool zh) { return zh ? words[s].zh : words[s].en; }

const char *signature_rounding(enum round_mode r, bool zh)
{
    static const char *const name[ROUNDINGS] = {[ROUND_EVEN] = "就近舍入（相等时取偶）", [ROUND_AWAY] = "就近舍入（相等时远离零）",
                                                [ROUND_DOWN] = "就近舍入（相等时朝向零）", [ROUND_TRUNCATE] = "向零舍入"};
    return zh ? name[r] : rounding_name(r);
}
