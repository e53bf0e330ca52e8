/* A made-up evaluation with plausible figures, to look at and to test its outputs with. */
#ifndef UMBRA_TESTS_LAB_EVALUATE_SYNTHETIC_H
#define UMBRA_TESTS_LAB_EVALUATE_SYNTHETIC_H

#include "lab/evaluate/evaluation.h"

/* 16 layers, 64 experts, 8 used; two shadows. hostile: names from files are full of markup, control
 * characters and bad UTF-8. Free with umbra_evaluation_free. */
umbra_evaluation *synthetic_evaluation(bool hostile);

#endif
