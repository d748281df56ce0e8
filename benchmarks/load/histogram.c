#include "histogram.h"

static int bucket_of(uint64_t ns) {
    if (ns < 64) return (int)ns;
    int shift = 57 - __builtin_clzll(ns); /* ns >> shift is 64 to 127 */
    int i = (shift + 1) * 64 + (int)((ns >> shift) & 63);
    return i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into a bucket. */
static int64_t top_of(int i) {
    if (i < 64) return i;
    int shift = i / 64 - 1;
    return ((int64_t)(64 + i % 64 + 1) << shift) - 1;
}

void histogram_add(histogram *h, int64_t ns) {
    if (ns < 0) ns = 0;
    h->bucket[bucket_of((uint64_t)ns)]++;
    h->count++;
    h->sum_ns += ns;
    if (ns > h->most_ns) h->most_ns = ns;
}

int64_t histogram_at(const histogram *h, double share) {
    uint64_t want = (uint64_t)(share * (double)h->count + 0.999999), seen = 0;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= want && seen) return top_of(i) < h->most_ns ? top_of(i) : h->most_ns;
    }
    return h->most_ns;
}

void histogram_print(const histogram *h, FILE *to) {
    static const struct {
        const char *name;
        double share;
    } points[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p99.9", .999}};
    fprintf(to, "{\"count\": %llu, \"mean\": %.3f, \"max\": %.3f", (unsigned long long)h->count,
            h->count ? (double)h->sum_ns / (double)h->count / 1e3 : 0, (double)h->most_ns / 1e3);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        fprintf(to, ", \"%s\": %.3f", points[i].name, (double)histogram_at(h, points[i].share) / 1e3);
    fprintf(to, ", \"buckets\": [");
    const char *comma = "";
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (!h->bucket[i]) continue;
        fprintf(to, "%s[%.3f, %llu]", comma, (double)top_of(i) / 1e3, (unsigned long long)h->bucket[i]);
        comma = ", ";
    }
    fprintf(to, "]}");
}
