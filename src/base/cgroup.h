/* The control groups, version 1 and 2, that this process is in. */
#ifndef UMBRA_BASE_CGROUP_H
#define UMBRA_BASE_CGROUP_H

#include <stdbool.h>

/* Calls visit for the folder of every group that may limit this process by `controller` ("memory",
 * "cpu"), from its own up to the outermost that is mounted here. Some of the folders may not exist,
 * or not be of this controller; a folder may come twice. root is put before every path ("": the
 * machine's own). */
typedef void umbra_cgroup_visitor(void *user, const char *folder, bool v2);
void umbra_cgroup_visit(const char *root, const char *controller, umbra_cgroup_visitor *visit,
                        void *user);

#endif
