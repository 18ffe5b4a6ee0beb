#!/usr/bin/env python3
"""make demo: hcsd's main job, from an empty Windows to a checked layer archive, one line a step.

The Windows binaries run under Wine against the emulator of vmcompute.dll. A step that does not hold ends the demo with
exit status 1 and says what was expected and what was found.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

from host import BIN, EMULATOR, ROOT, Host, wait_until  # noqa: E402

CHECKER = os.path.join(ROOT, "tests", "integration", "export", "check_tar.py")
LAYER_FILES = 4000
failed = False


def step(what):
    """Decorates one step: prints its line, and ends the demo when it raises."""

    def wrap(function):
        begin = time.monotonic()
        print(f"  {what:<58}", end="", flush=True)
        try:
            result = function()
        except Exception as error:  # whatever went wrong is this step's result
            print(f"FAILED  {time.monotonic() - begin:6.1f} s\n    {error}", flush=True)
            global failed
            failed = True
            raise SystemExit(1) from error
        print(f"{result or 'ok':<42}{time.monotonic() - begin:6.1f} s", flush=True)
        return result

    return wrap


def expect(what, expected, found):
    if expected != found:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


def sc(host, *arguments):
    result = host.run("sc.exe", *arguments)
    if result.status != 0:
        raise AssertionError(f"sc.exe {' '.join(arguments)}: status {result.status}: {result.text.strip()}")
    return result.text


def service_state(host):
    match = re.search(r"STATE\s*:\s*\d+\s+(\w+)", host.run("sc.exe", "query", "hcsd").text)
    return match.group(1) if match else "none"


def make_export_layers(host):
    """A base layer and a layer over it, of files that are on this machine: Wine's Windows folder, its programs and
    libraries, and texts. The upper one adds, changes and deletes some."""
    base = os.path.join(host.unix("C:/layers/windows"), "Files")
    layer = os.path.join(host.unix("C:/layers/app"), "Files")
    windows = os.path.join(host.drive_c, "windows")
    count = 0
    for folder, names, files in os.walk(windows):
        names.sort()
        for name in sorted(files):
            source = os.path.join(folder, name)
            if os.path.islink(source) or not os.path.isfile(source):
                continue
            target = os.path.join(layer, "Windows", os.path.relpath(source, windows))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(source, target)
            count += 1
    texts = 0
    for top in ("/usr/share/doc", "/usr/share/perl", "/usr/share/cmake-3.25", "/usr/lib/python3"):
        for folder, names, files in os.walk(top):
            names.sort()
            for name in sorted(files):
                source = os.path.join(folder, name)
                if count + texts >= LAYER_FILES or os.path.islink(source) or not os.path.isfile(source):
                    continue
                # Two names that differ in case only are one name to Windows.
                target = os.path.join(layer, "Texts", os.path.relpath(source, "/usr").lower())
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy2(source, target)
                texts += 1
    # Every fifth file is the base's too, unchanged; three of them the layer changes, and three it has deleted.
    shared = 0
    for folder, names, files in os.walk(layer):
        names.sort()
        for index, name in enumerate(sorted(files)):
            if index % 5 == 0:
                source = os.path.join(folder, name)
                target = os.path.join(base, os.path.relpath(source, layer))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy2(source, target)
                shared += 1
    changed = sorted(os.path.join(folder, name) for folder, _, files in os.walk(base) for name in files)[:3]
    for path in changed:
        with open(os.path.join(layer, os.path.relpath(path, base)), "ab") as file:
            file.write(b"changed by the upper layer\r\n")
    for name in ("old.ini", "logs/a.log", "logs/b.log"):
        path = os.path.join(base, "Removed", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(name)
    for name in ("windows", "app"):
        os.makedirs(os.path.join(host.unix(f"C:/layers/{name}"), "Hives"), exist_ok=True)
    return count + texts, shared


def main():
    begin = time.monotonic()
    host = Host("demo", debug="+eventlog,fixme+advapi")
    print("hcsd demo: the Windows binaries under Wine, against the emulated Host Compute Service")
    try:
        run(host)
    finally:
        host.end()
    print(f"All steps held. {time.monotonic() - begin:.1f} s")


def run(host):
    @step("boot a Wine prefix of its own")
    def _():
        host.boot()
        host.write_config()
        return host.run("cmd", "/c", "ver").text.strip()

    @step("register the service with sc.exe")
    def _():
        image = Host.windows(os.path.join(BIN, "hcsd.exe"))
        sc(host, "create", "hcsd", "binPath=", f'"{image}" --run-service', "start=", "auto", "DisplayName=",
           "hcsd container service")
        return service_state(host)

    @step("start it: sc.exe start hcsd")
    def _():
        sc(host, "start", "hcsd")
        wait_until("the service runs", lambda: service_state(host) == "RUNNING", 60)
        expect("health", "SERVING", host.ctl("health").json["status"])
        return "RUNNING, the pipe answers SERVING"

    @step("run a process in a container from an OCI bundle")
    def _():
        bundle = host.make_bundle("hello", 'cmd /c "echo made in a container> C:\\out\\effect.txt& echo seen by %LAB%& exit 7"')
        ran = host.run(*host.ctl_command("task", "run", "--bundle", bundle, "hello"))
        if "seen by hcsd" not in ran.text:
            raise AssertionError(f"no output of the process: {ran.text!r} {ran.error_text!r}")
        if "7" not in ran.text + ran.error_text:
            raise AssertionError(f"exit code 7 is not shown: {ran.text!r}")
        with open(host.unix("C:/out/effect.txt"), encoding="utf-8") as file:
            expect("file made by the process", "made in a container", file.read().strip())
        return "prints, makes a file, exit code 7"

    @step("create and start one that would run for ever")
    def _():
        bundle = host.make_bundle("forever", "ping -n 100000 127.0.0.1")
        host.ctl("task", "create", "--bundle", bundle, "forever")
        host.ctl("task", "start", "forever")
        state = host.ctl("task", "state", "forever").json
        expect("status", "running", state["status"])
        return f"running, pid {state['pid']}"

    @step("kill it, wait for it, delete it")
    def _():
        host.ctl("task", "kill", "--signal", "9", "forever")
        waited = host.ctl("task", "wait", "forever").json
        expect("status", "stopped", waited["status"])
        host.ctl("task", "delete", "forever")
        expect("tasks left", [], host.ctl("task", "ls").json["tasks"])
        books = host.books()
        expect("layers still prepared", [], list(books["prepared"]))
        return f"exit status {waited['exit_status']}, nothing left mounted"

    @step("make a layer of real files over a parent")
    def _():
        files, shared = make_export_layers(host)
        return f"{files} files, {shared} of them the parent's"

    archive = host.unix("C:/out/app.tar.gz")

    @step("export it to a gzip archive")
    def _():
        result = host.ctl("layer", "export", "--layer", "C:\\layers\\app", "--parent", "C:\\layers\\windows", "--output",
                          "C:\\out\\app.tar.gz", "--compression", "gzip", "--wait-cleanup", timeout=300).json
        run.export = result
        expect("cleanup", "done", result["cleanup"])
        expect("size", os.path.getsize(archive), result["size"])
        run.deviations = result["deviations"]
        return f"{result['entries']} entries, {result['size'] / 1e6:.1f} MB, cleanup {result['cleanup']}"

    @step("check digest and diff_id with Python and gzip")
    def _():
        with open(archive, "rb") as file:
            expect("digest", run.export["digest"], "sha256:" + hashlib.file_digest(file, "sha256").hexdigest())
        plain = subprocess.Popen(["gzip", "-dc", archive], stdout=subprocess.PIPE)
        digest = hashlib.sha256()
        for piece in iter(lambda: plain.stdout.read(1 << 20), b""):
            digest.update(piece)
        expect("gzip's exit status", 0, plain.wait())
        expect("diff_id", run.export["diff_id"], "sha256:" + digest.hexdigest())
        return run.export["digest"][:23] + "…"

    @step("check every entry against the two trees (Python)")
    def _():
        checked = subprocess.run(
            [sys.executable, CHECKER, "--layer", host.unix("C:/layers/app"), "--parent", host.unix("C:/layers/windows"), archive],
            capture_output=True, text=True, check=False, timeout=300)
        if checked.returncode != 0:
            raise AssertionError(checked.stdout[-3000:] + checked.stderr[-3000:])
        return " ".join(checked.stdout.split()[:3])

    @step("read it with an independent archiver (bsdtar)")
    def _():
        listed = subprocess.run(["bsdtar", "-tf", archive], capture_output=True, check=False, timeout=300)
        expect("bsdtar's exit status", 0, listed.returncode)
        names = listed.stdout.decode("utf-8", "replace").splitlines()
        expect("entries", run.export["entries"], len(names))
        whiteouts = sorted(name for name in names if "/.wh." in name)
        expect("whiteouts", ["Files/.wh.Removed"], whiteouts)
        return f"{len(names)} names, whiteout {whiteouts[0]}"

    @step("a wrong call gets a clear error")
    def _():
        error = host.refused("task", "start", "nobody")
        expect("code", "NOT_FOUND", error["code"])
        return error["code"]

    @step("stop it: sc.exe stop hcsd")
    def _():
        sc(host, "stop", "hcsd")
        wait_until("the service stops", lambda: service_state(host) == "STOPPED", 60)
        sc(host, "delete", "hcsd")
        left = os.listdir(host.unix("C:/ProgramData/hcsd/staging"))
        expect("staging folders left", [], left)
        return "STOPPED, nothing left in staging"

    @step("what it told the event log")
    def _():
        run.events = event_log(host)
        numbers = [number for number, _ in run.events]
        for name, number in (("start", 1), ("stop", 2)):
            if number not in numbers:
                raise AssertionError(f"the {name} (event {number}) is not among the events: {numbers}")
        return f"{len(run.events)} events"

    for number, text in run.events[:12]:
        print(f"      event {number}: {text}")


def event_log(host):
    """What ReportEventW was given, as (number, message): Wine prints the call and then its strings, one a line."""
    with open(os.path.join(ROOT, "lib", "base", "event.def"), encoding="utf-8") as file:
        messages = {int(row[0]): row[1] for row in
                    re.findall(r'^EVENT\((\d+), \w+, \w+, \w+, \d+, "((?:[^"\\]|\\.)*)"', file.read(), re.MULTILINE)}
    events = []
    for line in host.boot_text().splitlines():
        call = re.search(r"ReportEventW \(\w+,0x\w+,0x\w+,0x(\w+),", line)
        string = re.search(r':eventlog:ReportEventW L"(.*)"', line)
        if call:
            events.append((int(call.group(1), 16) & 0xFFFF, []))
        elif string and events:
            events[-1][1].append(string.group(1).replace("\\\\", "\\"))
    return [(number, re.sub(r"%(\d)", lambda match, strings=strings: (strings + [""] * 9)[int(match.group(1)) - 1],
                            messages[number])) for number, strings in events]


if __name__ == "__main__":
    main()
