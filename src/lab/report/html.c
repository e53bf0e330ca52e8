/* Text, amounts and charts as HTML and SVG. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "lab/report/html.h"

void umbra_html_text(FILE *f, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        size_t n = umbra_utf8_length(text, left);
        unsigned char c = (unsigned char)*text;
        uint32_t code = n > 0 ? umbra_utf8_decode(text, n) : 0;
        if (c == '&')
            fputs("&amp;", f);
        else if (c == '<')
            fputs("&lt;", f);
        else if (c == '>')
            fputs("&gt;", f);
        else if (c == '"')
            fputs("&quot;", f);
        else if (c == '\'')
            fputs("&#39;", f);
        else if (n == 0 || (code < 0x20 && c != '\n' && c != '\t') ||
                 (code >= 0x7f && code < 0xa0) || (code & 0xfffe) == 0xfffe)
            fputs("\xef\xbf\xbd", f);
        else
            fwrite(text, 1, n, f);
        text += n > 0 ? n : 1;
        left -= n > 0 ? n : 1;
    }
}

void umbra_html_count(FILE *f, uint64_t n)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, n);
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            fputc(',', f);
        fputc(digits[i], f);
    }
}

void umbra_html_percent(FILE *f, double share)
{
    if (isnan(share))
        fputs("–", f);
    else
        fprintf(f, "%.1f", 100 * share);
}

void umbra_html_amount(FILE *f, uint64_t n)
{
    static const char *const units[] = {"", " k", " M", " G", " T"};
    double value = (double)n;
    int unit = 0;
    for (; value >= 1000 && unit < 4; unit++)
        value /= 1000;
    fprintf(f, "%.*f%s", unit == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2, value, units[unit]);
}

void umbra_html_bytes(FILE *f, double bytes)
{
    umbra_html_amount(f, (uint64_t)(bytes > 0 ? bytes + 0.5 : 0));
    fputs(bytes + 0.5 < 1000 ? " B" : "B", f);
}

/* ---- charts ---- */

enum { WIDTH = 360, HEIGHT = 240, LEFT = 42, RIGHT = 12, TOP = 30, BOTTOM = 34 };

static int right_of(const umbra_chart *c)
{
    return (c->width > 0 ? c->width : WIDTH) - RIGHT;
}

static int floor_of(const umbra_chart *c)
{
    return (c->height > 0 ? c->height : HEIGHT) - BOTTOM;
}

static double place(umbra_chart_scale scale, double v)
{
    if (scale == UMBRA_CHART_LOG)
        return log10(v);
    if (scale == UMBRA_CHART_NINES)
        return -log10(1 - (v < 0.9995 ? v : 0.9995));
    return v;
}

static double x_of(const umbra_chart *c, double x)
{
    double low = place(c->x_scale, c->x_low), high = place(c->x_scale, c->x_high);
    return LEFT + (right_of(c) - LEFT) * (place(c->x_scale, x) - low) / (high - low);
}

static double y_of(const umbra_chart *c, double y)
{
    double low = place(c->y_scale, c->y_low), high = place(c->y_scale, c->y_high);
    double t = (place(c->y_scale, y) - low) / (high - low);
    return floor_of(c) - (floor_of(c) - TOP) * (t < 0 ? 0 : t > 1 ? 1 : t);
}

/* 1, 2 or 5 times a power of ten that cuts the range into about n parts. */
static double step_of(double range, int n)
{
    double rough = range / n, power = pow(10, floor(log10(rough))), part = rough / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

static void put_value(FILE *f, umbra_chart_scale scale, double v)
{
    bool share = scale == UMBRA_CHART_PERCENT || scale == UMBRA_CHART_NINES;
    double shown = share ? 100 * v : v;
    fprintf(f, "%.4g", fabs(shown) < 1e-9 ? 0 : shown); /* never "-0" */
}

static void y_tick(FILE *f, const umbra_chart *c, double v)
{
    double y = y_of(c, v);
    fprintf(f, "<path class=\"rule\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" class=\"end\">",
            LEFT, y, right_of(c), LEFT - 6, y + 4);
    put_value(f, c->y_scale, v);
    fputs("</text>\n", f);
}

static void y_ticks(FILE *f, const umbra_chart *c)
{
    static const double nines[] = {0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999};
    if (c->y_scale == UMBRA_CHART_NINES) {
        for (size_t i = 0; i < sizeof nines / sizeof nines[0]; i++)
            if (nines[i] >= c->y_low && nines[i] <= c->y_high)
                y_tick(f, c, nines[i]);
        return;
    }
    int parts = (floor_of(c) - TOP) / 35;
    double step = step_of(c->y_high - c->y_low, parts > 2 ? parts : 2);
    for (double v = ceil(c->y_low / step - 1e-9) * step; v <= c->y_high + step * 1e-9; v += step)
        y_tick(f, c, v);
}

static void x_tick(FILE *f, const umbra_chart *c, double v)
{
    fprintf(f, "<text x=\"%.1f\" y=\"%d\" class=\"mid\">", x_of(c, v), floor_of(c) + 16);
    put_value(f, c->x_scale, v);
    fputs("</text>\n", f);
}

/* 1, 2 and 5 times the powers of ten. */
static void x_ticks_log(FILE *f, const umbra_chart *c)
{
    static const double parts[] = {1, 2, 5};
    for (double power = pow(10, floor(log10(c->x_low))); power <= c->x_high; power *= 10)
        for (int i = 0; i < 3; i++)
            if (power * parts[i] >= c->x_low && power * parts[i] <= c->x_high)
                x_tick(f, c, power * parts[i]);
}

static void x_ticks(FILE *f, const umbra_chart *c)
{
    if (c->x_step < 0)
        return;
    if (c->x_scale == UMBRA_CHART_LOG) {
        x_ticks_log(f, c);
        return;
    }
    double step = c->x_step > 0 ? c->x_step : step_of(c->x_high - c->x_low, 6);
    if (c->whole_x && step < 1)
        step = 1;
    for (double v = ceil(c->x_low / step - 1e-9) * step; v <= c->x_high + step * 1e-9; v += step)
        x_tick(f, c, v);
}

void umbra_chart_begin(FILE *f, const umbra_chart *c)
{
    fputs("<figure>\n<figcaption>", f);
    umbra_html_text(f, c->title);
    fprintf(f,
            "</figcaption>\n<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" "
            "aria-label=\"",
            right_of(c) + RIGHT, floor_of(c) + BOTTOM);
    umbra_html_text(f, c->about);
    fputs("\">\n<title>", f);
    umbra_html_text(f, c->about);
    fputs("</title>\n", f);
    y_ticks(f, c);
    x_ticks(f, c);
    fprintf(f, "<path class=\"axis\" d=\"M%d %dH%d\"/>\n", LEFT, floor_of(c), right_of(c));
    fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"end label\">%s</text>\n", right_of(c),
            floor_of(c) + BOTTOM - 4, c->x_label);
    fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"label\">%s</text>\n", 2, TOP - 18, c->y_label);
}

void umbra_chart_line(FILE *f, const umbra_chart *c, const char *style, const char *name,
                      const double *x, const double *y, int n, bool dots)
{
    bool pen = false;
    fprintf(f, "<g class=\"line %s\"><title>", style);
    umbra_html_text(f, name);
    fputs("</title><path d=\"", f);
    for (int i = 0; i < n; i++) {
        bool there = isfinite(x[i]) && isfinite(y[i]);
        if (there)
            fprintf(f, "%c%.1f %.1f", pen ? 'L' : 'M', x_of(c, x[i]), y_of(c, y[i]));
        pen = there;
    }
    fputs("\"/>", f);
    for (int i = 0; i < n && dots; i++)
        if (isfinite(x[i]) && isfinite(y[i]))
            fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.4\"/>", x_of(c, x[i]), y_of(c, y[i]));
    fputs("</g>\n", f);
}

void umbra_chart_bar(FILE *f, const umbra_chart *c, const char *fill, const char *name,
                     const double x[2], const double y[2])
{
    double left = x_of(c, x[0]), top = y_of(c, y[1]);
    fprintf(f, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"", fill,
            left, top, x_of(c, x[1]) - left, y_of(c, y[0]) - top);
    if (name) {
        fputs("><title>", f);
        umbra_html_text(f, name);
        fputs("</title></rect>\n", f);
    } else {
        fputs("/>\n", f);
    }
}

void umbra_chart_mark(FILE *f, const umbra_chart *c, double x, int row, const char *text)
{
    fprintf(f, "<text x=\"%.1f\" y=\"%d\" class=\"mid\">", x_of(c, x), floor_of(c) + 14 + 14 * row);
    umbra_html_text(f, text);
    fputs("</text>\n", f);
}

void umbra_chart_end(FILE *f)
{
    fputs("</svg>\n</figure>\n", f);
}

void umbra_chart_legend(FILE *f, const char *style, const char *name)
{
    fprintf(f,
            "<li><svg class=\"sample\" viewBox=\"0 0 28 10\" aria-hidden=\"true\">"
            "<g class=\"line %s\"><path d=\"M1 5H27\"/></g></svg>",
            style);
    umbra_html_text(f, name);
    fputs("</li>\n", f);
}

void umbra_chart_legend_fill(FILE *f, const char *fill, const char *name)
{
    fprintf(f,
            "<li><svg class=\"sample\" viewBox=\"0 0 28 10\" aria-hidden=\"true\">"
            "<rect class=\"%s\" x=\"8\" width=\"14\" height=\"10\"/></svg>",
            fill);
    umbra_html_text(f, name);
    fputs("</li>\n", f);
}

/* ---- heat ---- */

/* After the cividis scale (Nunez, Anderton and Renslow, 2018), dark to light. */
static const unsigned char scale[][3] = {
    {0, 34, 78},     {18, 53, 112},   {59, 73, 108},   {87, 93, 109},  {112, 113, 115},
    {138, 134, 120}, {165, 156, 116}, {195, 179, 105}, {225, 204, 85}, {254, 232, 56},
};

static double linear_light(double channel)
{
    double c = channel / 255;
    return c <= 0.04045 ? c / 12.92 : pow((c + 0.055) / 1.055, 2.4);
}

/* Channels of the scale's colour at t. */
static void heat_at(double t, double colour[3])
{
    enum { LAST = sizeof scale / sizeof scale[0] - 1 };
    double at = (t < 0 ? 0 : t > 1 ? 1 : t) * LAST;
    int i = at >= LAST ? LAST - 1 : (int)at;
    for (int c = 0; c < 3; c++)
        colour[c] = round(scale[i][c] + (at - i) * (scale[i + 1][c] - scale[i][c]));
}

void umbra_html_heat_colour(FILE *f, double t)
{
    double colour[3];
    heat_at(t, colour);
    fprintf(f, "#%02x%02x%02x", (unsigned)colour[0], (unsigned)colour[1], (unsigned)colour[2]);
}

void umbra_html_heat(FILE *f, double t)
{
    double colour[3];
    heat_at(t, colour);
    double light = 0.2126 * linear_light(colour[0]) + 0.7152 * linear_light(colour[1]) +
                   0.0722 * linear_light(colour[2]);
    /* Whichever of black and white stands out more (WCAG contrast ratio). */
    bool dark_text = (light + 0.05) / 0.05 > 1.05 / (light + 0.05);
    fputs("background:", f);
    umbra_html_heat_colour(f, t);
    fprintf(f, ";color:%s", dark_text ? "#000" : "#fff");
}
