/* Loaded into a test's child with LD_PRELOAD: makes calls that write to files fail, or the process die in one of them.
 * Calls are counted over all threads; strace's own injection counts those of each thread by itself, and a store that
 * is opened, or written by many tasks, writes from several.
 *
 * SEALED_STORE_FAULT="CALLS HOW FIRST LAST": CALLS is pwrite, fsync, ftruncate, any of these three, which are SQLite's,
 * or all: write, rename, linkat, unlink, mkdir and rmdir too, which are those of our own code. HOW is the number of an error,
 * or "kill"; before either, "half+" has the first call of a pwrite write half of its bytes. FIRST to LAST are the calls
 * that it happens to; LAST 0 is for ever. SEALED_STORE_FAULT_COUNT names a file into which the number of these calls is
 * written at the end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;
static char which[16] = "", how[16] = "";
static long first, last;
static int half;

__attribute__((constructor)) static void begin(void) {
    const char *fault = getenv("SEALED_STORE_FAULT");
    if (fault && sscanf(fault, "%15s %15s %ld %ld", which, how, &first, &last) != 4)
        abort();
    half = !strncmp(how, "half+", 5);
    if (half)
        memmove(how, how + 5, sizeof how - 5);
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("SEALED_STORE_FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld", atomic_load(&calls));
        fclose(file);
    }
}

/* The number of this call if the fault is to happen to it; else 0. */
static long hit(const char *call) {
    int of_sqlite = !strcmp(call, "pwrite") || !strcmp(call, "fsync") || !strcmp(call, "ftruncate");
    if (strcmp(which, "all") && (strcmp(which, "any") || !of_sqlite) && strcmp(which, call))
        return 0;
    long number = atomic_fetch_add(&calls, 1) + 1;
    return first && number >= first && (!last || number <= last) ? number : 0;
}

static int fail(void) {
    if (!strcmp(how, "kill")) {
        kill(getpid(), SIGKILL);
        pause();
    }
    errno = atoi(how);
    return -1;
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "pwrite64");
    long number = hit("pwrite");
    if (!number)
        return real(file, bytes, count, offset);
    if (half && number == first && count > 1) {
        ssize_t written = real(file, bytes, count / 2, offset);
        /* A process that lives sees a short write, and an error when it tries the rest: the next call. */
        return strcmp(how, "kill") ? written : fail();
    }
    return fail();
}

int fsync(int file) {
    static int (*real)(int);
    if (!real)
        real = dlsym(RTLD_NEXT, "fsync");
    return hit("fsync") ? fail() : real(file);
}

int ftruncate64(int file, off64_t length) {
    static int (*real)(int, off64_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "ftruncate64");
    return hit("ftruncate") ? fail() : real(file, length);
}

/* Of a file: what is said to a pipe, or to wake a thread, changes nothing. */
ssize_t write(int file, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "write");
    struct stat about;
    if (fstat(file, &about) || !S_ISREG(about.st_mode))
        return real(file, bytes, count);
    long number = hit("write");
    if (!number)
        return real(file, bytes, count);
    if (half && number == first && count > 1) {
        ssize_t written = real(file, bytes, count / 2);
        return strcmp(how, "kill") ? written : fail();
    }
    return fail();
}

#define OF_NAMES(call, parameters, ...)                                                                                \
    int call parameters {                                                                                              \
        static int(*real) parameters;                                                                                  \
        if (!real)                                                                                                     \
            real = dlsym(RTLD_NEXT, #call);                                                                            \
        return hit(#call) ? fail() : real(__VA_ARGS__);                                                                \
    }

OF_NAMES(rename, (const char *from, const char *to), from, to)
OF_NAMES(linkat, (int at, const char *from, int to_at, const char *to, int flags), at, from, to_at, to, flags)
OF_NAMES(unlink, (const char *path), path)
OF_NAMES(mkdir, (const char *path, mode_t mode), path, mode)
OF_NAMES(rmdir, (const char *path), path)
