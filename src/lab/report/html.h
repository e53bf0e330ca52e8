/* Pieces of HTML and SVG, and the look that all reports share. Everything that comes from outside
 * goes through umbra_html_text. */
#ifndef UMBRA_LAB_REPORT_HTML_H
#define UMBRA_LAB_REPORT_HTML_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <umbra/status.h>

/* ---- pages ---- */

extern const char *const umbra_html_style[]; /* the style sheet in pieces, up to NULL */

/* From the doctype to <main>. The page's title is title (not escaped) and name (escaped);
 * more_style: pieces that follow the common ones, up to NULL; or NULL. */
void umbra_html_begin_page(FILE *f, const char *title, const char *name,
                           const char *const *more_style);
void umbra_html_end_page(FILE *f);

/* ---- texts and numbers ---- */

/* Escaped for text and for quoted attributes; bad bytes and control characters become U+FFFD. */
void umbra_html_text(FILE *f, const char *text);
/* 45312 -> 45,312 */
void umbra_html_count(FILE *f, uint64_t n);
/* .8734 -> 87.3, and a dash for what is not a number. */
void umbra_html_percent(FILE *f, double share);
/* 1234567 -> 1.23 M */
void umbra_html_amount(FILE *f, uint64_t n);
/* 1234567 -> 1.23 MB */
void umbra_html_bytes(FILE *f, double bytes);

/* ---- charts ---- */

typedef enum umbra_chart_scale {
    UMBRA_CHART_LINEAR,
    UMBRA_CHART_PERCENT, /* shares 0..1 shown as per cent */
    UMBRA_CHART_NINES,   /* shares 0..1 by what lacks to 1: each nine takes as much room */
    UMBRA_CHART_LOG,     /* above 0: equal factors take as much room */
} umbra_chart_scale;

typedef struct umbra_chart {
    const char *title; /* heading (escaped) */
    const char *about; /* for readers who do not see it (escaped) */
    const char *x_label, *y_label;
    double x_low, x_high, y_low, y_high;
    umbra_chart_scale x_scale, y_scale; /* x: no nines */
    double x_step;                      /* between ticks of x; 0: chosen; below 0: no ticks */
    bool whole_x;                       /* ticks of x at whole numbers only */
    int width, height;                  /* of the drawing, in pixels; 0: 360, 240 */
} umbra_chart;

/* A figure with axes, grid and ticks; lines and bars are drawn in between. */
void umbra_chart_begin(FILE *f, const umbra_chart *chart);
/* Points that are not numbers break the line. style: class of the colour. dots: marks the points.
 */
void umbra_chart_line(FILE *f, const umbra_chart *chart, const char *style, const char *name,
                      const double *x, const double *y, int n, bool dots);
/* From (x0, y0) to (x1, y1). fill: class of the colour. name: its title, or NULL. */
void umbra_chart_bar(FILE *f, const umbra_chart *chart, const char *fill, const char *name,
                     const double x[2], const double y[2]);
/* A text under the axis at x; row 0 is that of the ticks, 1 the one below. */
void umbra_chart_mark(FILE *f, const umbra_chart *chart, double x, int row, const char *text);
void umbra_chart_end(FILE *f);

/* A sample of a line's style and its name (escaped), as an item of a <ul class="legend">. */
void umbra_chart_legend(FILE *f, const char *style, const char *name);
/* The same for a colour that fills. */
void umbra_chart_legend_fill(FILE *f, const char *fill, const char *name);

/* "#rrggbb", t in 0..1: a scale that rises in lightness and looks the same to the colour-blind. */
void umbra_html_heat_colour(FILE *f, double t);
/* That colour as background and black or white as text colour, for a style attribute. */
void umbra_html_heat(FILE *f, double t);

#endif
