/* Where the time of an engine went (--profile), as a table on stderr. */
#include "cli/cli.h"

/* Seconds that the step takes at least: its bytes and its multiply-adds at the machine's rates. */
static double floor_of(const umbra_profile *p, const umbra_profile_entry *e)
{
    double reading = p->bytes_per_s > 0 ? e->bytes / p->bytes_per_s : 0;
    double multiplying = p->macs_per_s > 0 ? e->macs / p->macs_per_s : 0;
    return reading > multiplying ? reading : multiplying;
}

static double per_second(double amount, double seconds)
{
    return seconds > 0 ? amount / seconds * 1e-9 : 0;
}

static void print_row(const umbra_profile *p, const char *name, const umbra_profile_entry *e,
                      double all, bool has_floor)
{
    fprintf(stderr, "%-18s %9.1f %5.1f %9.3f %9.3f %8.1f %8.1f %8llu", name, e->seconds * 1e3,
            all > 0 ? 100 * e->seconds / all : 0, e->bytes * 1e-9, e->macs * 1e-9,
            per_second(e->bytes, e->seconds), per_second(e->macs, e->seconds),
            (unsigned long long)e->runs);
    if (has_floor)
        fprintf(stderr, " %9.1f", floor_of(p, e) * 1e3);
    fputc('\n', stderr);
}

static void print_phase(const umbra_profile *p, int phase)
{
    static const char *const names[UMBRA_PROFILE_PHASES] = {"prefill", "decode"};
    umbra_profile_entry all = {0};
    double floors = 0;
    for (int i = 0; i < UMBRA_PROFILE_STEPS; i++) {
        const umbra_profile_entry *e = &p->step[phase][i];
        all.seconds += e->seconds;
        all.runs += e->runs;
        all.bytes += i == UMBRA_PROFILE_DISK ? 0 : e->bytes;
        all.macs += e->macs;
        floors += i == UMBRA_PROFILE_DISK ? 0 : floor_of(p, e);
    }
    if (p->rows[phase] == 0)
        return;
    fprintf(stderr, "%s of %llu tokens, %.1f tokens/s\n", names[phase],
            (unsigned long long)p->rows[phase], (double)p->rows[phase] / all.seconds);
    fprintf(stderr, "%-18s %9s %5s %9s %9s %8s %8s %8s %9s\n", "step", "ms", "%", "GB", "GMAC",
            "GB/s", "GMAC/s", "shared", "floor ms");
    for (int i = 0; i < UMBRA_PROFILE_STEPS; i++)
        if (p->step[phase][i].seconds > 0)
            print_row(p, umbra_profile_step_name(i), &p->step[phase][i], all.seconds,
                      floor_of(p, &p->step[phase][i]) > 0 && i != UMBRA_PROFILE_DISK);
    fprintf(stderr, "%-18s %9.1f %5.1f %9.3f %9.3f %8.1f %8.1f %8llu %9.1f\n", "all",
            all.seconds * 1e3, 100.0, all.bytes * 1e-9, all.macs * 1e-9,
            per_second(all.bytes, all.seconds), per_second(all.macs, all.seconds),
            (unsigned long long)all.runs, floors * 1e3);
}

void cli_print_profile(const umbra_profile *p, int threads, const char *kernels)
{
    fprintf(stderr,
            "profile    floor: at %.1f GB/s of plain reads of weights in memory, %.1f GMAC/s from "
            "cache (%d threads, %s kernels)\n",
            p->bytes_per_s * 1e-9, p->macs_per_s * 1e-9, threads, kernels);
    for (int i = 0; i < UMBRA_PROFILE_PHASES; i++)
        print_phase(p, i);
}

void cli_profile_engine(umbra_engine *engine)
{
    umbra_profile p;
    const umbra_memory_plan *plan = umbra_engine_get_plan(engine);
    umbra_engine_get_profile(engine, &p);
    cli_print_profile(&p, plan->threads, plan->kernels);
}
