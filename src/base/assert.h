/* Assertions: what is true unless Umbra itself is wrong, whatever the input. On in debug and
 * sanitizer builds and where UMBRA_ASSERTIONS is set (CMake), off in others. Input is never checked
 * by them, nor is what the promises to a caller rest on (the memory budget): that is checked in
 * every build. */
#ifndef UMBRA_BASE_ASSERT_H
#define UMBRA_BASE_ASSERT_H

#ifdef UMBRA_ASSERTIONS
#define umbra_assert(condition)                                                                    \
    ((condition) ? (void)0 : umbra_assert_failed(#condition, __FILE__, __LINE__))
#else
#define umbra_assert(condition) ((void)sizeof(!(condition))) /* not evaluated */
#endif

/* Says what does not hold, and where, and aborts. */
_Noreturn void umbra_assert_failed(const char *condition, const char *file, int line);

#endif
