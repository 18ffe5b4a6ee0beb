#!/usr/bin/env python3
"""What hcsctl does to a container while it runs, as seen from outside: states, processes, figures, what HCS was told."""

import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import Host, in_background, wait_until  # noqa: E402


class Control(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host("lifecycle-control").boot()
        cls.host.write_config(linux={"boot_files": "C:\\lcow"})
        os.makedirs(cls.host.unix("C:\\lcow"))
        cls.host.start_console()

    @classmethod
    def tearDownClass(cls):
        cls.host.end()

    def start(self, name, command="emu:sleep 3600", **changes):
        self.host.ctl("task", "create", "--bundle", self.host.make_bundle(name, command, **changes), name)
        self.host.ctl("task", "start", name)
        self.addCleanup(self.host.ctl, "task", "delete", "--force", name, ok=False)
        return name

    def start_vm(self, name):
        base = "C:\\layers\\vm-base"
        if not os.path.isdir(self.host.unix(base)):
            self.host.make_layer("vm-base", {"hello.txt": b"hello\n"})
            os.makedirs(self.host.unix(base + "\\UtilityVM"))
        scratch = self.host.make_scratch(f"{name}-scratch")
        return self.start(name, windows={"layerFolders": [base, scratch], "hyperv": {}}, root=None)

    def state(self, *arguments):
        return self.host.ctl("task", "state", *arguments).json["status"]

    def system(self, name):
        return self.host.books()["systems"][name]

    def test_pause_and_resume(self):
        host, name = self.host, self.start_vm("vm")
        host.ctl("task", "pause", name)
        self.assertEqual("paused", self.state(name))
        self.assertEqual("Paused", self.system(name)["State"])
        self.assertEqual("FAILED_PRECONDITION", host.refused("task", "pause", name)["code"])
        self.assertEqual("FAILED_PRECONDITION", host.refused("task", "kill", name)["code"])
        self.assertEqual("FAILED_PRECONDITION", host.refused("task", "delete", name)["code"])
        self.assertEqual("FAILED_PRECONDITION", host.refused("task", "exec", "-d", name, "x", "--", "emu:exit", "0")["code"])
        host.ctl("task", "resume", name)
        self.assertEqual("running", self.state(name))
        self.assertEqual("Running", self.system(name)["State"])
        self.assertEqual("FAILED_PRECONDITION", host.refused("task", "resume", name)["code"])
        host.ctl("task", "pause", name)
        host.ctl("task", "kill", "--signal", "SIGKILL", name)
        self.assertEqual("stopped", host.ctl("task", "wait", name).json["status"])
        host.ctl("task", "delete", name)

    def test_process_isolation_cannot_be_paused(self):
        error = self.host.refused("task", "pause", self.start("nopause"))
        self.assertEqual("UNIMPLEMENTED", error["code"])
        self.assertIn("process isolation", error["message"])

    def test_update_reaches_hcs(self):
        host, name = self.host, self.start("update")
        host.ctl("task", "update", "--memory", str(1025 << 20), name)
        self.assertEqual([{"ResourcePath": "Container/Memory/SizeInMB", "RequestType": "Update", "Settings": 1026}],
                         self.system(name)["modifications"])
        error = host.refused("task", "update", "--memory", str(1 << 30), "--cpu-shares", "500", name)
        self.assertEqual("UNIMPLEMENTED", error["code"], "Wine is build 18362, and processors need 19042")
        error = host.refused("task", "update", "--cpu-count", "1", "--cpu-shares", "5", name)
        self.assertEqual("INVALID_ARGUMENT", error["code"])
        self.assertEqual(1, len(self.system(name)["modifications"]), "what is refused must not be half done")
        self.assertEqual("INVALID_ARGUMENT", host.refused("task", "update", name)["code"])

    def test_ps_and_stats(self):
        host, name = self.host, self.start("figures", "cmd /c ping -n 3600 127.0.0.1")
        host.ctl("task", "exec", "--detach", name, "second", "--", "emu:sleep 3600")
        processes = host.ctl("task", "ps", name).json["processes"]
        by_exec = {process["exec_id"]: process for process in processes}
        self.assertEqual(host.ctl("task", "state", name).json["pid"], by_exec[name]["pid"])
        self.assertEqual("emu.exe", by_exec["second"]["image"])
        self.assertEqual("cmd.exe", by_exec[name]["image"].lower())
        self.assertRegex(by_exec[name]["created_at"], r"^20\d\d-")
        stats = host.ctl("task", "stats", name).json
        self.assertEqual("windows", stats["kind"])
        self.assertGreater(stats["memory"]["commit_bytes"], 1 << 20)
        self.assertGreater(stats["uptime_ns"], 0)
        text = host.run(*host.ctl_command("task", "ps", name)).text
        self.assertIn("emu.exe", text)
        self.assertIn("memory", host.run(*host.ctl_command("task", "stats", name)).text)
        host.ctl("task", "kill", "--signal", "9", name)
        host.ctl("task", "wait", name)
        self.assertEqual("NOT_FOUND", host.refused("task", "stats", name)["code"])
        self.assertEqual("NOT_FOUND", host.refused("task", "ps", name)["code"])

    def test_ps_of_a_created_container_is_not_empty(self):
        host = self.host
        host.ctl("task", "create", "--bundle", host.make_bundle("created", "emu:exit 0"), "created")
        self.assertEqual(1, len(host.ctl("task", "ps", "created").json["processes"]))
        host.ctl("task", "delete", "created")

    def test_exec_shows_output_and_code(self):
        host, name = self.host, self.start("exec")
        ran = host.run(*host.ctl_command("task", "exec", name, "say", "--", "cmd", "/c", "echo said& exit 9"))
        self.assertEqual((0, "said"), (ran.status, ran.text.strip()), ran.error_text)
        self.assertIn("say exited with 9", ran.error_text)
        self.assertEqual("NOT_FOUND", host.refused("task", "state", "--exec", "say", name)["code"], "it is deleted")
        done = host.ctl("task", "exec", name, "json", "--", "emu:exit 4").json
        self.assertEqual((name, "json", "stopped", 4), (done["id"], done["exec_id"], done["status"], done["exit_status"]))

    def test_exec_takes_input_to_its_end(self):
        host, name = self.host, self.start("input")
        given = b"".join(b"line %d\n" % i for i in range(20000))
        ran = host.run(*host.ctl_command("task", "exec", "-i", name, "cat", "--", "emu:echo"), stdin=given)
        self.assertEqual(given, ran.output)

    def test_exec_by_its_parts(self):
        host, name = self.host, self.start("parts")
        host.ctl("task", "exec", "--detach", name, "one", "--", "emu:sleep 3600")
        self.assertEqual("running", self.state("--exec", "one", name))
        wait = in_background(lambda: host.ctl("task", "wait", "--exec", "one", name).json)
        self.assertEqual("FAILED_PRECONDITION", host.refused("task", "delete", "--exec", "one", name)["code"])
        host.ctl("task", "kill", "--exec", "one", "--signal", "KILL", name)
        ended = wait()
        self.assertEqual(("one", "stopped"), (ended["exec_id"], ended["status"]))
        host.ctl("task", "delete", "--exec", "one", name)
        self.assertEqual("running", self.state(name))
        self.assertEqual("NOT_FOUND", host.refused("task", "kill", "--exec", "one", name)["code"])

    def test_close_stdin(self):
        host, name = self.host, self.start("stdin")
        process = host.start(*host.ctl_command("--json", "task", "exec", "-i", name, "cat", "--", "emu:echo;exit 3"),
                             stdin=subprocess.PIPE)
        wait_until("the exec runs", lambda: host.ctl("task", "state", "--exec", "cat", name, ok=False).status == 0 and
                   self.state("--exec", "cat", name) == "running")
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        host.ctl("task", "close-stdin", "--exec", "cat", name)
        self.assertIn(b'"exit_status":3', process.communicate(timeout=60)[0].replace(b" ", b""))
        host.ctl("task", "close-stdin", name)

    def test_resize(self):
        host, name = self.host, self.start("resize", process={"commandLine": "emu:sleep 3600", "cwd": "C:\\", "terminal": True})
        error = host.refused("task", "resize", name, "80", "25")
        self.assertEqual("FAILED_PRECONDITION", error["code"], "create asked for no terminal")
        self.assertEqual("INVALID_ARGUMENT", host.refused("task", "resize", name, "80", "many")["code"])
        process = host.start(*host.ctl_command("task", "exec", "-t", name, "shell", "--", "emu:sleep 3600"))
        wait_until("the exec runs", lambda: host.ctl("task", "state", "--exec", "shell", name, ok=False).status == 0 and
                   self.state("--exec", "shell", name) == "running")
        before = host.books()["calls"].get("HcsModifyProcess", 0)
        host.ctl("task", "resize", "--exec", "shell", name, "120", "40")
        self.assertEqual(before + 1, host.books()["calls"]["HcsModifyProcess"])
        host.ctl("task", "kill", "--exec", "shell", "--signal", "9", name)
        process.communicate(timeout=60)

    def test_signals_by_name(self):
        host = self.host
        for signal, started in (("TERM", True), ("sigterm", True), ("KILL", True), ("9", True), ("INT", False)):
            name = self.start(f"signal-{signal}-{started}".lower().replace("_", "-"))
            host.ctl("task", "kill", "--signal", signal, name)
            self.assertEqual("stopped", host.ctl("task", "wait", name).json["status"])
        error = host.refused("task", "kill", "--signal", "NONSENSE", self.start("signal-none"))
        self.assertEqual("INVALID_ARGUMENT", error["code"])
        self.assertIn("TERM", error["message"])
        self.assertEqual("FAILED_PRECONDITION", host.refused("task", "kill", "--signal", "QUIT", "signal-none")["code"])

    def test_dry_run_of_another_build(self):
        host = self.host
        bundle = host.make_bundle("dry", "emu:exit 0", mounts=[{"source": "\\\\.\\pipe\\a", "destination": "\\\\.\\pipe\\b"}])
        shown = host.ctl("task", "create", "--dry-run", "--os-build", "17763", "--bundle", bundle, "dry").json
        self.assertEqual([{"HostPath": "\\\\.\\pipe\\a", "ContainerPipeName": "b"}], shown["document"]["MappedPipes"])
        error = host.refused("task", "create", "--dry-run", "--os-build", "14393", "--bundle", bundle, "dry")
        self.assertEqual("UNIMPLEMENTED", error["code"])
        self.assertNotIn("dry", host.books()["systems"])

    def test_a_linux_container(self):
        host = self.host
        base, scratch = host.make_layer("linux-base", {}), host.make_scratch("linux-scratch")
        with open(host.unix(base + "\\layer.vhd"), "wb") as file:
            file.write(b"\0" * 512)
        self.start("linux", process={"args": ["emu:sleep", "3600"], "cwd": "/", "user": {"uid": 0, "gid": 0}}, linux={}, root=None,
                   windows={"layerFolders": [base, scratch], "hyperv": {}})
        system = self.system("linux")
        self.assertEqual("container", system["SystemType"])
        self.assertEqual(base + "\\layer.vhd", system["layers"][0]["Path"])
        self.assertEqual("linux", host.ctl("task", "stats", "linux").json["kind"])
        host.ctl("task", "pause", "linux")
        host.ctl("task", "resume", "linux")
        host.ctl("task", "exec", "linux", "again", "--", "emu:exit", "3")
        host.ctl("task", "kill", "--signal", "9", "linux")
        self.assertEqual("stopped", host.ctl("task", "wait", "linux").json["status"])

    def test_pod_dies_together(self):
        host = self.host
        kind, sandbox = "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"
        self.start("pod", annotations={kind: "sandbox", sandbox: "pod"})
        for name in ("pod-a", "pod-b"):
            self.start(name, annotations={kind: "container", sandbox: "pod"})
        other = self.start("pod-stranger")
        host.ctl("task", "kill", "--all", "--signal", "9", "pod")
        for name in ("pod", "pod-a", "pod-b"):
            self.assertEqual("stopped", host.ctl("task", "wait", name).json["status"])
        self.assertEqual("running", self.state(other))
        bundle = host.make_bundle("pod-late", "emu:exit 0", annotations={kind: "container", sandbox: "pod"})
        self.assertEqual("FAILED_PRECONDITION", host.refused("task", "create", "--bundle", bundle, "pod-late")["code"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
