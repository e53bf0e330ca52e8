/* Pieces of HTML and SVG. Everything that comes from outside goes through umbra_html_text. */
#ifndef UMBRA_EVALUATE_HTML_H
#define UMBRA_EVALUATE_HTML_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Escaped for text and for quoted attributes; bad bytes and control characters become U+FFFD. */
void umbra_html_text(FILE *f, const char *text);
/* 45312 -> 45,312 */
void umbra_html_count(FILE *f, uint64_t n);
/* .8734 -> 87.3, and a dash for what is not a number. */
void umbra_html_percent(FILE *f, double share);
/* 1234567 -> 1.23 M */
void umbra_html_amount(FILE *f, uint64_t n);

/* ---- line charts ---- */

typedef enum umbra_chart_scale {
    UMBRA_CHART_LINEAR,
    UMBRA_CHART_PERCENT, /* shares 0..1 shown as per cent */
    UMBRA_CHART_NINES,   /* shares 0..1 by what lacks to 1: each nine takes as much room */
} umbra_chart_scale;

typedef struct umbra_chart {
    const char *title; /* heading, not escaped */
    const char *about; /* for readers who do not see it; not escaped */
    const char *x_label, *y_label;
    double x_low, x_high, y_low, y_high;
    umbra_chart_scale x_scale, y_scale; /* x: linear or per cent */
    double x_step;                      /* between ticks of x; 0: chosen */
    bool whole_x;                       /* ticks of x at whole numbers only */
} umbra_chart;

/* A figure with axes, grid and ticks; lines are drawn in between. */
void umbra_chart_begin(FILE *f, const umbra_chart *chart);
/* Points that are not numbers break the line. style: class of the colour. dots: marks the points.
 */
void umbra_chart_line(FILE *f, const umbra_chart *chart, const char *style, const char *name,
                      const double *x, const double *y, int n, bool dots);
void umbra_chart_end(FILE *f);

/* A sample of a line's style and its name (escaped), as an item of a <ul class="legend">. */
void umbra_chart_legend(FILE *f, const char *style, const char *name);

/* "#rrggbb", t in 0..1: a scale that rises in lightness and looks the same to the colour-blind. */
void umbra_html_heat_colour(FILE *f, double t);
/* That colour as background and black or white as text colour, for a style attribute. */
void umbra_html_heat(FILE *f, double t);

#endif
