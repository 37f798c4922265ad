/* Work in the caller's thread. */
#ifndef WDASYNC_PYTHON_INLINE_H
#define WDASYNC_PYTHON_INLINE_H

#include "module.h"

/* NULL: no memory. */
struct kit *own_kit(void);

/* False: the process can have no more keys of threads. */
bool kits_init(void);

#endif
