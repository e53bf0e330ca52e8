/* What people are told of a model under Umbra. */
#ifndef UMBRA_UNDER_REPORT_H
#define UMBRA_UNDER_REPORT_H

#include <stdio.h>

#include <umbra/under.h>

/* What a model is called: its file, without the folder. */
const char *umbra_report_name(const char *path);
void umbra_report_plan(FILE *out, const char *path, const umbra_under_stats *s);
void umbra_report_stats(FILE *out, const char *path, const umbra_under_stats *s);
/* One sentence: what sets the pace. */
void umbra_report_verdict(FILE *out, const umbra_under_stats *s);

#endif
