/* Symbol visibility: everything is hidden except what carries UMBRA_API. */
#ifndef UMBRA_EXPORT_H
#define UMBRA_EXPORT_H

#if defined(__GNUC__)
/* Marks what the library exports. */
#define UMBRA_API __attribute__((visibility("default")))
#else
#define UMBRA_API
#endif

#endif
