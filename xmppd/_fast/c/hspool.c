#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hspool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    hs_job *head, *tail;
} fifo;

struct hspool {
    pthread_mutex_t lock;
    pthread_cond_t work; /* something is queued, or stop */
    pthread_cond_t idle; /* a worker ended */
    fifo urgent, queue, done;
    hspool_counts n;
    uint32_t max_queue, waiting; /* waiting: in `queue` */
    int efd, nice, alive, stop;
};

static void push(fifo *f, hs_job *j) {
    j->next = NULL;
    if (f->tail)
        f->tail->next = j;
    else
        f->head = j;
    f->tail = j;
}

static hs_job *pop(fifo *f) {
    hs_job *j = f->head;
    if (j && !(f->head = j->next)) f->tail = NULL;
    return j;
}

static void wake(const hspool *p) {
    uint64_t one = 1;
    while (write(p->efd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* With the lock held. One wake for however many are done until the loop looks. */
static void give_back(hspool *p, hs_job *j) {
    int first = !p->done.head;
    push(&p->done, j);
    if (first) wake(p);
}

static void *worker(void *arg) {
    hspool *p = arg;
    /* Linux: niceness belongs to the thread */
    if (p->nice) setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), p->nice);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        hs_job *j = pop(&p->urgent);
        if (!j && (j = pop(&p->queue))) p->waiting--;
        if (!j) {
            if (p->stop) break;
            pthread_cond_wait(&p->work, &p->lock);
            continue;
        }
        p->n.queued--;
        p->n.running++;
        pthread_mutex_unlock(&p->lock);
        if (!__atomic_load_n(&j->cancelled, __ATOMIC_ACQUIRE)) j->run(j);
        pthread_mutex_lock(&p->lock);
        p->n.running--;
        p->n.done++;
        give_back(p, j);
    }
    p->alive--;
    pthread_cond_broadcast(&p->idle);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static int start_workers(hspool *p, int workers) {
    pthread_attr_t attr;
    sigset_t all, before;
    int err = pthread_attr_init(&attr);
    if (err) return err;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 1 << 20); /* a PKCS#11 module runs on it */
    /* signals are the main thread's business */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < workers; i++) {
        pthread_t t;
        p->alive++;
        if ((err = pthread_create(&t, &attr, worker, p))) {
            p->alive--;
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return err;
}

hspool *hspool_new(int workers, uint32_t max_queue, int nice) {
    if (workers < 1 || workers > 256) {
        errno = EINVAL;
        return NULL;
    }
    hspool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (p->efd < 0) {
        free(p);
        return NULL;
    }
    p->max_queue = max_queue;
    p->nice = nice;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);

    pthread_mutex_lock(&p->lock);
    int err = start_workers(p, workers);
    pthread_mutex_unlock(&p->lock);
    if (err) {
        if (!hspool_stop(p, 1000)) hspool_free(p);
        errno = err;
        return NULL;
    }
    return p;
}

int hspool_eventfd(const hspool *p) {
    return p->efd;
}

int hspool_put(hspool *p, hs_job *j, int urgent) {
    int ok = 0;
    pthread_mutex_lock(&p->lock);
    if (p->stop || (!urgent && p->waiting >= p->max_queue)) {
        ok = -1;
    } else {
        j->cancelled = 0;
        push(urgent ? &p->urgent : &p->queue, j);
        if (!urgent) p->waiting++;
        p->n.queued++;
        pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
    return ok;
}

void hspool_cancel(hs_job *j) {
    __atomic_store_n(&j->cancelled, 1, __ATOMIC_RELEASE);
}

hs_job *hspool_done(hspool *p) {
    uint64_t n;
    /* under the lock: a job that comes in after it finds the list empty and wakes us again */
    pthread_mutex_lock(&p->lock);
    if (read(p->efd, &n, sizeof n) < 0) n = 0;
    hs_job *j = p->done.head;
    p->done.head = p->done.tail = NULL;
    pthread_mutex_unlock(&p->lock);
    return j;
}

void hspool_count(hspool *p, hspool_counts *n) {
    pthread_mutex_lock(&p->lock);
    *n = p->n;
    pthread_mutex_unlock(&p->lock);
}

int hspool_stop(hspool *p, int timeout_ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (timeout_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    for (hs_job *j; (j = pop(&p->urgent)) || (j = pop(&p->queue));) {
        p->n.queued--;
        push(&p->done, j);
    }
    p->waiting = 0;
    pthread_cond_broadcast(&p->work);
    while (p->alive && pthread_cond_timedwait(&p->idle, &p->lock, &until) != ETIMEDOUT) {
    }
    int alive = p->alive;
    pthread_mutex_unlock(&p->lock);
    return alive;
}

void hspool_free(hspool *p) {
    close(p->efd);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->idle);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
