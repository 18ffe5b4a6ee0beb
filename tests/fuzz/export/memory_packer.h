/* Stands in for packer.c, which starts threads: too slow for fuzzers, and tested by test_packer.c. */
#ifndef HCSD_TESTS_MEMORY_PACKER_H
#define HCSD_TESTS_MEMORY_PACKER_H

#include "base/buffer.h"
#include "export/packer.h"

#define MEMORY_PACKER_MAX (8u << 20) /* holes may be as large as a file can be: beyond this it is RESOURCE_EXHAUSTED */

struct packer {
    struct buffer tar;
};

#endif
