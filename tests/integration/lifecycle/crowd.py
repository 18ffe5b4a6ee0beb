"""What the tests of crowds share: crowd.exe and what hcsd holds, as seen from the Unix side."""

import json
import os
import subprocess

from host import BUILD, wait_until

# hcsd keeps the threads of a busy moment for some seconds; each costs Wine 976 KiB of private memory. What is compared is hcsd
# at rest, without what its threads cost.
REST_THREADS = 16
THREAD_MEMORY = 976 << 10


def process_status(pid, member):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith(member + ":"):
                return int(line.split()[1])
    raise AssertionError(f"no {member} for {pid}")


def daemon_pid(host):
    """The Unix pid of hcsd itself: its workers have the same image."""
    for pid in host.unix_pid("hcsd.exe"):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"--console" in file.read().split(b"\0"):
                return pid
    raise AssertionError("no hcsd runs")


def memory_at_rest(pid):
    """Private bytes, without threads. Fails when its threads do not go away: none may belong to a container."""
    wait_until("hcsd is at rest", lambda: process_status(pid, "Threads") <= REST_THREADS, 180, 0.5)
    return (process_status(pid, "RssAnon") << 10) - process_status(pid, "Threads") * THREAD_MEMORY


class Crowd:
    """crowd.exe, phase by phase."""

    def __init__(self, host, count, rounds, *phases, bundles=None):
        for index in range(count if bundles is None else bundles):
            host.make_bundle(f"crowd{index}", "emu:sleep 36000")
        windows_pid = host.ctl("version").json["hcsd"]["pid"]
        self.process = host.start(os.path.join(BUILD, "tests", "crowd.exe"), str(windows_pid), str(count), str(rounds),
                                  "C:\\bundles\\crowd", *phases, stdin=subprocess.PIPE)

    def next(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"crowd.exe ended: {self.process.wait()}, {self.process.stderr.read()!r}")
        found = json.loads(line)
        if found.get("errors"):
            raise AssertionError(f"{found['phase']}: {found['errors']} errors, the first: {found['first_error']}")
        return found

    def go_on(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self):
        self.process.communicate(timeout=120)
