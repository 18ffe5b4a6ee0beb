#include "daemon/config.h"

#define AT(field) offsetof(struct config, field)

/* `pipe` and the paths have defaults that config_defaults computes; initial_text is what people read. */
const struct config_key config_keys[] = {
    {"pipe", CONFIG_PIPE, AT(pipe), "\\\\.\\pipe\\hcsd", 0, 0, 0, "", false,
     "The named pipe that hcsd answers on. Below `\\\\.\\pipe\\ProtectedPrefix\\Administrators\\` ordinary users "
     "cannot take "
     "the name while hcsd is down."},
    {"pipe_access", CONFIG_NAMES, AT(pipe_access), "[]", 0, 0, 0, "", true,
     "Users and groups (SIDs, or names as `DOMAIN\\name`) that may use the pipe besides SYSTEM and Administrators. "
     "Whoever "
     "may use the pipe can run containers and write files as SYSTEM: treat them as administrators. Their clients must "
     "not ask "
     "for GENERIC_WRITE, which would allow serving the pipe too, but for GENERIC_READ and FILE_WRITE_DATA (go-winio: "
     "DialPipeAccess). Whoever a reload takes out is disconnected."},
    {"state_dir", CONFIG_PATH, AT(state_dir), "%ProgramData%\\hcsd\\state", 0, 0, 0, "", false,
     "Where hcsd keeps what must survive a crash, and its log. Made with access for SYSTEM and Administrators only; a "
     "folder "
     "that others can write to is refused."},
    {"staging_dir", CONFIG_PATH, AT(staging_dir), "%ProgramData%\\hcsd\\staging", 0, 0, 0, "", false,
     "Where the Host Compute Service puts a layer's files during an export. NTFS, with room for the largest layer; "
     "best on "
     "the volume of the layers. Keep it short, and exclude it from virus scans."},
    {"hcs.library", CONFIG_PATH, AT(hcs_library), "System32's vmcompute.dll", 0, 0, 0, "", false,
     "Another library to use as Host Compute Service, for tests with the emulator."},
    {"hcs.call_seconds", CONFIG_NUMBER, AT(hcs_call_seconds), "240", 240, 1, 3600, "seconds", true,
     "How long one call into the Host Compute Service may take before its caller gets DEADLINE_EXCEEDED."},
    {"hcs.max_lost_calls", CONFIG_NUMBER, AT(hcs_max_lost_calls), "16", 16, 1, 256, "calls", true,
     "How many calls may be lost (never returned) before hcsd ends itself for the service manager to restart it."},
    {"export.workers", CONFIG_NUMBER, AT(export_workers), "2", 2, 1, 64, "processes", true,
     "How many exports run at the same time, each in a worker process."},
    {"export.queue", CONFIG_NUMBER, AT(export_queue), "256", 256, 1, 65536, "jobs", true,
     "How many exports may wait for a worker; one more is refused with RESOURCE_EXHAUSTED."},
    {"watchdog.stall_seconds", CONFIG_NUMBER, AT(watchdog_stall_seconds), "30", 30, 1, 3600, "seconds", true,
     "How long an export or a kill may make no progress before hcsd takes the next step to get it going."},
    {"watchdog.destroy_seconds", CONFIG_NUMBER, AT(watchdog_destroy_seconds), "120", 120, 1, 3600, "seconds", true,
     "How long DestroyLayer may take on a folder in quarantine."},
    {"kill.answer_seconds", CONFIG_NUMBER, AT(kill_answer_seconds), "10", 10, 1, 300, "seconds", true,
     "How long a Kill call waits for the container to end before it answers; the kill goes on."},
    {"stdio.drain_seconds", CONFIG_NUMBER, AT(stdio_drain_seconds), "10", 10, 1, 600, "seconds", true,
     "How long the output of an ended process is kept for a reader that does not take it."},
    {"restart.terminate_survivors", CONFIG_FLAG, AT(restart_terminate_survivors), "false", 0, 0, 0, "", false,
     "Whether containers that are found running when hcsd starts are ended instead of taken up again."},
    {"linux.boot_files", CONFIG_PATH, AT(linux_boot_files), "none", 0, 0, 0, "", false,
     "The folder that the VM of Linux containers boots from: `vmlinux` or `kernel`, and `rootfs.vhd` or `initrd.img`. "
     "Without it they are refused."},
};
const size_t config_key_count = sizeof config_keys / sizeof config_keys[0];
