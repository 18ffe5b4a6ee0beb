#!/usr/bin/env python3
"""stdio through the relay, with the real binaries: digests, terminals, and a kill -9 of hcsd in the middle of it.

HCSD_STDIO_MIB is how much goes through stdout (64)."""

import hashlib
import json
import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import BUILD, Host, wait_until  # noqa: E402

CLIENT = os.path.join(BUILD, "tests", "stdio_client.exe")
SIZE = int(os.environ.get("HCSD_STDIO_MIB", "64")) << 20
PATTERN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-\n"
MANY = 100


def digest_of(size):
    digest = hashlib.sha256()
    block = PATTERN * 1024
    for _ in range(size // len(block)):
        digest.update(block)
    digest.update(block[:size % len(block)])
    return "sha256:" + digest.hexdigest()


class Stdio(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host("stdio").boot()
        cls.host.write_config(stdio={"drain_seconds": 30})
        cls.host.start_console()

    @classmethod
    def tearDownClass(cls):
        cls.host.end()

    def client(self, *arguments):
        process = self.host.start(CLIENT, *arguments, stdin=subprocess.PIPE)
        for file in (process.stdin, process.stdout, process.stderr):
            self.addCleanup(file.close)
        return process

    def line(self, process):
        text = process.stdout.readline().decode().strip()
        if not text:
            self.fail(f"stdio_client ended: {process.stderr.read().decode(errors='replace')}")
        return text

    @staticmethod
    def go_on(process):
        process.stdin.write(b"\n")
        process.stdin.flush()

    def kill(self):
        """kill -9 of hcsd; what it printed so far."""
        text = self.host.console_text()
        self.host.stop_console()
        return text

    def exit_of(self, name):
        return self.host.ctl("task", "wait", name).json["exit_status"]

    def test_digest(self):
        bundle = self.host.make_bundle("digest", f"emu:write {SIZE}")
        process = self.client("read", "digest", bundle)
        self.assertEqual("reading", self.line(process))
        self.go_on(process)
        result = json.loads(self.line(process))
        self.assertEqual((SIZE, digest_of(SIZE)), (result["bytes"], result["digest"]))
        self.assertEqual(0, self.exit_of("digest"))
        self.host.ctl("task", "delete", "digest")

    def test_kill_in_the_middle(self):
        bundle = self.host.make_bundle("killed", f"emu:write {SIZE};exit 5")
        process = self.client("read", "killed", bundle)
        self.assertEqual("reading", self.line(process))
        self.kill()
        self.go_on(process)  # output goes on while there is no hcsd
        self.host.start_console()
        result = json.loads(self.line(process))
        self.assertEqual((SIZE, digest_of(SIZE)), (result["bytes"], result["digest"]))
        status = self.exit_of("killed")
        self.assertIn(status, (5, 4294967295), "its code, or unknown when it ended while nobody held a handle")
        text = self.host.console_text()
        self.assertNotIn("bytes were dropped", text)
        self.assertNotIn("without its stdio", text)
        self.host.ctl("task", "delete", "killed")

    def test_terminal(self):
        bundle = self.host.make_bundle("terminal", "emu:echo;exit 3")
        process = self.client("echo", "terminal", bundle, "200")
        self.assertEqual({"lines": 200}, json.loads(self.line(process)))
        self.assertEqual(3, self.exit_of("terminal"))
        self.host.ctl("task", "delete", "terminal")

    def bundles(self, prefix, count):
        for number in range(count):
            self.host.make_bundle(f"{prefix}{number}", "emu:print before;echo;print after")
        return f"C:\\bundles\\{prefix}"

    def threads(self, image, argument=None):
        counts = []
        for pid in self.host.unix_pid(image):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if argument is not None and argument not in file.read().decode(errors="replace").split("\0"):
                    continue
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
                counts.append(int(re.search(r"^Threads:\s*(\d+)", file.read(), re.MULTILINE).group(1)))
        return counts

    def test_kill_with_many_running(self):
        process = self.client("many", str(MANY), "many-", self.bundles("many-", MANY))
        self.assertEqual("running", self.line(process))
        relay = self.threads("hcsd-relay-")
        self.assertEqual(1, len(relay), "one relay process")
        self.assertLessEqual(relay[0], 6, "threads of the relay")
        self.kill()
        self.host.start_console()

        def running():
            tasks = self.host.ctl("task", "ls").json["tasks"]
            return [task for task in tasks if task["id"].startswith("many-") and task["status"] == "running"]

        self.assertEqual(MANY, len(running()), "all run after the restart")

        def few():
            """Those that took the containers up again go away when they have nothing to do."""
            counts = self.threads("hcsd.exe", "--console")
            return counts if counts[0] <= MANY // 2 else None

        hcsd = wait_until("hcsd has no thread for each container", few, 60)
        self.go_on(process)
        self.assertEqual({"ended": MANY}, json.loads(self.line(process)))
        for number in range(MANY):
            self.assertEqual(0, self.exit_of(f"many-{number}"))
            self.host.ctl("task", "delete", f"many-{number}")
        print(f"threads: relay {relay[0]}, hcsd {hcsd[0]}", file=sys.stderr)

    def test_relay_is_killed(self):
        """Containers run on, hcsd says so, and the next container has a new relay."""
        process = self.client("time", "cut", self.host.make_bundle("cut", "emu:print before;sleep 3600"))
        wait_until("it runs", lambda: self.host.ctl("task", "state", "cut", ok=False).status == 0
                   and self.host.ctl("task", "state", "cut").json["status"] == "running")
        relays = self.host.unix_pid("hcsd-relay-")
        for pid in relays:
            os.kill(pid, 9)
        wait_until("hcsd says so", lambda: re.search(r"The stdio relay, process \d+, is gone", self.host.console_text()))
        self.line(process)  # its stdout has come to its end
        self.assertEqual("running", self.host.ctl("task", "state", "cut").json["status"])
        self.host.ctl("task", "kill", "--signal", "9", "cut")
        self.exit_of("cut")
        self.host.ctl("task", "delete", "cut")
        ran = self.host.run(*self.host.ctl_command("task", "run", "--bundle", self.host.make_bundle("next", "emu:print there"), "next"))
        self.assertIn("there", ran.text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
