"""Calls of hcsd without a process for each."""

import json
import os

from host import BUILD


class Caller:
    """task_caller.exe: see there."""

    def __init__(self, host, emulator):
        self.process = host.start(os.path.join(BUILD, "tests", "task_caller.exe"), host.windows(os.path.join(emulator, "vmcompute.dll")),
                                  stdin=-1)

    def send(self, *fields):
        self.process.stdin.write("\t".join(fields).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"task_caller.exe ended: {self.process.wait()}, {self.process.stderr.read()!r}")
        return json.loads(line)

    def __call__(self, *fields):
        self.send(*fields)
        return self.answer()

    def succeeds(self, *fields):
        return self(*fields)["status"] == "ok"
