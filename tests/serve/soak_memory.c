/* Looks at the memory and the files of a server under load. */
#include "soak_memory.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_SAMPLES = 4096, LEAST_SECONDS_OF_GROWTH = 60 /* less says nothing of it */ };

static long resident_kib(int pid)
{
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = atol(line + 6);
    if (f)
        fclose(f);
    return kib;
}

int soak_open_files(int pid)
{
    char path[64];
    int n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static long most_of(const long *list, int from, int to)
{
    long most = 0;
    for (int i = from; i < to; i++)
        most = list[i] > most ? list[i] : most;
    return most;
}

bool soak_watch(int pid, long budget_kib, time_t end, int seconds)
{
    static long kib[MOST_SAMPLES];
    int n = 0;
    while (time(NULL) < end && n < MOST_SAMPLES) {
        kib[n] = resident_kib(pid);
        if (kib[n++] < 0) {
            fprintf(stderr, "FAILED: the server is gone\n");
            return false;
        }
        sleep(1);
    }
    long all = most_of(kib, 0, n), before = most_of(kib, n / 3, 2 * n / 3),
         last = most_of(kib, 2 * n / 3, n);
    printf("resident: %ld KiB at most of %ld; middle third %ld, last %ld\n", all, budget_kib,
           before, last);
    if (all > budget_kib)
        fprintf(stderr, "FAILED: %ld KiB are more than the budget\n", all);
    bool grows = seconds >= LEAST_SECONDS_OF_GROWTH && last > before + before / 50 + 1024;
    if (grows)
        fprintf(stderr, "FAILED: memory still grows\n");
    return all <= budget_kib && !grows;
}

bool soak_was_killed(const char *path)
{
    char line[256];
    bool killed = false;
    FILE *f = path ? fopen(path, "r") : NULL;
    while (f && fgets(line, sizeof line, f))
        killed |= strncmp(line, "oom_kill ", 9) == 0 && atol(line + 9) > 0;
    if (f)
        fclose(f);
    return killed;
}
