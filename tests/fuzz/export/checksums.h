/* Sets the checksums of the headers that a reader would come to, so that fuzzing goes beyond the first of them. What a wrong one
 * does is test_tar_reader.c's. */
#ifndef HCSD_TESTS_CHECKSUMS_H
#define HCSD_TESTS_CHECKSUMS_H

#include <stddef.h>
#include <stdint.h>

void set_checksums(uint8_t *tar, size_t size);

#endif
