#include "formats/target.h"

#include "formats/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 20 };

enum role tensor_role(const char *name)
{
    bool expert = !strncmp(name, "experts.", 8) || strstr(name, ".experts.")
               || strstr(name, "_exps.");
    return expert ? ROLE_EXPERT : ROLE_DENSE;
}

const struct target_role *form_role(const struct target_form *f, const char *name)
{
    return &f->role[tensor_role(name)];
}

void target_free(struct target *t)
{
    arena_free(&t->mem);
    *t = (struct target){0};
}

/* ---- finding one -------------------------------------------------------------------- */
size_t target_count(void)
{
    return target_file_count;
}

const char *target_id(size_t i)
{
    return target_files[i].id;
}

static size_t common_prefix(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n])
        n++;
    return n;
}

/* Names the targets that share the longest start with id, or all of them. */
static int no_target(const char *id, struct err *e)
{
    size_t best = 0, n = 0;
    char list[2048] = "";
    for (size_t i = 0; i < target_file_count; i++) {
        size_t k = common_prefix(id, target_files[i].id);
        best = k > best ? k : best;
    }
    if (best < 3)
        best = 0;
    for (size_t i = 0; i < target_file_count && n < sizeof list; i++)
        if (common_prefix(id, target_files[i].id) >= best)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "",
                                  target_files[i].id);
    return err_set(e, ERR_USAGE, "there is no target '%s'; %s: %s", id,
                   best ? "the nearest" : "the targets", list);
}

int target_find(struct target *t, const char *id, struct err *e)
{
    for (size_t i = 0; i < target_file_count; i++)
        if (!strcmp(target_files[i].id, id))
            return target_parse(t, (const char *)target_files[i].text, id, e);
    return no_target(id, e);
}

int target_load(struct target *t, const char *path, struct err *e)
{
    size_t n;
    char *text = io_read_file(path, FILE_LIMIT, &n, e);
    if (!text)
        return -1;
    int r = strlen(text) == n ? target_parse(t, text, path, e)
                              : err_set(e, ERR_INPUT, "%s: has a NUL byte", path);
    free(text);
    return r;
}
