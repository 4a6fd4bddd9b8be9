#include "cli/html.h"

#include <string.h>

static const struct { const char *en, *zh; } words[WORDS] = {
    [W_TITLE] = {"Accuracy report", "精度报告"},
    [W_AGAINST] = {"compared with", "对比基准"},
    [W_PASSED] = {"Passed", "通过"},
    [W_FAILED] = {"Failed", "未通过"},
    [W_MEASURED] = {"No limit is broken.", "没有超出任何限值。"},
    [W_TENSORS] = {"tensors compared", "比较的张量"},
    [W_QUANTIZED] = {"of them quantized", "其中已量化"},
    [W_EQUAL] = {"equal, bit for bit", "逐位相同"},
    [W_SQNR] = {"SQNR of quantized weights", "量化权重 SQNR"},
    [W_REL] = {"relative error", "相对误差"},
    [W_EXACT] = {"values exact", "精确的数值"},
    [W_SATURATED] = {"values saturated", "饱和的数值"},
    [W_FLUSHED] = {"flushed to zero", "归零的数值"},
    [W_OUTPUTS] = {"Outputs of layers", "各层输出"},
    [W_OUTPUTS_NOTE] = {"Energy of each layer's output over that of its error, on inputs that were not fitted to where there are any; the worst first.",
                        "各层输出能量与误差能量之比（如有留出数据，则用留出数据）；最差者在前。"},
    [W_WORDS] = {"End to end", "端到端"},
    [W_PERPLEXITY] = {"perplexity", "困惑度"},
    [W_KL] = {"KL divergence, mean", "KL 散度均值"},
    [W_KL99] = {"99 % below", "99 % 低于"},
    [W_KLMAX] = {"at most", "最大"},
    [W_TOP1] = {"same likeliest token", "首选词元一致率"},
    [W_MADE] = {"How it was made", "量化方式鉴定"},
    [W_MADE_NOTE] = {"Scales beside those that every published rule would give, codes beside the nearest ones.",
                     "将缩放因子与各公开规则的结果比较，将编码与最近编码比较。"},
    [W_GOOD] = {"good", "正常"},
    [W_ODD] = {"odd", "异常"},
    [W_BAD] = {"BAD", "错误"},
    [W_HEAT] = {"Layers and roles", "层与模块"},
    [W_HEAT_NOTE] = {"SQNR in dB of all quantized tensors of a layer and role; experts of a layer are taken together. \"=\" means equal.",
                     "每层每类量化张量的 SQNR（dB）；同层专家合并计算。“=” 表示完全相同。"},
    [W_LAYER] = {"layer", "层"},
    [W_OTHER] = {"other", "其他"},
    [W_DISTRIBUTION] = {"Distribution of SQNR", "SQNR 分布"},
    [W_DISTRIBUTION_NOTE] = {"Quantized tensors by their SQNR in dB. E4M3 rounded to nearest has 31.5 dB, whatever the block.",
                             "按 SQNR（dB）统计的量化张量数。E4M3 就近舍入约为 31.5 dB，与分块无关。"},
    [W_EXPONENTS] = {"Scale exponents", "缩放因子指数"},
    [W_EXPONENTS_NOTE] = {"Blocks by the exponent of their scale, 2^k, on a logarithmic axis.", "按缩放因子指数 2^k 统计的块数（对数轴）。"},
    [W_STEPS] = {"Codes and the nearest", "编码与最近编码的距离"},
    [W_STEPS_NOTE] = {"How many codes away from the nearest at their scale: rounding to nearest has 100 % at 0.", "在其缩放因子下与最近编码相差的级数：就近舍入应全部为 0。"},
    [W_STEP] = {"away", "级"},
    [W_MORE_STEPS] = {"4 and more away", "4 级及以上"},
    [W_WORST] = {"The worst tensors", "误差最大的张量"},
    [W_WORST_NOTE] = {"By relative error. The map shows that of each block of 128 x 128, dark being the worst of the tensor; the frame marks it.",
                      "按相对误差排序。图中每格为 128 x 128 块的相对误差，越深越大；方框标出最差的块。"},
    [W_TENSOR] = {"tensor", "张量"},
    [W_SCHEME] = {"scheme", "方案"},
    [W_SHAPE] = {"shape", "形状"},
    [W_BLOCK] = {"worst block", "最差的块"},
    [W_MISSING] = {"Missing tensors", "缺失的张量"},
    [W_EXTRA] = {"Tensors that the reference has not", "基准中没有的张量"},
    [W_COMMAND] = {"Command", "命令"},
    [W_REFERENCE] = {"reference", "基准模型"},
    [W_MODEL] = {"model", "被测模型"},
    [W_VERSION] = {"made by", "生成工具"},
    [W_COUNT_OF] = {"tensors", "个张量"},
    [W_NONE] = {"Nothing is quantized.", "没有量化的张量。"},
};

const char *html_word(const char *lang, enum word w) { return strcmp(lang, "zh") ? words[w].en : words[w].zh; }

int html_check(const char *lang, struct err *e)
{
    return !strcmp(lang, "en") || !strcmp(lang, "zh") ? 0 : err_set(e, ERR_USAGE, "--lang takes en or zh, not '%s'", lang);
}

void html_escape(FILE *f, const char *s)
{
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c == '&')
            fputs("&amp;", f);
        else if (c == '<')
            fputs("&lt;", f);
        else if (c == '>')
            fputs("&gt;", f);
        else if (c == '"')
            fputs("&quot;", f);
        else
            fputc(c < 32 || c == 127 ? '?' : c, f);
    }
}
