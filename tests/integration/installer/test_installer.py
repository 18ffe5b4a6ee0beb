#!/usr/bin/env python3
"""The installer under Wine: installed, started, stopped, upgraded while it runs with a container recorded, refused where it
must be, removed without a trace; its files are the same bytes every time."""

import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import unittest
import zipfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import BIN, BUILD, ROOT, Host, wait_until  # noqa: E402

sys.path.insert(0, os.path.join(ROOT, "installer"))

import dist  # noqa: E402
import package  # noqa: E402

WORK = os.path.join(BUILD, "installer-test")
for name in [name for name in os.environ if name.startswith("HCSD_SIGN_")]:
    del os.environ[name]  # whoever runs the tests signs nothing
OLD = "0.0.9"
SERVICE = "HKLM\\SYSTEM\\CurrentControlSet\\Services\\hcsd"
SOURCE = "HKLM\\SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\hcsd"
PATH = "HKLM\\SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Environment"


def older_files(folder):
    """The release files as version 0.0.9 would have them: the same programs, with that version in their resources."""
    os.makedirs(folder, exist_ok=True)
    for path in dist.release_files(BIN):
        if path.endswith(".md"):
            continue
        with open(path, "rb") as file:
            content = bytearray(file.read())
        at = content.find(struct.pack("<II", 0xFEEF04BD, 0x10000))
        if at >= 0:
            struct.pack_into("<IIII", content, at + 8, 0, 9 << 16, 0, 9 << 16)
        name = re.sub(r"-\d+\.\d+\.\d+\.", f"-{OLD}.", os.path.basename(path)) if "relay" in path else os.path.basename(path)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    return dist.release_files(folder)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Installer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(WORK, ignore_errors=True)
        os.makedirs(WORK)
        cls.version = package.file_version(os.path.join(BIN, "hcsd.exe")).removesuffix(".0")
        cls.old, cls.new = (os.path.join(WORK, name) for name in ("old.msi", "new.msi"))
        package.build(cls.old, os.path.join(WORK, ".work"), OLD, older_files(os.path.join(WORK, "old")), 1577836800)
        package.build(cls.new, os.path.join(WORK, ".work"), cls.version, dist.release_files(BIN), 1577836800)
        cls.host = Host("installer", debug="+eventlog,fixme+advapi").boot()

    @classmethod
    def tearDownClass(cls):
        cls.host.end()
        shutil.rmtree(WORK, ignore_errors=True)

    def setUp(self):
        self.host.write_config()
        self.before = self.traces()

    def tearDown(self):
        for task in (self.host.ctl("task", "ls", ok=False).json or {}).get("tasks", []) if self.state() == "RUNNING" else []:
            self.host.ctl("task", "delete", "--force", task["id"], ok=False)
        for msi in (self.new, self.old):
            self.msiexec("/x", msi)
        shutil.rmtree(self.host.unix("C:/ProgramData/hcsd"), ignore_errors=True)
        os.makedirs(self.host.unix("C:/ProgramData/hcsd"))

    # ---- what is there ----------------------------------------------------------------------------------------------

    def msiexec(self, *command):
        """The exit status. What it starts may keep its output open, so that is not waited for."""
        command = [Host.windows(part) if part.endswith(".msi") else part for part in command]
        return subprocess.run([self.host.environment["WINE"], "msiexec.exe", *command, "/qn"], env=self.host.environment, timeout=120,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode

    def state(self):
        match = re.search(r"STATE\s*:\s*\d+\s+(\w+)", self.host.run("sc.exe", "query", "hcsd").text)
        return match.group(1) if match else None

    def registry(self, key):
        return self.host.run("reg.exe", "query", key).text

    def installed(self):
        """The files below Program Files\\hcsd."""
        root = self.host.unix("C:/Program Files/hcsd")
        return sorted(os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names)

    def traces(self):
        """Every key and value of the machine's registry that names hcsd, but for the search path's (Wine leaves a
        separator), and what is on the disk."""
        self.host.run("reg.exe", "export", "HKLM", "C:\\registry.reg", "/y")
        with open(self.host.unix("C:/registry.reg"), encoding="utf-16") as file:
            lines = [line.rstrip() for line in file if "hcsd" in line.lower()]
        folders = [path for path in ("C:/Program Files/hcsd", "C:/ProgramData/hcsd") if os.path.exists(self.host.unix(path))]
        return lines, folders, self.host.unix_pid("hcsd.exe")

    def expected_files(self, version):
        names = [os.path.basename(path) for path in dist.release_files(BIN if version != OLD else os.path.join(WORK, "old"))]
        return sorted(name if name == "hcsctl.exe" else f"docs/{name}" if name.endswith(".md") else f"{version}/{name}" for name in names)

    def assert_runs(self, version):
        """That version is installed, nothing of another one is, and its service answers."""
        wait_until("the service runs", lambda: self.state() == "RUNNING")
        self.assertEqual(self.expected_files(version), self.installed())
        self.assertIn(f'"C:\\Program Files\\hcsd\\{version}\\hcsd.exe" --run-service --service-name hcsd', self.registry(SERVICE))
        self.assertIn(f"C:\\Program Files\\hcsd\\{version}\\hcsd-messages-", self.registry(SOURCE))
        self.assertIn("C:\\Program Files\\hcsd\\", self.registry(PATH))
        self.assertEqual("SERVING", self.host.ctl("health").json["status"])

    def start_container(self, name):
        self.host.ctl("task", "create", "--bundle", self.host.make_bundle(name, "emu:sleep 600"), name)
        self.host.ctl("task", "start", name)

    def configuration(self):
        with open(self.host.unix("C:/ProgramData/hcsd/config.json"), "rb") as file:
            return file.read()

    # ---- tests ------------------------------------------------------------------------------------------------------

    def test_a_life(self):
        configuration = self.configuration()
        self.assertEqual(0, self.msiexec("/i", self.old))
        self.assert_runs(OLD)
        self.start_container("web")

        self.assertEqual(0, self.msiexec("/i", self.new), "an upgrade while it runs")
        self.assert_runs(self.version)
        self.assertEqual(configuration, self.configuration())
        self.assertEqual("running", self.host.ctl("task", "state", "web").json["status"], "the container was taken up again")

        self.assertEqual(0, self.host.run("sc.exe", "stop", "hcsd").status)
        wait_until("the service has stopped", lambda: self.state() == "STOPPED")
        self.assertEqual(0, self.host.run("sc.exe", "start", "hcsd").status)
        self.assert_runs(self.version)

        since = len(self.host.boot_text())
        self.assertNotEqual(0, self.msiexec("/x", self.new), "a container is recorded")
        self.assert_runs(self.version)
        self.assertEqual("running", self.host.ctl("task", "state", "web").json["status"])
        self.host.ctl("task", "delete", "--force", "web")

        self.assertEqual(0, self.msiexec("/x", self.new))
        self.assertIsNone(self.state())
        lines, folders, processes = self.traces()
        self.assertEqual(([], [], []), (lines, folders, processes))
        self.assertNotIn("hcsd", self.registry(PATH))

    def test_the_refusal_is_an_event(self):
        self.assertEqual(0, self.msiexec("/i", self.new))
        self.assert_runs(self.version)
        self.start_container("db")
        program = self.host.unix(f"C:/Program Files/hcsd/{self.version}/hcsd.exe")
        refused = self.host.run(program, "--unregister-service", "--purge", environment={"WINEDEBUG": "+eventlog,fixme+advapi"})
        self.assertEqual(1, refused.status)
        self.assertIn("1 containers are recorded (db)", refused.error_text)
        self.assertRegex(refused.error_text, r"ReportEventW \([0-9A-F]+,0x0001,0x0001,0xc000000f,")
        self.assertEqual("RUNNING", self.state(), "nothing was changed")

    def test_what_it_is_told_to_keep_is_kept(self):
        configuration = self.configuration()
        self.assertEqual(0, self.msiexec("/i", self.new))
        self.assert_runs(self.version)
        self.start_container("kept")
        self.assertEqual(0, self.msiexec("/x", self.new, "KEEPDATA=1"))
        self.assertIsNone(self.state())
        lines, folders, processes = self.traces()
        self.assertEqual(([], ["C:/ProgramData/hcsd"], []), (lines, folders, processes))
        self.assertEqual(configuration, self.configuration())

        self.assertEqual(0, self.msiexec("/i", self.new))
        self.assert_runs(self.version)
        self.assertEqual("running", self.host.ctl("task", "state", "kept").json["status"], "the container was taken up again")
        self.assertEqual(1, len(self.host.books()["systems"]), "and is the same one")

    def test_an_older_version_is_refused(self):
        self.assertEqual(0, self.msiexec("/i", self.new))
        self.assert_runs(self.version)
        self.assertNotEqual(0, self.msiexec("/i", self.old))
        self.assert_runs(self.version)

    def test_arm64_is_refused(self):
        machine = ["/v", "PROCESSOR_ARCHITECTURE", "/t", "REG_SZ", "/f", "/d"]
        before = re.search(r"PROCESSOR_ARCHITECTURE\s+REG_SZ\s+(\w+)", self.registry(PATH)).group(1)
        self.assertEqual(0, self.host.run("reg.exe", "add", PATH, *machine, "ARM64").status)
        try:
            self.assertNotEqual(0, self.msiexec("/i", self.new))
            self.assertEqual(([], None), (self.installed(), self.state()))
        finally:
            self.host.run("reg.exe", "add", PATH, *machine, before)
        self.assertEqual(0, self.msiexec("/i", self.new), "the same installs where the machine is x64")
        self.assert_runs(self.version)

    def test_an_upgrade_that_fails_can_be_undone(self):
        """What the installer's rollback does: the service runs the program that it ran before."""
        line = '"C:\\elsewhere\\hcsd.exe" --run-service --service-name hcsd --config "C:\\my config.json"'
        self.assertEqual(0, self.host.run("sc.exe", "create", "hcsd", "binPath=", line, "start=", "demand").status)
        program = os.path.join(BIN, "hcsd.exe")
        self.assertEqual(0, self.host.run(program, "--register-service").status)
        self.assertIn(f'"{Host.windows(program)}" --run-service --service-name hcsd --config "C:\\my config.json"', self.registry(SERVICE),
                      "the configuration file stays")
        self.assertRegex(self.registry(SERVICE), r"Start\s+REG_DWORD\s+0x3", "and so does the start")
        self.assertEqual(0, self.host.run(program, "--restore-service").status)
        self.assertIn(f"ImagePath    REG_SZ    {line}", self.registry(SERVICE))
        left = self.host.run(program, "--unregister-service", "--if-own")
        self.assertEqual((0, True), (left.status, "left alone" in left.text))
        self.assertEqual("STOPPED", self.state())
        self.assertEqual(0, self.host.run(program, "--unregister-service").status)
        # Without a service before, undoing is removing.
        self.assertEqual(0, self.host.run(program, "--register-service").status)
        self.assertEqual(0, self.host.run(program, "--restore-service").status)
        self.assertIsNone(self.state())

    def test_release_files(self):
        made = []
        for folder in ("one", "two"):
            output = os.path.join(WORK, folder)
            subprocess.run([sys.executable, os.path.join(ROOT, "installer", "dist.py"), "--bin", BIN, "--output", output, "--version", self.version],
                           check=True, stdout=subprocess.DEVNULL, env=dict(os.environ, TZ="UTC" if folder == "one" else "Asia/Tokyo"))
            made.append({name: digest(os.path.join(output, name)) for name in os.listdir(output) if not name.startswith(".")})
            wait_until("another second of the clock", lambda now=time.time(): int(time.time()) > int(now))
        self.assertEqual(made[0], made[1], "the same bytes")
        names = [f"hcsd-{self.version}-{kind}" for kind in ("windows-x64.zip", "x64.msi")]
        self.assertEqual(["SHA256SUMS"] + names, sorted(made[0]))
        with open(os.path.join(WORK, "one", "SHA256SUMS"), encoding="ascii") as sums:
            self.assertEqual(sorted(f"{made[0][name]}  {name}" for name in names), sorted(sums.read().splitlines()))
        with zipfile.ZipFile(os.path.join(WORK, "one", names[0])) as archive:
            content = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
        sums = dict(reversed(line.split("  ")) for line in content.pop("SHA256SUMS").decode().splitlines())
        self.assertEqual({name: hashlib.sha256(data).hexdigest() for name, data in content.items()}, sums)
        self.assertEqual({name.split("/")[-1] for name in self.expected_files(self.version)}, {name.split("/")[-1] for name in content})

    def test_signed_release_files(self):
        """With a throw-away certificate: every program in the zip and in the MSI, and the MSI, carry its signature."""
        folder = os.path.join(WORK, "signed")
        os.makedirs(folder)
        key, certificate, container, password = (os.path.join(folder, name) for name in ("key.pem", "certificate.pem", "both.p12", "password"))
        with open(password, "w", encoding="ascii") as file:
            file.write("throw away")
        for command in (["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
                         "-subj", "/CN=hcsd test", "-addext", "extendedKeyUsage=codeSigning"],
                        ["pkcs12", "-export", "-in", certificate, "-inkey", key, "-out", container, "-passout", f"file:{password}"]):
            subprocess.run(["openssl", *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def make(name, **signing):
            output = os.path.join(folder, name)
            done = subprocess.run([sys.executable, os.path.join(ROOT, "installer", "dist.py"), "--bin", BIN, "--output", output, "--version", self.version],
                                  check=False, capture_output=True, text=True, env=dict(os.environ, **signing))
            return output, done

        def signature(path, authority=certificate):
            """Whether it is signed by that certificate, and nothing changed since."""
            return subprocess.run(["osslsigncode", "verify", "-CAfile", authority, "-in", path], check=False, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL).returncode == 0

        for name, signing in (("container", {"HCSD_SIGN_PKCS12": container, "HCSD_SIGN_PASSWORD_FILE": password}),
                              ("pair", {"HCSD_SIGN_CERT": certificate, "HCSD_SIGN_KEY": key})):
            output, done = make(name, **signing)
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertNotIn("unsigned", done.stdout)
            msi = os.path.join(output, f"hcsd-{self.version}-x64.msi")
            subprocess.run(["msiextract", "--directory", os.path.join(output, "msi"), msi], check=True, stdout=subprocess.DEVNULL)
            with zipfile.ZipFile(os.path.join(output, f"hcsd-{self.version}-windows-x64.zip")) as archive:
                archive.extractall(os.path.join(output, "zip"))
            programs = [os.path.join(where, file) for where, _, files in os.walk(output) for file in files if file.endswith((".exe", ".dll"))]
            names = sorted(os.path.basename(path) for path in dist.release_files(BIN) if path.endswith((".exe", ".dll")))
            self.assertEqual(sorted(2 * names), sorted(os.path.basename(path) for path in programs))
            for path in [msi] + programs:
                self.assertTrue(signature(path), path)
        # The check tells: a byte less, or no signature.
        with open(programs[0], "r+b") as file:
            file.seek(4096)
            byte = file.read(1)
            file.seek(4096)
            file.write(bytes([byte[0] ^ 1]))
        self.assertFalse(signature(programs[0]))
        self.assertFalse(signature(os.path.join(BIN, "hcsd.exe")))

        output, done = make("plain")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn("unsigned", done.stdout)
        for signing, word in (({"HCSD_SIGN_CERT": certificate}, "HCSD_SIGN_KEY"), ({"HCSD_SIGN_PKCS12": folder + "/absent"}, "absent"),
                              ({"HCSD_SIGN_PKCS12": container, "HCSD_SIGN_KEY": key}, "HCSD_SIGN_PKCS12"),
                              ({"HCSD_SIGN_CERT": certificate, "HCSD_SIGN_KEY": container}, "osslsigncode ended")):
            _, done = make("refused", **signing)
            self.assertNotEqual(0, done.returncode, signing)
            self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
