/* emu: commands: what a container can run without a process. They use timers and overlapped I/O of the thread pool and
 * have no thread of their own.
 *
 *   emu:exit 7           ends with code 7
 *   emu:sleep 5          waits so many seconds (fractions too)
 *   emu:echo             copies stdin to stdout until stdin ends
 *   emu:print TEXT       writes TEXT and a line end to stdout
 *   emu:error TEXT       the same to stderr
 *   emu:write 1048576    writes so many bytes to stdout: at offset n stands emu_pattern[n % 64]
 *
 * Several are separated by ";" and run in turn; the last one's end is exit code 0 unless `exit` says otherwise. A
 * broken pipe ends the command with 109. */
#ifndef EMULATOR_BROKER_EMU_H
#define EMULATOR_BROKER_EMU_H

#include "broker.h"
#include "pipes.h"

struct process;
struct emu;

/* Is it a command of ours, in quotes or not? */
bool emu_is_command(const char *command_line);

/* Takes the command apart. 87 when it is none that is known. */
struct error *emu_new(struct process *process, const char *command_line, struct emu **ret_emu) ERROR_MUST_CHECK;

/* Locked. Runs it on the child's ends in process->stdio, which are its own from here on. process_emu_ended tells its
 * end, after which the emu frees itself. */
void emu_start(struct emu *emu);

/* Locked. Ends it; process_emu_ended follows. */
void emu_end(struct emu *emu, uint32_t code);

/* One that was never started. */
void emu_free(struct emu *emu);

#endif
