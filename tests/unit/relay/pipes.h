/* Both sides of a session, for tests: a client's pipes and a process's, each served or used by the test. Every wait has a bound. */
#ifndef HCSD_TEST_RELAY_PIPES_H
#define HCSD_TEST_RELAY_PIPES_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#define PIPES_BOUND_MS 60000u

/* A pipe that the test serves as a client of hcsd does: `path` is what hcsd is given. One instance; overlapped. */
struct served {
    char path[80];
    HANDLE pipe;
};
void served_open(struct served *served, const char *name);
void served_await(struct served *served); /* until somebody has connected */
/* Reads exactly so many bytes of the pattern that begins at `position`, or up to the end; how many. Fails on a wrong byte. */
uint64_t served_expect(struct served *served, uint64_t position, uint64_t size);
void served_write(struct served *served, const char *text);
bool served_at_end(struct served *served); /* waits for the other end to be closed */
void served_close(struct served *served);

/* A process's pipe: `ours` is what HCS would hand out. */
void process_pipe(const char *name, HANDLE *ret_ours, HANDLE *ret_theirs);
/* Writes the pattern from `position`; false when the pipe broke, or after `milliseconds`. *ret_written: how far it came. */
bool process_write(HANDLE theirs, uint64_t position, uint64_t size, unsigned milliseconds, uint64_t *ret_written);
/* Reads what comes until `text` is complete. */
void process_expect(HANDLE theirs, const char *text);
bool process_at_end(HANDLE theirs);

uint8_t pattern_byte(uint64_t position);

#endif
