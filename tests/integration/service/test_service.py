#!/usr/bin/env python3
"""hcsd as a Windows service: registered by itself and by sc.exe alone, started, reloaded, stopped, removed; its exit codes,
its event log records, its configuration check."""

import json
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import BIN, EMULATOR, ROOT, Faults, Host, in_background, wait_until  # noqa: E402

HCSD = os.path.join(BIN, "hcsd.exe")
BAD_CONFIGS = os.path.join(ROOT, "tests", "unit", "config", "bad")
REPORT = re.compile(r"fixme:advapi:ReportEventW \([0-9A-Fa-f]+,0x([0-9a-f]+),0x([0-9a-f]+),0x([0-9a-f]+),")
STRING = re.compile(r':eventlog:ReportEventW L"(.*)"')
INFORMATION, WARNING, ERROR = 4, 2, 1
CYCLES = int(os.environ.get("HCSD_CYCLES", "5"))


class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host("service", debug="+eventlog,fixme+advapi").boot()
        cls.host.write_config()

    @classmethod
    def tearDownClass(cls):
        cls.host.end()

    def tearDown(self):
        self.host.run("sc.exe", "stop", "hcsd")
        wait_until("the service is not running", lambda: self.state() in ("STOPPED", None))
        self.host.run("sc.exe", "delete", "hcsd")
        self.host.write_config()

    # ---- what the service manager and the event log know ----------------------------------------------------------

    def query(self):
        return self.host.run("sc.exe", "query", "hcsd").text

    def state(self):
        match = re.search(r"STATE\s*:\s*\d+\s+(\w+)", self.query())
        return match.group(1) if match else None

    def exit_codes(self):
        text = self.query()
        return tuple(int(re.search(rf"{name}_EXIT_CODE\s*:\s*(\d+)", text).group(1)) for name in ("WIN32", "SERVICE"))

    def events(self, since=0):
        """(type, category, number, strings) of what ReportEvent was given, from the stderr of the prefix's services."""
        found = []
        for line in self.host.boot_text()[since:].splitlines():
            report = REPORT.search(line)
            if report:
                kind, category, number = (int(text, 16) for text in report.groups())
                found.append((kind, category, number, []))
            string = STRING.search(line)
            if string and found:
                found[-1][3].append(re.sub(r"\\(.)", r"\1", string.group(1)))
        return found

    def wait_for_event(self, number, since):
        return wait_until(f"event {number}", lambda: next((event for event in self.events(since)
                                                           if event[2] & 0xFFFF == number), None))

    def sc(self, verb):
        """sc.exe VERB hcsd, which must succeed. A second start or stop of what the first did start or stop fails with its own word."""
        done = self.host.run_surely("sc.exe", verb, "hcsd")
        self.assertEqual(0, done.status, done.text)

    def start(self):
        self.sc("start")
        wait_until("the service runs", lambda: self.state() == "RUNNING")

    def stop(self):
        self.sc("stop")
        wait_until("the service has stopped", lambda: self.state() == "STOPPED")

    def register(self, *more):
        registered = self.host.run(HCSD, "--register-service", *more)
        self.assertEqual(0, registered.status, registered.error_text)
        return registered

    def registry(self, key):
        return self.host.run("reg.exe", "query", key).text

    # ---- tests ----------------------------------------------------------------------------------------------------

    def test_a_life(self):
        since = len(self.host.boot_text())
        registered = self.register()
        # Wine has neither; real Windows has both, and says nothing.
        self.assertIn("recovery actions on reported failures", registered.text)
        self.assertIn("service SID", registered.text)
        self.assertEqual("STOPPED", self.state())
        key = self.registry("HKLM\\SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\hcsd")
        self.assertRegex(key, r"EventMessageFile\s+REG_EXPAND_SZ\s+.*\\hcsd-messages-\d+\.\d+\.\d+\.dll")
        self.assertRegex(key, r"CategoryMessageFile\s+REG_EXPAND_SZ\s+.*\\hcsd-messages-")
        self.assertRegex(key, r"CategoryCount\s+REG_DWORD\s+0x5")
        self.assertRegex(key, r"TypesSupported\s+REG_DWORD\s+0x7")
        message_file = re.search(r"EventMessageFile\s+REG_EXPAND_SZ\s+(.*\.dll)", key).group(1)
        self.assertTrue(os.path.exists(os.path.join(BIN, message_file.rsplit("\\", 1)[-1])), message_file)
        self.assertRegex(self.registry("HKLM\\SYSTEM\\CurrentControlSet\\Services\\hcsd"),
                         r'ImagePath\s+\S+\s+".*\\hcsd\.exe" --run-service --service-name hcsd')

        self.start()
        self.assertEqual("SERVING", self.host.ctl("health").json["status"], "RUNNING means: the pipe answers")
        kind, category, number, strings = self.wait_for_event(1, since)
        self.assertEqual((INFORMATION, 1, 0x40000001), (kind, category, number))
        self.assertEqual(["\\\\.\\pipe\\hcsd", "C:\\ProgramData\\hcsd\\state"], strings[1:])

        self.stop()
        self.assertEqual((0, 0), self.exit_codes())
        numbers = [event[2] for event in self.events(since)]
        self.assertEqual([0x40000001, 0x4000000D, 0x40000002], numbers, "started, draining, stopped, and nothing else")
        self.assertEqual("UNAVAILABLE", self.host.refused("health")["code"])
        self.assertEqual([], self.host.unix_pid("hcsd.exe"), "no process is left")

        # The log file says the same, line by line.
        with open(self.host.unix("C:/ProgramData/hcsd/state/log/hcsd.log"), encoding="utf-8") as log:
            lines = [json.loads(line) for line in log]
        self.assertEqual([1, 13, 2], [line["event"] for line in lines if "event" in line][-3:])

        removed = self.host.run(HCSD, "--unregister-service")
        self.assertEqual(0, removed.status, removed.error_text)
        self.assertIsNone(self.state())
        self.assertNotIn("EventMessageFile",
                         self.registry("HKLM\\SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\hcsd"))
        self.assertTrue(os.path.exists(self.host.unix("C:/ProgramData/hcsd/config.json")), "configuration stays")
        again = self.host.run(HCSD, "--unregister-service")
        self.assertEqual(1, again.status)
        self.assertIn("hcsd", again.error_text)

    def test_sc_alone_is_enough(self):
        image = Host.windows(HCSD)
        created = self.host.run("sc.exe", "create", "hcsd", "binPath=", f'"{image}" --run-service', "start=", "auto")
        self.assertEqual(0, created.status, created.text)
        self.start()
        self.assertEqual("SERVING", self.host.ctl("health").json["status"])
        # The texts of its events are registered by the service itself.
        self.assertIn("hcsd-messages-", self.registry("HKLM\\SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\hcsd"))
        self.stop()
        self.assertEqual((0, 0), self.exit_codes())

    def test_start_and_stop_again_and_again(self):
        self.register()
        seen = None
        for cycle in range(CYCLES):
            self.start()
            self.assertEqual("SERVING", self.host.ctl("health").json["status"])
            self.stop()
            self.assertEqual((0, 0), self.exit_codes(), f"cycle {cycle}")
            wait_until("no process is left", lambda: not self.host.unix_pid("hcsd.exe"))
            left = sorted(os.path.join(folder, name) for folder, _, names in os.walk(self.host.unix("C:/ProgramData/hcsd")) for name in names)
            if seen is None:
                seen = left
            self.assertEqual(seen, left, f"cycle {cycle} leaves other files than the first")
            # Nobody holds its files (the prefix's server holds what its processes hold) or its pipe.
            self.assertEqual([], self.open_files("ProgramData/hcsd"), f"cycle {cycle}")
        self.assertEqual("UNAVAILABLE", self.host.refused("health")["code"])

    def open_files(self, part):
        """Open files of this machine's processes below that folder of the prefix."""
        found = []
        root = os.path.join(self.host.drive_c, part)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                found += [link for link in (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")) if link.startswith(root)]
            except OSError:
                continue
        return found

    def test_unregister_stops_a_running_service(self):
        self.register()
        self.start()
        removed = self.host.run(HCSD, "--unregister-service")
        self.assertEqual(0, removed.status, removed.error_text)
        self.assertIsNone(self.state())
        self.assertEqual([], self.host.unix_pid("hcsd.exe"))

    def test_bad_configuration_refuses_to_start(self):
        since = len(self.host.boot_text())
        self.register()
        self.host.write_config(export={"workers": 0}, pipes="x")
        self.host.run("sc.exe", "start", "hcsd")
        wait_until("the service has stopped", lambda: self.state() == "STOPPED" and self.exit_codes()[0] != 1077)
        self.assertEqual(1066, self.exit_codes()[0], "ERROR_SERVICE_SPECIFIC_ERROR")
        kind, _, number, strings = self.wait_for_event(3, since)
        self.assertEqual((ERROR, 0xC0000003), (kind, number))
        for word in ("export.workers", "from 1 to 64", "pipes", "config.json"):
            self.assertIn(word, strings[0])

    def test_state_folder_that_others_may_write(self):
        since = len(self.host.boot_text())
        folder = self.host.unix("C:/open-state")
        os.makedirs(folder)
        os.chmod(folder, 0o777)
        self.host.write_config(state_dir="C:\\open-state")
        self.register()
        self.host.run("sc.exe", "start", "hcsd")
        _, _, _, strings = self.wait_for_event(3, since)
        self.assertIn("C:\\open-state", strings[0])
        self.assertIn("icacls", strings[0])
        wait_until("the service has stopped", lambda: self.state() == "STOPPED")

    def test_program_folder_that_others_may_write(self):
        """It is said, and hcsd goes on: whoever has set it up may know why."""
        folder = self.host.unix("C:/open-program")
        shutil.copytree(BIN, folder, ignore=lambda _, names: [name for name in names if name.endswith(".debug")])
        since = len(self.host.boot_text())
        program = os.path.join(folder, "hcsd.exe")
        self.assertEqual(0, self.host.run(program, "--register-service").status)
        for mode, events in ((0o755, 0), (0o777, 1)):
            os.chmod(folder, mode)
            self.start()
            self.wait_for_event(1, since)
            told = [strings[0] for _, _, number, strings in self.events(since) if number & 0xFFFF == 17]
            self.assertEqual(events, len(told), told)
            self.assertEqual("SERVING", self.host.ctl("health").json["status"])
            self.stop()
            since = len(self.host.boot_text())
        self.assertIn("C:\\open-program", told[0])
        self.assertIn("icacls", told[0])

    def test_two_do_not_share_a_state_folder(self):
        self.host.start_console()
        try:
            self.host.write_config(pipe="\\\\.\\pipe\\hcsd-second")
            second = self.host.run(HCSD, "--console")
            self.assertEqual(1, second.status)
            self.assertIn("another hcsd works with this folder", second.error_text)
        finally:
            self.host.stop_console()

    def reload(self):
        sent = self.host.run(os.path.join(os.path.dirname(BIN), "tests", "service_control.exe"), "hcsd", "6")
        self.assertEqual(0, sent.status, sent.error_text)

    def test_a_reload_takes_effect(self):
        """A call into HCS that hangs is given up after the new bound; a key that cannot change is named."""
        folder = self.host.unix("C:/emulator")
        shutil.copytree(EMULATOR, folder, dirs_exist_ok=True)
        library = {"library": "C:\\emulator\\vmcompute.dll"}
        faults = Faults(folder)
        self.host.write_config(hcs=library)
        self.register()
        self.start()
        since = len(self.host.boot_text())
        faults.set({"call": "HcsCreateComputeSystem", "match": "held", "action": "hang"})
        try:
            self.host.write_config(hcs=dict(library, call_seconds=2), kill={"answer_seconds": 3}, state_dir="C:\\elsewhere")
            self.reload()
            _, _, _, strings = self.wait_for_event(6, since)
            self.assertEqual("hcs.call_seconds: 240 -> 2; kill.answer_seconds: 10 -> 3", strings[0])
            self.assertEqual("state_dir: C:\\ProgramData\\hcsd\\state -> C:\\elsewhere", strings[1])
            error = self.host.refused("task", "create", "--bundle", self.host.make_bundle("held", "emu:sleep 5"), "held")
            self.assertEqual("DEADLINE_EXCEEDED", error["code"])
            self.assertIn("within 2 s", error["message"])
        finally:
            faults.clear()
        self.assertFalse(os.path.exists(self.host.unix("C:/elsewhere")))
        self.host.ctl("task", "delete", "--force", "held", ok=False)

    @unittest.skipUnless("HCSD_CYCLES" in os.environ, "it waits for the bound of a stop: in make soak")
    def test_a_hung_hcs_holds_up_neither_start_nor_stop(self):
        folder = self.host.unix("C:/emulator-hung")
        shutil.copytree(EMULATOR, folder, dirs_exist_ok=True)
        self.host.write_config(hcs={"library": "C:\\emulator-hung\\vmcompute.dll", "call_seconds": 3600})
        faults = Faults(folder)
        faults.set({"call": "HcsEnumerateComputeSystems", "action": "hang"})
        try:
            self.register()
            self.start()
            self.host.ctl("health")
            wait_until("the call is under way", lambda: "HcsEnumerateComputeSystems" in json.dumps(self.host.ctl("diag").json))
            self.stop()
            # The call that did not end is told, and the process is gone with it.
            self.assertEqual(1066, self.exit_codes()[0])
            wait_until("no process is left", lambda: not self.host.unix_pid("hcsd.exe"))
        finally:
            faults.clear()

    def test_a_stop_tells_who_waits(self):
        self.register()
        self.start()
        for name in ("one", "two"):
            self.host.ctl("task", "create", "--bundle", self.host.make_bundle(name, "emu:sleep 600"), name)
            self.host.ctl("task", "start", name)
        joins = [in_background(self.host.refused, "task", "wait", name) for name in ("one", "two")]
        wait_until("both wait", lambda: self.host.ctl("diag").json["connections"] >= 3)
        self.stop()
        for join in joins:
            error = join()
            self.assertEqual("UNAVAILABLE", error["code"])
            self.assertIn("hcsd is stopping; the container goes on running", error["message"])
        self.start()
        for name in ("one", "two"):
            self.assertEqual("running", self.host.ctl("task", "state", name).json["status"])
            self.host.ctl("task", "delete", "--force", name)

    def test_the_shutdown_of_the_machine(self):
        """No call into HCS any more, which stops beside us: hcsd ends, and the containers are known to the next one."""
        program = self.host.start(os.path.join(os.path.dirname(BIN), "tests", "hcsd_shutdown.exe"), "--console", stdin=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_until("it serves", lambda: '"SERVING"' in self.host.ctl("health", ok=False).text)
        self.host.ctl("task", "create", "--bundle", self.host.make_bundle("stays", "emu:sleep 600"), "stays")
        self.host.ctl("task", "start", "stays")
        join = in_background(self.host.refused, "task", "wait", "stays")
        wait_until("it waits", lambda: self.host.ctl("diag").json["connections"] >= 2)
        before = dict(self.host.books()["calls"], books=None)
        program.stdin.close()
        self.assertEqual(0, program.wait(timeout=60))
        self.assertEqual("UNAVAILABLE", join()["code"])
        self.assertEqual(before, dict(self.host.books()["calls"], books=None))
        with open(self.host.unix("C:/ProgramData/hcsd/state/log/hcsd.log"), encoding="utf-8") as log:
            self.assertEqual(2, [line["event"] for line in map(json.loads, log) if "event" in line][-1])
        self.register()
        self.start()
        self.assertEqual("running", self.host.ctl("task", "state", "stays").json["status"])
        self.host.ctl("task", "delete", "--force", "stays")

    def test_who_asked_for_a_change_is_in_the_log(self):
        self.register()
        self.start()
        self.host.ctl("task", "create", "--bundle", self.host.make_bundle("who", "emu:sleep 600"), "who")
        self.host.ctl("task", "state", "who")
        self.host.ctl("task", "delete", "--force", "who")
        self.stop()
        with open(self.host.unix("C:/ProgramData/hcsd/state/log/hcsd.log"), encoding="utf-8") as log:
            texts = [json.loads(line)["text"] for line in log]
        asked = [text for text in texts if "id=who" in text]
        self.assertEqual(2, len(asked), f"a create and a delete, not the look: {asked}")
        self.assertRegex(asked[0], r"^containerd\.task\.v3\.Task/Create id=who bundle=C:\\bundles\\who in default, for pid \d+, \S+\\\S+: OK$")
        self.assertRegex(asked[1], r"^hcsd\.v1\.Tasks/ForceDelete id=who in default, for pid \d+, .*: OK$")

    def test_a_configuration_that_others_may_write(self):
        path = self.host.unix("C:/ProgramData/hcsd/config.json")
        self.register()
        self.start()
        since = len(self.host.boot_text())
        self.host.write_config(kill={"answer_seconds": 3})
        os.chmod(path, 0o666)
        try:
            self.reload()
            _, _, _, strings = self.wait_for_event(7, since)
            self.assertIn("may change what is in it", strings[0])
            self.stop()
            self.host.run("sc.exe", "start", "hcsd")
            _, _, _, strings = self.wait_for_event(3, since)
            self.assertIn("config.json", strings[0])
            self.assertIn("icacls", strings[0])
            wait_until("the service has stopped", lambda: self.state() == "STOPPED")
        finally:
            os.chmod(path, 0o644)

    def test_diag_host(self):
        self.register()
        self.start()
        report = self.host.ctl("diag", "host").json
        self.assertIs(True, report["wine"])
        rows = {f"{row['group']}: {row['name']}": row for row in report["rows"]}
        self.assertEqual(len(report["rows"]), len(rows), "no two rows of one name")
        self.assertGreaterEqual(len(rows), 40)
        self.assertEqual({"as expected", "different", "not asked"} | {row["verdict"] for row in rows.values()},
                         {"as expected", "different", "not asked"})
        for row in rows.values():
            self.assertTrue(row["expected"] and row["found"], row)
        # What Wine has as Windows does, and what it is known not to have (../shared/facts/build-and-wine.md).
        for name in ("system: build", "system: machine", "service: command line", "service: preshutdown time", "service: event source",
                     "files: delete, mapped", "files: depth", "pipe: access of the service's pipe", "pipe: access changed at one instance",
                     "pipe: all instances busy", "hcs: exports", "hcs: NameToGuid", "hcs: enumerate by owner", "processes: job closed",
                     "processes: CancelSynchronousIo"):
            self.assertEqual("as expected", rows[name]["verdict"], rows[name])
        for name in ("files: delete, read-only", "files: delete, read-only, by one of two links", "files: replace a file that is open",
                     "files: BackupRead", "files: BackupRead, with security", "files: rename of a folder with an open file in it",
                     "hcs: library", "processes: TerminateProcess, twice"):
            self.assertEqual("different", rows[name]["verdict"], rows[name])
        for row in rows.values():
            if row["group"] == "layer":
                self.assertEqual(("no --layer was given", "not asked"), (row["found"], row["verdict"]))
        self.assertEqual(report["different"], sum(row["verdict"] == "different" for row in rows.values()))
        self.assertEqual([], [name for name in os.listdir(self.host.unix("C:/ProgramData/hcsd/state")) if "probe" in name], "nothing stays")
        shown = self.host.run(*self.host.ctl_command("diag", "host")).text
        self.assertIn("this is Wine, not Windows", shown)
        self.assertEqual(len(rows) + 2, len(shown.splitlines()))
        # The library cannot be used: its rows say so, the others are as before.
        self.host.write_config(hcs={"library": "C:\\absent.dll"})
        console = self.host.run(HCSD, "--probe-host")
        rows = {row["name"]: row for row in console.json["rows"]}
        self.assertEqual("not asked", rows["exports"]["verdict"])
        self.assertIn("absent.dll", rows["exports"]["found"])

    def test_diag_host_with_a_layer(self):
        """A scratch is made over the layer and goes through an export; whatever fails, nothing of it stays."""
        folder = self.host.unix("C:/emulator-probe")
        shutil.copytree(EMULATOR, folder, dirs_exist_ok=True)
        with open(os.path.join(folder, "vmcompute-settings.json"), "w", encoding="utf-8") as settings:
            json.dump({"check_privileges": True}, settings)
        self.host.write_config(hcs={"library": "C:\\emulator-probe\\vmcompute.dll"})
        faults = Faults(folder)
        base, app = self.host.make_layer("probed-base", {"hello.txt": b"hello\n"}), self.host.make_layer("probed-app", {"more.txt": b"more\n"})
        calls = ("CreateSandboxLayer", "ActivateLayer", "PrepareLayer", "GetLayerMountPath", "UnprepareLayer", "ExportLayer", "DeactivateLayer",
                 "DestroyLayer")
        state = self.host.unix("C:/ProgramData/hcsd/state")
        self.register()
        self.start()

        def ask():
            report = self.host.ctl("diag", "host", "--layer", app, "--parent", base).json
            books = json.loads(self.host.run(os.path.join(folder, "hcsemu.exe"), "--books").text)
            self.assertEqual(([], []), (books["activated"], books["prepared"]))
            self.assertEqual([], [name for name in os.listdir(state) if "probe" in name], "nothing stays")
            return {row["name"]: row for row in report["rows"] if row["group"] == "layer"}

        rows = ask()
        self.assertEqual(sorted(calls), sorted(rows))
        for row in rows.values():
            self.assertEqual("as expected", row["verdict"], row)
        self.assertIn("Files", rows["ExportLayer"]["found"])
        for call in ("ActivateLayer", "ExportLayer"):
            with self.subTest(call):
                faults.set({"call": call, "action": "fail", "hresult": "0x80070005"})
                try:
                    rows = ask()
                finally:
                    faults.clear()
                self.assertEqual("different", rows[call]["verdict"], rows[call])
                self.assertIn("denied", rows[call]["found"].lower())
                self.assertEqual("as expected", rows["DestroyLayer"]["verdict"], rows["DestroyLayer"])
        # A probe that was killed in the middle: the next one takes down what it left.
        left = os.path.join(state, "probe-99999996", "scratch")
        os.makedirs(left)
        with open(os.path.join(left, "sandbox.vhdx"), "wb") as file:
            file.write(b"\0" * 4096)
        self.host.ctl("diag", "host")
        self.assertTrue(os.path.isdir(left), "it may be attached: only a probe with layers touches it")
        last = self.host.ctl("diag", "host", "--layer", app, "--parent", base).json
        self.assertEqual(0, sum(row["verdict"] != "as expected" for row in last["rows"] if row["group"] == "layer"))
        self.assertFalse(os.path.isdir(left))
        self.assertEqual("INVALID_ARGUMENT", self.host.refused("diag", "host", "--parent", base)["code"])

    def test_paramchange(self):
        since = len(self.host.boot_text())
        control = os.path.join(os.path.dirname(BIN), "tests", "service_control.exe")
        self.register()
        self.start()
        self.host.write_config(hcs={"call_seconds": 100})
        sent = self.host.run(control, "hcsd", "6")
        self.assertEqual(0, sent.status, sent.error_text)
        kind, _, number, strings = self.wait_for_event(6, since)
        self.assertEqual((INFORMATION, 0x40000006), (kind, number))
        self.assertIn("hcs.call_seconds: 240 -> 100", strings[0])
        self.host.write_config(hcs={"call_seconds": 0})
        self.assertEqual(0, self.host.run(control, "hcsd", "6").status)
        kind, _, number, strings = self.wait_for_event(7, since)
        self.assertEqual((ERROR, 0xC0000007), (kind, number))
        self.assertIn("hcs.call_seconds: 0 is not allowed; expected a whole number from 1 to 3600", strings[0])
        self.assertEqual("SERVING", self.host.ctl("health").json["status"], "a bad file changes nothing")
        self.stop()

    def pipe_rights(self):
        """The access of the service's pipe, as SDDL."""
        return next(row for row in self.host.ctl("diag", "host").json["rows"] if row["name"] == "access of the service's pipe")["found"]

    def test_pipe_access_changes_at_run_time(self):
        self.register()
        self.start()
        self.assertNotIn("0x12019b", self.pipe_rights())
        since = len(self.host.boot_text())
        self.host.write_config(pipe_access=["S-1-5-21-1-2-3-1001"])
        self.reload()
        _, _, _, strings = self.wait_for_event(6, since)
        self.assertEqual(['pipe_access: [] -> ["S-1-5-21-1-2-3-1001"]', "nothing"], strings)
        self.assertIn("(A;;0x12019b;;;S-1-5-21-1-2-3-1001)", self.pipe_rights())
        # A member that nobody knows makes the file a bad one, for --check-config too.
        self.host.write_config(pipe_access=["no such group"], kill={"answer_seconds": 3})
        self.reload()
        _, _, _, strings = self.wait_for_event(7, since)
        self.assertIn("no such group", strings[0])
        self.assertIn("(A;;0x12019b;;;S-1-5-21-1-2-3-1001)", self.pipe_rights())
        checked = self.host.run(HCSD, "--check-config", "C:\\ProgramData\\hcsd\\config.json")
        self.assertEqual(1, checked.status)
        self.assertIn("no such group", checked.error_text)
        since = len(self.host.boot_text())
        self.host.write_config()
        self.reload()
        _, _, _, strings = self.wait_for_event(6, since)
        self.assertEqual('pipe_access: ["S-1-5-21-1-2-3-1001"] -> []', strings[0], "and nothing of the bad file")
        self.assertNotIn("0x12019b", self.pipe_rights())

    def test_check_config(self):
        good = self.host.unix("C:/good.json")
        with open(good, "w", encoding="utf-8") as file:
            json.dump({"export": {"workers": 3}}, file)
        checked = self.host.run(HCSD, "--check-config", "C:\\good.json")
        self.assertEqual((0, "C:\\good.json: good\n"), (checked.status, checked.text))
        for name in sorted(os.listdir(BAD_CONFIGS)):
            if not name.endswith(".json"):
                continue
            with self.subTest(name):
                path = Host.windows(os.path.join(BAD_CONFIGS, name))
                checked = self.host.run(HCSD, "--check-config", path)
                with open(os.path.join(BAD_CONFIGS, name[:-5] + ".txt"), encoding="utf-8") as file:
                    expected = [f"hcsd: {path}: {line}" for line in file.read().splitlines()]
                self.assertEqual((1, expected), (checked.status, checked.error_text.splitlines()))
        absent = self.host.run(HCSD, "--check-config", "C:\\absent.json")
        self.assertEqual(1, absent.status)
        self.assertIn("absent.json", absent.error_text)

    def test_command_line(self):
        version = self.host.run(HCSD, "--version")
        self.assertEqual(0, version.status)
        self.assertRegex(version.text, r"^hcsd \d+\.\d+\.\d+\n$")
        self.assertIn("--register-service", self.host.run(HCSD, "--help").text)
        wrong = self.host.run(HCSD, "--consolation")
        self.assertEqual(1, wrong.status)
        self.assertIn("--consolation", wrong.error_text)

    def test_every_command_of_hcsctl_has_help_with_an_example(self):
        listed = self.host.run(*self.host.ctl_command("--help")).text
        commands = re.findall(r"^  ((?:task|layer|job) [a-z-]+|health|diag|version)\b", listed, re.M)
        self.assertGreaterEqual(len(commands), 15, listed)
        for command in commands:
            with self.subTest(command):
                shown = self.host.run(*self.host.ctl_command(*command.split(), "--help"))
                self.assertEqual(0, shown.status)
                self.assertIn(f"hcsctl {command}", shown.text.split("Example:")[1])

    def test_hcsctl_without_hcsd(self):
        error = self.host.refused("task", "ls")
        self.assertEqual("UNAVAILABLE", error["code"])
        self.assertIn("pipe/hcsd", error["object"])
        line = self.host.run(*self.host.ctl_command("task", "ls"))
        self.assertEqual(1, line.status)
        self.assertEqual(1, len(line.error_text.splitlines()), line.error_text)
        self.assertTrue(line.error_text.startswith("hcsctl: task ls: "), line.error_text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
