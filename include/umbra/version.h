/* The version of Umbra: of these headers at compile time, of the linked library at run time.
 *
 * While MAJOR is 0, a new MINOR may change or remove what is declared, and a new PATCH may not: it
 * neither adds nor removes nor changes a declaration. CHANGELOG.md says what changed. */
#ifndef UMBRA_VERSION_H
#define UMBRA_VERSION_H

#include <umbra/export.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UMBRA_VERSION_MAJOR 0 /* of 0.2.0, which the build takes from here */
#define UMBRA_VERSION_MINOR 2 /* of 0.2.0 */
#define UMBRA_VERSION_PATCH 0 /* of 0.2.0 */

/* A version as one number that grows with it: 0.2.0 is 200, 1.2.3 is 10203. For the preprocessor's
 * conditions. */
#define UMBRA_VERSION_OF(major, minor, patch) ((major)*10000 + (minor)*100 + (patch))
/* That of these headers. */
#define UMBRA_VERSION_NUMBER                                                                       \
    UMBRA_VERSION_OF(UMBRA_VERSION_MAJOR, UMBRA_VERSION_MINOR, UMBRA_VERSION_PATCH)

/* The version of the library that runs: "0.2.0". Static storage. Any thread. */
UMBRA_API const char *umbra_version(void);
/* The same as UMBRA_VERSION_NUMBER of the library that runs. A program that was compiled with other
 * headers can refuse it. Any thread. */
UMBRA_API int umbra_version_number(void);

#ifdef __cplusplus
}
#endif
#endif
