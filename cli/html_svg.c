/* The pictures of the report. Colours are classes of the page's style sheet, so that light and dark have their own. */
#include "cli/html.h"
#include "cli/roles.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define W(w) html_word(p->lang, w)

/* ---- colours: SQNR in steps, from what is broken to what is exact -------------------------- */
static const struct { double from; const char *name; } steps[] = {{-INFINITY, "s0"}, {15, "s1"}, {25, "s2"}, {28, "s3"}, {31, "s4"}, {34, "s5"}, {42, "s6"}, {INFINITY, "s7"}};
enum { STEPS = sizeof steps / sizeof *steps };

static const char *colour(double db)
{
    int k = STEPS - 1;
    while (k > 0 && !(db >= steps[k].from))
        k--;
    return steps[k].name;
}

/* ---- layers x roles ---------------------------------------------------------------------------- */
enum { ROLES = 24 };
struct cell {
    struct error_sums sums;
    size_t n;
};
struct heat {
    char role[ROLES][ROLE];
    size_t roles, layers;            /* and one row for what is in none */
    struct cell *cell;               /* [layers + 1][ROLES] */
};

static bool fill(struct heat *t, const struct error_report *r)
{
    char role[ROLE];
    size_t layer;
    for (size_t i = 0; i < r->n; i++)
        if (r->t[i].scheme && role_of(r->t[i].name, &layer, role) && layer + 1 > t->layers && layer < 4096)
            t->layers = layer + 1;
    if (!(t->cell = calloc((t->layers + 1) * ROLES, sizeof *t->cell)))
        return false;
    for (size_t i = 0; i < r->n; i++) {
        if (!r->t[i].scheme)
            continue;
        const bool in = role_of(r->t[i].name, &layer, role) && layer < t->layers;
        size_t k = 0;
        while (k < t->roles && strcmp(t->role[k], role))
            k++;
        if (k == t->roles && k < ROLES)
            memcpy(t->role[t->roles++], role, ROLE);
        if (k == ROLES)
            continue; /* more roles than a page has room for */
        struct cell *c = &t->cell[(in ? layer : t->layers) * ROLES + k];
        error_add(&c->sums, &r->t[i].sums);
        c->n++;
    }
    return true;
}

static void legend(FILE *f, int x, int y)
{
    static const char *const text[] = {"< 15", "15", "25", "28", "31", "34", "42 dB", "="};
    for (int k = 0; k < STEPS; k++)
        fprintf(f, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"44\" height=\"14\"/><text class=\"c\" x=\"%d\" y=\"%d\">%s</text>", steps[k].name, x + 46 * k, y,
                x + 46 * k + 22, y + 26, k ? text[k] : "&lt; 15");
}

void svg_heat(FILE *f, const struct html_page *p)
{
    struct heat t = {.roles = 0};
    if (!fill(&t, p->r) || !t.roles) {
        fprintf(f, "<p>%s</p>", W(W_NONE));
        free(t.cell);
        return;
    }
    const int left = 64, width = 800, over = 8 + (int)strlen(t.role[t.roles - 1]) * 4; /* labels lean to the right */
    const int cell = (width - left - over) / (int)(t.roles > 6 ? t.roles : 6), height = t.layers > 40 ? 15 : 20;
    bool other = false;
    for (size_t k = 0; k < t.roles; k++)
        other |= t.cell[t.layers * ROLES + k].n > 0;
    const size_t rows = t.layers + other;
    size_t longest = 0;
    for (size_t k = 0; k < t.roles; k++)
        longest = strlen(t.role[k]) > longest ? strlen(t.role[k]) : longest;
    const int top = 24 + (int)longest * 9 / 2, bottom = top + (int)rows * height;
    fprintf(f, "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\">", width, bottom + 44);
    for (size_t k = 0; k < t.roles; k++) {
        const int x = left + (int)k * cell + cell / 2;
        fprintf(f, "<text x=\"%d\" y=\"%d\" transform=\"rotate(-40 %d %d)\">", x, top - 8, x, top - 8);
        html_escape(f, t.role[k]);
        fprintf(f, "</text>");
    }
    for (size_t r = 0; r < rows; r++) {
        const int y = top + (int)r * height;
        fprintf(f, "<text class=\"e\" x=\"%d\" y=\"%d\">", left - 8, y + height - 5);
        if (r < t.layers)
            fprintf(f, "%zu", r);
        else
            fprintf(f, "%s", W(W_OTHER));
        fprintf(f, "</text>");
        for (size_t k = 0; k < t.roles; k++) {
            const struct cell *c = &t.cell[r * ROLES + k];
            const double db = error_sqnr(&c->sums);
            const int x = left + (int)k * cell;
            if (!c->n)
                continue;
            fprintf(f, "<g><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>", colour(db), x, y, cell - 1, height - 1);
            if (isinf(db))
                fprintf(f, "<text class=\"c in\" x=\"%d\" y=\"%d\">=</text>", x + cell / 2, y + height - 5);
            else
                fprintf(f, "<text class=\"c in\" x=\"%d\" y=\"%d\">%.*f</text>", x + cell / 2, y + height - 5, cell < 40 ? 0 : 1, db);
            fprintf(f, "<title>");
            html_escape(f, t.role[k]);
            fprintf(f, ", %s %zu: %.2f dB, %zu %s</title></g>", W(W_LAYER), r, db, c->n, W(W_COUNT_OF));
        }
    }
    fprintf(f, "<text class=\"e\" x=\"%d\" y=\"%d\">%s</text>", left - 8, top - 8, W(W_LAYER));
    legend(f, left, bottom + 10);
    fprintf(f, "</svg>");
    free(t.cell);
}

/* ---- bars -------------------------------------------------------------------------------------------- */
struct bar {
    char label[24];
    double height;                   /* of 1 */
    uint64_t n;
    const char *class;
};

static void bars(FILE *f, const struct bar *b, size_t n, bool labels)
{
    const int width = 460, left = 8, top = 22, high = 150, w = (width - 2 * left) / (int)(n > 6 ? n : 6);
    const size_t every = n > 12 ? (n + 11) / 12 : 1;
    fprintf(f, "<svg class=\"half\" viewBox=\"0 0 %d %d\" role=\"img\"><line class=\"axis\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>", width, top + high + 26, left, top + high,
            width - left, top + high);
    for (size_t i = 0; i < n; i++) {
        const int h = b[i].n ? (int)(b[i].height * high) > 2 ? (int)(b[i].height * high) : 2 : 0, x = left + (int)i * w;
        fprintf(f, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"><title>%s: %" PRIu64 "</title></rect>", b[i].class, x, top + high - h, w > 2 ? w - 1 : w, h,
                b[i].label, b[i].n);
        if (labels && b[i].n && w >= 26)
            fprintf(f, "<text class=\"c\" x=\"%d\" y=\"%d\">%" PRIu64 "</text>", x + w / 2, top + high - h - 5, b[i].n);
        if (i % every == 0)
            fprintf(f, "<text class=\"c\" x=\"%d\" y=\"%d\">%s</text>", x + w / 2, top + high + 16, b[i].label);
    }
    fprintf(f, "</svg>");
}

void svg_distribution(FILE *f, const struct html_page *p)
{
    enum { BARS = 24 };
    double low = INFINITY, high = -INFINITY;
    struct bar b[BARS + 1] = {{{0}, 0, 0, NULL}};
    uint64_t most = 0;
    for (size_t i = 0; i < p->r->n; i++) {
        const double db = error_sqnr(&p->r->t[i].sums);
        if (p->r->t[i].scheme && isfinite(db)) {
            low = fmin(low, db);
            high = fmax(high, db);
        }
    }
    if (!(low <= high)) {
        fprintf(f, "<p>%s</p>", W(W_NONE));
        return;
    }
    const double step = fmax(0.1, ceil((high - low) / BARS * 10 + 0.01) / 10);
    low = floor(low / step) * step;
    size_t n = (size_t)((high - low) / step) + 1;
    n = n > BARS ? BARS : n;
    for (size_t i = 0; i < n; i++) {
        snprintf(b[i].label, sizeof b[i].label, "%.1f", low + step * (double)i);
        b[i].class = colour(low + step * ((double)i + 0.5));
    }
    for (size_t i = 0; i < p->r->n; i++) {
        const double db = error_sqnr(&p->r->t[i].sums);
        if (p->r->t[i].scheme && isfinite(db)) {
            const size_t k = (size_t)((db - low) / step);
            b[k < n ? k : n - 1].n++;
        }
    }
    for (size_t i = 0; i < n; i++)
        most = b[i].n > most ? b[i].n : most;
    for (size_t i = 0; i < n; i++)
        b[i].height = (double)b[i].n / (double)most;
    bars(f, b, n, true);
}

void svg_exponents(FILE *f, const struct html_page *p)
{
    uint64_t count[256] = {0}, most = 0;
    int from = 256, to = -1;
    struct bar b[256];
    for (size_t i = 0; i < p->r->n; i++)
        for (int k = 0; p->r->t[i].look && k < 256; k++)
            count[k] += p->r->t[i].look->exponent[k];
    for (int k = 0; k < 256; k++)
        if (count[k]) {
            from = k < from ? k : from;
            to = k;
            most = count[k] > most ? count[k] : most;
        }
    if (to < 0) {
        fprintf(f, "<p>%s</p>", W(W_NONE));
        return;
    }
    for (int k = from; k <= to; k++) {
        struct bar *x = &b[k - from];
        snprintf(x->label, sizeof x->label, "%d", k - 127);
        x->n = count[k];
        x->height = count[k] ? (0.2 + log10((double)count[k])) / (0.2 + log10((double)most)) : 0;
        x->class = "bar";
    }
    bars(f, b, (size_t)(to - from + 1), true);
}

void svg_steps(FILE *f, const struct html_page *p)
{
    uint64_t count[INSPECT_STEPS] = {0}, all = 0;
    const int width = 460, left = 130, high = 26;
    for (size_t i = 0; i < p->r->n; i++)
        for (int k = 0; p->r->t[i].look && k < INSPECT_STEPS; k++) {
            count[k] += p->r->t[i].look->steps[k];
            all += p->r->t[i].look->steps[k];
        }
    if (!all) {
        fprintf(f, "<p>%s</p>", W(W_NONE));
        return;
    }
    fprintf(f, "<svg class=\"half\" viewBox=\"0 0 %d %d\" role=\"img\">", width, 8 + INSPECT_STEPS * (high + 10));
    for (int k = 0; k < INSPECT_STEPS; k++) {
        const double share = (double)count[k] / (double)all;
        const int y = 8 + k * (high + 10), w = count[k] ? (int)(share * (width - left - 90)) + 2 : 0;
        fprintf(f, "<text class=\"e\" x=\"%d\" y=\"%d\">", left - 10, y + 17);
        if (k + 1 < INSPECT_STEPS)
            fprintf(f, "%d %s", k, W(W_STEP));
        else
            fprintf(f, "%s", W(W_MORE_STEPS));
        fprintf(f, "</text><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/><text x=\"%d\" y=\"%d\">%.4g %%</text>", k ? k > 1 ? "s1" : "s3" : "s5", left, y, w, high,
                left + w + 8, y + 17, 100 * share);
    }
    fprintf(f, "</svg>");
}

/* ---- blocks of one tensor: at most 64 x 64 of them, the worst of those that fall together ------------------- */
void svg_map(FILE *f, const struct tensor_error *t)
{
    enum { SIDE = 64, PIXELS = 128 };
    const uint64_t rows = t->map_rows < SIDE ? t->map_rows : SIDE, cols = t->map_cols < SIDE ? t->map_cols : SIDE;
    const double cell = (double)PIXELS / (double)(rows > cols ? rows : cols);
    double low = INFINITY, high = 0;
    float *x = calloc(SIDE * SIDE, sizeof *x);
    if (!x || !t->map || !rows || !cols) {
        free(x);
        return;
    }
    for (uint64_t r = 0; r < t->map_rows; r++)
        for (uint64_t c = 0; c < t->map_cols; c++) {
            float *to = &x[r * rows / t->map_rows * SIDE + c * cols / t->map_cols];
            const float v = t->map[r * t->map_cols + c];
            *to = isnan(v) ? INFINITY : fmaxf(*to, v);
        }
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++)
            if (isfinite(x[r * SIDE + c])) {
                low = fmin(low, (double)x[r * SIDE + c]);
                high = fmax(high, (double)x[r * SIDE + c]);
            }
    fprintf(f, "<svg class=\"map\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.2f %.2f\" role=\"img\">", cell * (double)cols + 2, cell * (double)rows + 2,
            cell * (double)cols + 2, cell * (double)rows + 2);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++) {
            const double v = (double)x[r * SIDE + c], share = !isfinite(v) ? 1 : high > low ? (v - low) / (high - low) : 0;
            fprintf(f, "<rect class=\"m\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill-opacity=\"%.2f\"/>", 1 + cell * (double)c, 1 + cell * (double)r, cell, cell,
                    0.12 + 0.88 * share);
        }
    const uint64_t wr = (t->worst.batch * (t->map_rows / t->batches) + t->worst.row / ERROR_BLOCK) * rows / t->map_rows, wc = t->worst.col / ERROR_BLOCK * cols / t->map_cols;
    fprintf(f, "<rect class=\"w\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"/></svg>", 1 + cell * (double)wc, 1 + cell * (double)wr, cell, cell);
    free(x);
}
