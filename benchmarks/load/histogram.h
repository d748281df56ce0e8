/* Latencies in buckets: 64 to each power of two, so a reading is right to 1.6 %. From 1 ns to 2.4 hours. */
#ifndef XMPPD_LOAD_HISTOGRAM_H
#define XMPPD_LOAD_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_BUCKETS (38 * 64)

typedef struct {
    uint64_t count, bucket[HISTOGRAM_BUCKETS];
    int64_t sum_ns, most_ns;
} histogram;

void histogram_add(histogram *h, int64_t ns);
int64_t histogram_at(const histogram *h, double share); /* no less than this share of the values is at or below it, in ns */
void histogram_print(const histogram *h, FILE *to);     /* as a JSON object, microseconds */

#endif
