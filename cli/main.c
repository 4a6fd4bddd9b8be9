/* octavo VERB: the command table, --version, help, completion, exit codes. */
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/verbs.h"

#include "formats/io.h"
#include "formats/target.h"
#include "quantizers/kern.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct { const char *name, *title; int (*run)(int, char **, struct err *); } verbs[] = {
    {"ls", "what is in a model: tensors, types, shapes, sizes, schemes", verb_ls},
    {"convert", "GGUF, safetensors, shards, packed files: to safetensors, shards or a pipe, losing nothing", verb_convert},
    {"quantize", "weights to a scheme, in a convention that serving software loads", verb_quantize},
    {"dequantize", "the inverse, to BF16, F16 or F32", verb_dequantize},
    {"calibrate", "statistics of what goes into linear layers, for better rounding", verb_calibrate},
    {"audit", "is one model sound, and how was it made", verb_audit},
    {"verify", "how far one model is from another", verb_verify},
    {"pack", "a chip's own memory layout, in one self-describing file", verb_pack},
    {"unpack", "and back, byte for byte", verb_unpack},
    {"digest", "one number for the contents, equal for file, shards, pipe and packed file", verb_digest},
    {"fit", "does it fit, on how many cards, and how fast can it be at most", verb_fit},
    {"targets", "what each chip takes, and how we know", verb_targets},
};
enum { NVERBS = sizeof verbs / sizeof *verbs };

static void print_usage(FILE *f)
{
    fputs("octavo VERB [OPTION]... [MODEL]...\n"
          "Weights of large language models to FP8 with power-of-two scales, and to the\n"
          "memory layout of the chip that runs them.\n\n", f);
    for (int i = 0; i < NVERBS; i++)
        fprintf(f, "  %-11s %s\n", verbs[i].name, verbs[i].title);
    fputs("\nA MODEL is a .safetensors or GGUF file, a directory, a packed file, or - for a pipe.\n"
          "octavo VERB --help lists options; octavo help VERB opens the manual.\n"
          "Exit: 0 yes, 1 no (a check failed), 2 usage, 3 bad input, 4 system.\n", f);
}

static void print_version(void)
{
    struct err e;
    const struct kern *k = kern_get(&e);
    printf("octavo %s\nkernels: %s\ntargets:", OCTAVO_VERSION, k ? k->name : e.msg);
    for (size_t i = 0; i < target_count(); i++)
        printf(" %s", target_id(i));
    putchar('\n');
}

static int help(int argc, char **argv)
{
    char page[64] = "octavo";
    if (argc > 1)
        snprintf(page, sizeof page, "octavo-%s", argv[1]);
    execlp("man", "man", page, (char *)NULL);
    fprintf(stderr, "octavo: cannot run man: %s\n", strerror(errno));
    return ERR_SYSTEM;
}

static int completion(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "bash")) {
        fprintf(stderr, "octavo: usage: octavo completion bash\n");
        return ERR_USAGE;
    }
    printf("_octavo() {\n    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}\n"
           "    if [ \"$COMP_CWORD\" = 1 ]; then\n        COMPREPLY=($(compgen -W '");
    for (int i = 0; i < NVERBS; i++)
        printf("%s ", verbs[i].name);
    printf("help completion' -- \"$cur\"))\n"
           "    elif [[ $cur == -* ]]; then\n"
           "        COMPREPLY=($(compgen -W \"$(octavo \"$verb\" --list-options 2>/dev/null)\" -- \"$cur\"))\n"
           "    else\n        COMPREPLY=($(compgen -f -- \"$cur\"))\n    fi\n}\n"
           "complete -o filenames -F _octavo octavo\n");
    return 0;
}

/* Temporary files go away; the shell learns which signal it was. */
static void on_signal(int sig)
{
    outfile_abort_all();
    signal(sig, SIG_DFL);
    raise(sig);
}

/* What standard output could not take is found here, not lost. A reader that
 * is gone had enough of a listing: no word about it. */
static int finish(const char *name, int r, struct err *e)
{
    bool late = fflush(stdout) || ferror(stdout);
    if (!r && late) {
        r = ERR_SYSTEM;
        if (errno != EPIPE)
            (void)err_sys(e, "standard output");
    }
    if (r && e->msg[0]) {
        fprintf(stderr, "octavo%s%s: ", *name ? " " : "", name);
        out_text(stderr, e->msg);
        fputc('\n', stderr);
    }
    return r;
}

int main(int argc, char **argv)
{
    /* Freed buffers go back at once: memory stays threads x box. */
    mallopt(M_MMAP_THRESHOLD, 1 << 18);
    signal(SIGPIPE, SIG_IGN); /* errors of write(), with a sentence */
    signal(SIGXFSZ, SIG_IGN);
    const int fatal[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        if (signal(fatal[i], on_signal) == SIG_IGN)
            signal(fatal[i], SIG_IGN); /* nohup, and jobs in the background */
    const char *slash = strrchr(argv[0], '/'), *self = slash ? slash + 1 : argv[0];
    if (!strncmp(self, "octavo-", 7)) {
        argv[0] = (char *)self + 7;
    } else {
        argc--;
        argv++;
    }
    struct err e = {0};
    if (argc < 1) {
        print_usage(stderr);
        return ERR_USAGE;
    }
    if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))
        return print_usage(stdout), finish("", 0, &e);
    if (!strcmp(argv[0], "--version"))
        return print_version(), finish("", 0, &e);
    if (!strcmp(argv[0], "help"))
        return help(argc, argv);
    if (!strcmp(argv[0], "completion"))
        return finish("", completion(argc, argv), &e);
    for (int i = 0; i < NVERBS; i++)
        if (!strcmp(argv[0], verbs[i].name)) {
            int r = verbs[i].run(argc, argv, &e) ? (int)e.kind : 0;
            opt_release();
            return finish(verbs[i].name, r, &e);
        }
    fprintf(stderr, "octavo: there is no verb '%s' (octavo --help lists them)\n", argv[0]);
    return ERR_USAGE;
}
