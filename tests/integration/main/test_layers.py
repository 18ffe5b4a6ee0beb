#!/usr/bin/env python3
"""Layers through the real binaries: storage verbs, mounts, and containers in utility VMs, seen in the emulator's books."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import Host, in_background, wait_until  # noqa: E402


class Layers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host("layers").boot()
        boot = cls.host.unix("C:/linux")
        os.makedirs(boot)
        for name in ("vmlinux", "initrd.img"):
            with open(os.path.join(boot, name), "wb") as file:
                file.write(b"boot")
        cls.host.write_config(linux={"boot_files": "C:\\linux"}, watchdog={"stall_seconds": 5})
        cls.host.start_console()
        cls.base = cls.make_base(cls.host)

    @classmethod
    def tearDownClass(cls):
        cls.host.end()

    @staticmethod
    def make_base(host, name="vmbase"):
        """A base layer with a utility VM."""
        base = host.make_layer(name, {"hello.txt": b"hello\n"})
        vm = host.unix(base + "\\UtilityVM")
        os.makedirs(os.path.join(vm, "Files"))
        with open(os.path.join(vm, "SystemTemplate.vhdx"), "wb") as file:
            file.write(b"vhdxfile")
        return base

    def linux_layer(self, name, size):
        folder = self.host.unix(f"C:/layers/{name}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "layer.vhd"), "wb") as file:
            file.truncate(size)
        return f"C:\\layers\\{name}"

    def bundle(self, name, command="emu:sleep 3600", layers=None, hyperv=True, **changes):
        scratch = self.host.make_scratch(f"{name}-scratch")
        windows = {"layerFolders": [*(layers or [self.base]), scratch]}
        if hyperv:
            windows["hyperv"] = {}
        return self.host.make_bundle(name, command, base=self.base, scratch=scratch, root=None, windows=windows, **changes)

    def systems(self):
        return self.host.books()["systems"]

    def assert_nothing_left(self):
        def empty():
            books = self.host.books()
            return not (books["prepared"] or books["activated"] or books["systems"] or books["disks"])
        wait_until("the books are empty", empty, 30)
        listed = self.host.ctl("layer", "ls").json
        self.assertEqual([], listed["utility_vms"])
        machines = self.host.unix("C:/ProgramData/hcsd/state/machines")
        self.assertEqual([], [name for name in os.listdir(machines) if name.endswith(".json")])

    # ---- Hyper-V isolation ---------------------------------------------------------------------------------------

    def test_windows_container_in_a_vm(self):
        host = self.host
        data = host.unix("C:/data")
        os.makedirs(data, exist_ok=True)
        bundle = self.bundle("xenon", mounts=[{"destination": "C:\\data", "source": "C:\\data", "options": ["ro"]}])
        host.ctl("task", "create", "--bundle", bundle, "xenon")
        systems = self.systems()
        self.assertEqual({"xenon", "xenon@vm"}, set(systems))
        machine = systems["xenon@vm"]["machine"]
        self.assertEqual(2, len(machine["shares"]) - 1, "the layer and the folder are shared, besides the VM's own")
        (slots,) = machine["scsi"].values()
        self.assertEqual({"0", "1"}, set(slots))
        self.assertTrue(slots["0"]["Path"].lower().endswith("xenon-scratch\\vm\\sandbox.vhdx"), slots)
        self.assertTrue(slots["1"]["Path"].lower().endswith("xenon-scratch\\sandbox.vhdx"), slots)
        self.assertEqual(["c:\\mounts\\scsi\\m0"], list(machine["combined"]))
        vms = host.ctl("layer", "ls").json["utility_vms"]
        self.assertEqual([("xenon@vm", "windows", "running", 1, 1)],
                         [(vm["id"], vm["os"], vm["state"], vm["containers"], vm["disks"]) for vm in vms])
        # Its layers are nobody else's.
        error = host.refused("layer", "destroy", "--layer", self.base)
        self.assertEqual("FAILED_PRECONDITION", error["code"])
        self.assertIn("container xenon", error["message"])
        host.ctl("task", "start", "xenon")
        host.ctl("task", "kill", "--signal", "9", "xenon")
        host.ctl("task", "wait", "xenon")
        host.ctl("task", "delete", "xenon")
        self.assert_nothing_left()

    def test_container_that_ends_by_itself_is_released(self):
        host = self.host
        bundle = self.bundle("short", "emu:exit 3")
        host.ctl("task", "create", "--bundle", bundle, "short")
        host.ctl("task", "start", "short")
        self.assertEqual(3, host.ctl("task", "wait", "short").json["exit_status"])
        self.assert_nothing_left()
        host.ctl("task", "delete", "short")

    def test_older_builds_keep_the_v1_document(self):
        host = self.host
        bundle = self.bundle("old")
        shown = host.ctl("task", "create", "--dry-run", "--os-build", "17762", "--bundle", bundle, "old").json
        self.assertIn("HvPartition", json.dumps(shown))
        shown = host.ctl("task", "create", "--dry-run", "--os-build", "17763", "--bundle", bundle, "old").json
        self.assertIn("HostingSystemId", json.dumps(shown))
        self.assertNotIn("HvPartition", json.dumps(shown))

    def test_vm_that_breaks_takes_its_container_along(self):
        host = self.host
        bundle = self.bundle("broken")
        host.ctl("task", "create", "--bundle", bundle, "broken")
        host.ctl("task", "start", "broken")
        from host import EMULATOR
        host.run(os.path.join(EMULATOR, "hcsemu.exe"), "--break", "broken@vm")
        host.ctl("task", "wait", "broken")
        self.assert_nothing_left()
        host.ctl("task", "delete", "broken")

    # ---- Linux ----------------------------------------------------------------------------------------------------

    def test_linux_container(self):
        host = self.host
        small, large = self.linux_layer("small", 3 << 20), self.linux_layer("large", 5 << 30)
        bundle = self.bundle("lcow", None, layers=[small, large], hyperv=False, linux={},
                             process={"args": ["emu:exit", "4"], "cwd": "/"},
                             mounts=[{"destination": "/proc", "type": "proc", "source": "proc"}])
        host.ctl("task", "create", "--bundle", bundle, "lcow")
        machine = self.systems()["lcow@vm"]["machine"]
        self.assertEqual(1, len(machine["pmem"]), "the small layer is in memory")
        (slots,) = machine["scsi"].values()
        self.assertEqual(2, len(slots), "the large layer and the scratch are disks")
        self.assertEqual(["/run/gcs/c/lcow/rootfs"], list(machine["combined"]))
        host.ctl("task", "start", "lcow")
        self.assertEqual(4, host.ctl("task", "wait", "lcow").json["exit_status"])
        host.ctl("task", "delete", "lcow")
        self.assert_nothing_left()

    def test_create_that_fails_leaves_nothing(self):
        host = self.host
        bundle = self.bundle("nofile", mounts=[{"destination": "C:\\x", "source": "C:\\not\\there"}])
        error = host.refused("task", "create", "--bundle", bundle, "nofile")
        self.assertEqual("NOT_FOUND", error["code"])
        self.assert_nothing_left()

    # ---- a pod ----------------------------------------------------------------------------------------------------

    def pod(self, name, sandbox):
        role = "sandbox" if name == sandbox else "container"
        return self.bundle(name, annotations={"io.kubernetes.cri.container-type": role, "io.kubernetes.cri.sandbox-id": sandbox})

    def create(self, name, sandbox):
        return self.host.ctl("task", "create", "--bundle", self.pod(name, sandbox), name, ok=False)

    def test_64_containers_in_one_vm(self):
        host = self.host
        self.assertEqual(0, self.create("pod", "pod").status)
        host.ctl("task", "start", "pod")
        for first in range(1, 63, 8):
            joins = [in_background(self.create, f"pod-{i}", "pod") for i in range(first, min(first + 8, 63))]
            for join in joins:
                self.assertEqual(0, join(240).status)
        machine = self.systems()["pod@vm"]["machine"]
        self.assertEqual(63, len(machine["combined"]))
        error = host.refused("task", "create", "--bundle", self.pod("pod-63", "pod"), "pod-63")
        self.assertEqual("RESOURCE_EXHAUSTED", error["code"])
        self.assertIn("SCSI slots", error["message"])
        self.assertIn("64", error["message"])
        self.assertEqual(machine, self.systems()["pod@vm"]["machine"], "the attempt left something")
        host.ctl("task", "delete", "pod-7")
        self.assertEqual(0, self.create("pod-63", "pod").status)
        names = ["pod", *(f"pod-{i}" for i in range(1, 64) if i != 7)]
        for first in range(0, len(names), 8):
            joins = [in_background(lambda name: host.ctl("task", "delete", name, "--force"), name) for name in names[first:first + 8]]
            for join in joins:
                join(240)
        self.assert_nothing_left()

    def test_pod_without_a_common_vm(self):
        """What cannot be in one VM is no pod: nobody gets a VM of his own in silence."""
        host = self.host
        kind, sandbox = "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"

        def with_endpoint(name, role):
            bundle = self.bundle(name, annotations={kind: role, sandbox: "pod"})
            path = host.unix(bundle + "\\config.json")
            with open(path, encoding="utf-8") as file:
                spec = json.load(file)
            spec["windows"]["network"] = {"endpointList": ["8f9b2d1e-0000-0000-0000-000000000001"]}
            with open(path, "w", encoding="utf-8") as file:
                json.dump(spec, file)
            return bundle

        for first, second, why in (("hosted", "v1", "cannot be put into"), ("v1", "hosted", "v1 document")):
            bundle = self.pod("pod", "pod") if first == "hosted" else with_endpoint("pod", "sandbox")
            host.ctl("task", "create", "--bundle", bundle, "pod")
            host.ctl("task", "start", "pod")
            bundle = self.pod("app", "pod") if second == "hosted" else with_endpoint("app", "container")
            error = host.refused("task", "create", "--bundle", bundle, "app")
            self.assertEqual("UNIMPLEMENTED", error["code"], error)
            self.assertIn(why, error["message"])
            host.ctl("task", "delete", "pod", "--force")
            self.assert_nothing_left()

    # ---- after a crash -------------------------------------------------------------------------------------------

    def restart(self):
        self.host.stop_console()
        self.host.start_console()

    def test_vm_outlives_hcsd(self):
        host = self.host
        bundle = self.bundle("survivor")
        host.ctl("task", "create", "--bundle", bundle, "survivor")
        host.ctl("task", "start", "survivor")
        self.restart()
        self.assertEqual("running", host.ctl("task", "state", "survivor").json["status"])
        self.assertEqual({"survivor", "survivor@vm"}, set(self.systems()))
        error = host.refused("layer", "destroy", "--layer", self.base)
        self.assertIn("container survivor", error["message"])
        host.ctl("task", "kill", "--signal", "9", "survivor")
        host.ctl("task", "wait", "survivor")
        host.ctl("task", "delete", "survivor")
        self.assert_nothing_left()

    # ---- storage verbs -------------------------------------------------------------------------------------------

    def test_scratch_is_made_mounted_and_destroyed(self):
        host = self.host
        scratch = "C:\\layers\\made"
        host.ctl("layer", "create-scratch", "--layer", scratch, "--parent", self.base)
        self.assertTrue(os.path.exists(host.unix(scratch + "\\sandbox.vhdx")))
        self.assertEqual("ALREADY_EXISTS", host.refused("layer", "create-scratch", "--layer", scratch, "--parent", self.base)["code"])
        volume = host.ctl("layer", "mount", "--layer", scratch, "--parent", self.base).json["volume"]
        self.assertRegex(volume, r"^\\\\\?\\Volume\{[0-9a-f-]{36}\}$")
        self.assertEqual([scratch], host.books()["prepared"])
        self.assertEqual([(scratch, "layer mount", "mounted")],
                         [(layer["path"], layer["holder"], layer["state"]) for layer in host.ctl("layer", "ls").json["layers"]])
        self.assertEqual(volume, host.ctl("layer", "stat", "--layer", scratch).json["volume"])
        for verb in (("destroy",), ("expand", "--size", "1000000")):
            error = host.refused("layer", verb[0], "--layer", scratch, *verb[1:])
            self.assertEqual("FAILED_PRECONDITION", error["code"])
            self.assertIn("layer mount", error["message"])
        self.restart()
        self.assertEqual([scratch], host.books()["prepared"], "a mount outlives hcsd")
        host.ctl("layer", "unmount", "--layer", scratch)
        self.assertEqual("NOT_FOUND", host.refused("layer", "unmount", "--layer", scratch)["code"])
        host.ctl("layer", "expand", "--layer", scratch, "--size", "42949672960")
        host.ctl("layer", "destroy", "--layer", scratch)
        self.assertFalse(host.ctl("layer", "stat", "--layer", scratch).json["exists"])
        self.assertEqual([], [name for name in os.listdir(host.unix("C:/layers")) if name.startswith("made")])
        self.assertEqual("NOT_FOUND", host.refused("layer", "destroy", "--layer", scratch)["code"])

    def test_only_layers_are_destroyed(self):
        host = self.host
        folder = host.unix("C:/documents")
        os.makedirs(folder)
        with open(os.path.join(folder, "letter.txt"), "wb") as file:
            file.write(b"dear")
        error = host.refused("layer", "destroy", "--layer", "C:\\documents")
        self.assertEqual("FAILED_PRECONDITION", error["code"])
        self.assertEqual(["letter.txt"], os.listdir(folder))

    def test_image_is_processed(self):
        host = self.host
        layer = self.make_base(host, "image")
        self.assertTrue(host.ctl("layer", "process-image", "--layer", layer).json["utility_vm"])
        self.assertTrue(os.path.exists(host.unix(layer + "\\blank.vhdx")))

    def test_export_and_import(self):
        host = self.host
        app = host.make_layer("app", {"hello.txt": b"hello\n", "new/file.txt": b"new\n"})
        exported = host.ctl("layer", "export", "--layer", app, "--parent", self.base, "--output", "C:\\out\\app.tar.gz").json
        copy = "C:\\layers\\copy"
        imported = host.ctl("layer", "import", "--layer", copy, "--parent", self.base, "--input", "C:\\out\\app.tar.gz",
                            "--diff-id", exported["diff_id"]).json
        self.assertEqual((exported["digest"], exported["diff_id"]), (imported["digest"], imported["diff_id"]))
        with open(host.unix(copy + "\\Files\\new\\file.txt"), "rb") as file:
            self.assertEqual(b"new\n", file.read())
        error = host.refused("layer", "import", "--layer", copy, "--parent", self.base, "--input", "C:\\out\\app.tar.gz")
        self.assertEqual("ALREADY_EXISTS", error["code"])
        error = host.refused("layer", "import", "--layer", "C:\\layers\\bad", "--parent", self.base, "--input",
                             "C:\\out\\app.tar.gz", "--digest", "sha256:" + "0" * 64)
        self.assertEqual("DATA_LOSS", error["code"])
        self.assertFalse(os.path.exists(host.unix("C:/layers/bad")), "half a layer is none")
        self.assertEqual([], os.listdir(host.unix("C:/ProgramData/hcsd/staging")))


if __name__ == "__main__":
    unittest.main()
