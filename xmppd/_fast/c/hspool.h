/* A queue of C jobs, a few worker threads, an eventfd that tells the loop when some are done.
 *
 * The workers never see Python: a job is a C function over C data. The owner puts a job, must not touch its data while it
 * is out, and gets it back from `hspool_done` on the thread that reads the eventfd. Every job that was put comes back, a
 * cancelled one too (without having run, if no worker had begun it).
 */
#ifndef XMPPD_HSPOOL_H
#define XMPPD_HSPOOL_H

#include <stdint.h>

typedef struct hs_job {
    struct hs_job *next;
    void (*run)(struct hs_job *);
    int cancelled; /* set with hspool_cancel */
} hs_job;

typedef struct hspool hspool;

typedef struct {
    uint32_t queued;  /* waiting for a worker */
    uint32_t running; /* in a worker's hands */
    uint64_t done;    /* finished since the start */
} hspool_counts;

/* `workers` threads (1..256), at most `max_queue` waiting jobs that are not urgent; NULL and errno when it cannot start.
 * `nice` is added to the workers' niceness, so that the loop comes first. */
hspool *hspool_new(int workers, uint32_t max_queue, int nice);
/* Readable when hspool_done has something. */
int hspool_eventfd(const hspool *);
/* 0, or -1 when the queue is full. An urgent job (one that goes on with what was begun) goes before the others and is
 * never refused. */
int hspool_put(hspool *, hs_job *, int urgent);
void hspool_cancel(hs_job *);
/* The finished jobs, oldest first, linked by `next`; clears the eventfd. */
hs_job *hspool_done(hspool *);
void hspool_count(hspool *, hspool_counts *);
/* Stop: jobs not begun are handed out by `hspool_done` at once; waits for the workers at most `timeout_ms`.
 * Returns how many workers still run; not 0 = the pool must be given up (leaked) with what those jobs hold. */
int hspool_stop(hspool *, int timeout_ms);
/* After hspool_stop returned 0. */
void hspool_free(hspool *);

#endif
