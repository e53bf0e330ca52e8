/* For tests of the HTML reports. */
#ifndef UMBRA_TESTS_SUPPORT_HTML_H
#define UMBRA_TESTS_SUPPORT_HTML_H

/* The file as a string, to be freed; NULL if there is none. */
char *whole_file(const char *path);
/* A path of this process for the name, in static storage until the next call. */
const char *temporary(const char *name);
/* Every element is closed, in the order of nesting, and all is UTF-8. */
void assert_well_formed(const char *html);
/* Ampersands begin known entities, and nothing comes from elsewhere or runs. */
void assert_escaped(const char *html);

#endif
