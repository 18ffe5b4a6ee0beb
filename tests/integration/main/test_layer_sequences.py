#!/usr/bin/env python3
"""Random sequences of create, fail at step k, crash, restart and delete, through the real hcsd. After each the emulator's books
are empty: no layer activated or prepared, no compute system, no disk, share or slot.

    HCSD_SEQUENCES (8), HCSD_SEED (1): how many, and the first one's seed. A failure prints seed and step.
"""

import os
import random
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import host as hosts  # noqa: E402
from host import Faults, Host, in_background, wait_until  # noqa: E402

COUNT = int(os.environ.get("HCSD_SEQUENCES", "8"))
SEED = int(os.environ.get("HCSD_SEED", "1"))
STEPS = 10
# A call of each path and how often it may come before it fails.
FAILING = (("ActivateLayer", 1), ("PrepareLayer", 1), ("GetLayerMountPath", 2), ("GrantVmAccess", 2), ("HcsCreateComputeSystem", 2),
           ("HcsStartComputeSystem", 1), ("HcsModifyComputeSystem", 6), ("CreateSandboxLayer", 1), ("UnprepareLayer", 1),
           ("DeactivateLayer", 1), ("HcsTerminateComputeSystem", 1))


class Sequence:
    """One of them, by its seed."""

    def __init__(self, host, faults, base, seed):
        self.host, self.faults, self.base, self.seed = host, faults, base, seed
        self.random = random.Random(seed)
        self.names, self.history = [], []

    def bundle(self, name, kind):
        host = self.host
        scratch = host.make_scratch(f"s{self.seed}-{name}")
        if kind == "process":
            return host.make_bundle(name, "emu:sleep 3600", base=self.base, scratch=scratch)
        layer = self.base
        windows = {"layerFolders": [layer, scratch], **({"hyperv": {}} if kind == "hyperv" else {})}
        if kind == "linux":
            windows["layerFolders"] = ["C:\\layers\\linux", scratch]
            return host.make_bundle(name, None, base=layer, scratch=scratch, root=None, linux={}, windows=windows,
                                    process={"args": ["emu:sleep", "3600"], "cwd": "/"})
        return host.make_bundle(name, "emu:sleep 3600", base=layer, scratch=scratch, root=None, windows=windows)

    def create(self, fault):
        name = f"c{self.seed}x{len(self.history)}"
        kind = self.random.choice(("process", "process", "hyperv", "linux"))
        self.history.append(f"create {name} ({kind}){' ' + fault if fault else ''}")
        bundle = self.bundle(name, kind)
        return name, in_background(lambda: self.host.ctl("task", "create", "--bundle", bundle, name, ok=False))

    def set_fault(self):
        call, most = self.random.choice(FAILING)
        row = {"call": call, "action": "fail", "hresult": self.random.choice(("0x80070005", "0x80070015", "0xC0370105")),
               "skip": self.random.randrange(most), "count": 1}
        if call in ("ActivateLayer", "PrepareLayer", "DeactivateLayer") and self.random.random() < 0.2:
            row.update(action="crash")
            row.pop("hresult")
        self.faults.set(row)
        return f"{call} {row['action']} after {row['skip']}"

    def crash(self):
        self.host.stop_console()
        self.host.start_console()

    def step(self):
        what = self.random.random()
        if what < 0.35 or not self.names:
            name, join = self.create("")
            if join(200).status == 0:
                self.names.append(name)
        elif what < 0.6:
            fault = self.set_fault()
            name, join = self.create(fault)
            if join(200).status == 0:
                self.names.append(name)
            self.faults.clear()
        elif what < 0.72:
            name, join = self.create("and a crash of hcsd in it")
            self.host.stop_console()
            join(200)
            self.host.start_console()
            if self.host.ctl("task", "state", name, ok=False).status == 0:
                self.names.append(name)
        elif what < 0.8:
            self.history.append("restart")
            self.crash()
        else:
            name = self.names.pop(self.random.randrange(len(self.names)))
            fault = self.set_fault() if self.random.random() < 0.3 else ""
            self.history.append(f"delete {name} {fault}")
            self.host.ctl("task", "delete", name, "--force", ok=False)
            self.faults.clear()

    def left(self):
        books = self.host.books()
        return {key: books[key] for key in ("activated", "prepared", "systems", "disks") if books[key]}

    def run(self):
        for _ in range(STEPS):
            self.step()
        for name in self.names:
            self.host.ctl("task", "delete", name, "--force", ok=False)
        try:
            wait_until("the books are empty", lambda: not self.left(), 60, 0.2)
        except TimeoutError as error:
            raise AssertionError(f"seed {self.seed}, step {len(self.history)}: left {self.left()}\n  " +
                                 "\n  ".join(self.history)) from error


class Sequences(unittest.TestCase):
    def test_nothing_is_left(self):
        host = Host("layer-sequences").boot()
        try:
            emulator = host.unix("C:/emulator")
            shutil.copytree(hosts.EMULATOR, emulator)
            hosts.EMULATOR = emulator
            os.makedirs(host.unix("C:/linux"))
            for name in ("vmlinux", "initrd.img"):
                with open(host.unix(f"C:/linux/{name}"), "wb") as file:
                    file.write(b"boot")
            base = host.make_layer("vmbase", {"hello.txt": b"hello\n"})
            os.makedirs(host.unix(base + "\\UtilityVM\\Files"))
            with open(host.unix(base + "\\UtilityVM\\SystemTemplate.vhdx"), "wb") as file:
                file.write(b"vhdxfile")
            os.makedirs(host.unix("C:/layers/linux"))
            with open(host.unix("C:/layers/linux/layer.vhd"), "wb") as file:
                file.truncate(3 << 20)
            host.write_config(hcs={"library": "C:\\emulator\\vmcompute.dll", "call_seconds": 20}, linux={"boot_files": "C:\\linux"},
                              watchdog={"stall_seconds": 1})
            host.start_console()
            faults = Faults(emulator)
            for seed in range(SEED, SEED + COUNT):
                Sequence(host, faults, base, seed).run()
        finally:
            host.end()


if __name__ == "__main__":
    unittest.main()
