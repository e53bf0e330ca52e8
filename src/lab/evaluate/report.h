/* The parts of the HTML report. */
#ifndef UMBRA_LAB_EVALUATE_REPORT_H
#define UMBRA_LAB_EVALUATE_REPORT_H

#include <stdio.h>

#include "lab/evaluate/evaluation.h"

/* Class of a row's lines, and whether it is drawn at all (the oracle is the top of every chart). */
const char *umbra_report_line_style(const umbra_evaluation *e, int row);
/* The shadow with the best recall at m = k, or -1. */
int umbra_report_best(const umbra_evaluation *e);

void umbra_report_headline(const umbra_evaluation *e, FILE *f);
void umbra_report_budget_tables(const umbra_evaluation *e, FILE *f);
void umbra_report_start_table(const umbra_evaluation *e, FILE *f);
void umbra_report_ablations(const umbra_evaluation *e, FILE *f);
void umbra_report_costs(const umbra_evaluation *e, FILE *f);
void umbra_report_data(const umbra_evaluation *e, FILE *f);
void umbra_report_words(const umbra_evaluation *e, FILE *f);

/* x, y: scratch for the points of a line, so many of each. */
size_t umbra_report_points(const umbra_evaluation *e);
void umbra_report_curves(const umbra_evaluation *e, FILE *f, double *x, double *y);
void umbra_report_difficulty(const umbra_evaluation *e, FILE *f, double *x, double *y);
void umbra_report_training(const umbra_evaluation *e, FILE *f, double *x, double *y);
void umbra_report_heat_maps(const umbra_evaluation *e, FILE *f);
void umbra_report_reliability(const umbra_evaluation *e, FILE *f);

/* report_walks.c */
void umbra_report_walks(const umbra_evaluation *e, FILE *f, double *x, double *y);

#endif
