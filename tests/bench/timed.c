/* Runs a command and appends a line about it to a file:
 *
 *     timed LOG NAME COMMAND [ARGUMENT]...
 *     NAME wall user sys peak       seconds, seconds, seconds, KiB
 *
 * wait4() gives what time(1) would, which Debian does not always have, and this
 * process is small: what a child inherits of its parent's peak is not its own. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds(struct timeval t) { return (double)t.tv_sec + 1e-6 * (double)t.tv_usec; }

int main(int argc, char **argv)
{
    struct rusage u;
    int status;

    if (argc < 4) {
        fprintf(stderr, "usage: bench-timed LOG NAME COMMAND [ARGUMENT]...\n");
        return 2;
    }
    const double start = now();
    const pid_t child = fork();
    if (child == 0) {
        execvp(argv[3], argv + 3);
        fprintf(stderr, "bench-timed: %s: %s\n", argv[3], strerror(errno));
        _exit(127);
    }
    while (child < 0 || wait4(child, &status, 0, &u) < 0)
        if (child < 0 || errno != EINTR) {
            perror("bench-timed");
            return 4;
        }
    const double wall = now() - start;

    FILE *const f = fopen(argv[1], "a");
    if (!f || fprintf(f, "%s %.6f %.6f %.6f %ld\n", argv[2], wall, seconds(u.ru_utime),
                      seconds(u.ru_stime), u.ru_maxrss) < 0 || fclose(f)) {
        fprintf(stderr, "bench-timed: %s: %s\n", argv[1], strerror(errno));
        return 4;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
