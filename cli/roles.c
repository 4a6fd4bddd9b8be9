#include "cli/roles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool role_of(const char *name, size_t *layer, char role[ROLE])
{
    const char *end = name + strlen(name), *last = NULL;
    bool numbered = false;
    *layer = 0;
    for (const char *s = name; (s = strchr(s, '.')); s++) {
        const size_t n = strspn(s + 1, "0123456789");
        if (n && n < 5 && s[1 + n] == '.' && !numbered) {
            *layer = (size_t)strtoul(s + 1, NULL, 10);
            last = s + 1 + n;
            numbered = true;
        }
    }
    if (end - name > 7 && !strcmp(end - 7, ".weight"))
        end -= 7;
    const char *part = end;
    while (part > name && part[-1] != '.')
        part--;
    if (!numbered || part <= last)
        part = last && part <= last ? last + 1 : part;
    snprintf(role, ROLE, "%s%.*s", strstr(name, ".experts.") ? "experts " : strstr(name, "shared_expert") ? "shared " : "", (int)(end - part), part);
    return numbered;
}

int roles_of(const struct error_report *r, struct role_sums **role, size_t *n, struct err *e)
{
    size_t cap = 0, layer, at;
    char name[ROLE];
    int bad = 0;
    *role = NULL;
    *n = 0;
    for (size_t i = 0; !bad && i < r->n; i++) {
        if (!r->t[i].scheme || r->t[i].bytes)
            continue;
        role_of(r->t[i].name, &layer, name);
        at = 0;
        while (at < *n && strcmp((*role)[at].name, name))
            at++;
        if (at == *n) {
            if ((bad = mem_grow((void **)role, &cap, *n + 1, sizeof **role, e)))
                break;
            (*role)[*n] = (struct role_sums){.n = 0};
            memcpy((*role)[(*n)++].name, name, ROLE);
        }
        error_add(&(*role)[at].sums, &r->t[i].sums);
        (*role)[at].n++;
    }
    if (bad) {
        free(*role);
        *role = NULL;
    }
    return bad;
}
