/* Tells how much of a process's heap is OpenSSL's: preloaded into the server, asked by SIGUSR2 while it is idle.
 *
 * Counts what goes through OpenSSL's allocator (CRYPTO_set_mem_functions) and writes, for each signal, one line
 * "ALL OPENSSL" in bytes in use to the file named by HEAP_REPORT. ALL is malloc's and the blocks of Python's small-object
 * allocator, as its own statistics count them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long openssl_bytes;

/* a chunk costs its usable size and the word in front of it, as mallinfo2 counts it */
static void count(void *p, int sign) {
    if (p) __atomic_add_fetch(&openssl_bytes, sign * (long)(malloc_usable_size(p) + sizeof(size_t)), __ATOMIC_RELAXED);
}

static void *counted_malloc(size_t n, const char *file, int line) {
    (void)file, (void)line;
    void *p = malloc(n);
    count(p, 1);
    return p;
}

static void *counted_realloc(void *p, size_t n, const char *file, int line) {
    (void)file, (void)line;
    count(p, -1);
    void *q = realloc(p, n);
    count(q ? q : p, 1);
    return q;
}

static void counted_free(void *p, const char *file, int line) {
    (void)file, (void)line;
    count(p, -1);
    free(p);
}

static void *of_python(const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found) abort();
    return found;
}

/* "# bytes in allocated blocks        =            1,234,567" of sys._debugmallocstats() */
static size_t python_bytes(void) {
    void (*tell)(FILE *) = (void (*)(FILE *))of_python("_PyObject_DebugMallocStats");
    /* an idle loop waits without the interpreter's lock, and since 3.12 the allocator belongs to an interpreter */
    int (*ensure)(void) = (int (*)(void))of_python("PyGILState_Ensure");
    void (*release)(int) = (void (*)(int))of_python("PyGILState_Release");
    char *text = NULL;
    size_t length;
    FILE *f = open_memstream(&text, &length);
    int state = ensure();
    tell(f);
    release(state);
    fclose(f);
    const char *p = strstr(text, "# bytes in allocated blocks");
    if (!p) abort();
    size_t n = 0;
    for (p = strchr(p, '='); *p && *p != '\n'; p++)
        if (*p >= '0' && *p <= '9') n = n * 10 + (size_t)(*p - '0');
    free(text);
    return n;
}

static void report(int signal_number) {
    (void)signal_number;
    size_t python = python_bytes();
    struct mallinfo2 heap = mallinfo2();
    char text[64];
    int n = snprintf(text, sizeof text, "%zu %ld\n", heap.uordblks + heap.hblkhd + python, openssl_bytes);
    int fd = open(getenv("HEAP_REPORT"), O_CREAT | O_WRONLY | O_APPEND, 0600);
    if (fd >= 0) {
        if (write(fd, text, (size_t)n) != n) abort();
        close(fd);
    }
}

__attribute__((constructor)) static void begin(void) {
    if (!CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free)) abort();
    signal(SIGUSR2, report);
}
