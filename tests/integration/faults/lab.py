"""A host on which calls fail: its own emulator, hcsd with fault points, and neighbours that must not notice.

Bounds here are short so that a test of what hangs does not take long; nothing is asserted about how long anything takes but
that it comes to an end.
"""

import json
import os
import shutil
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import BUILD, EMULATOR, Host, in_background, wait_until  # noqa: E402,F401

SETTINGS = {
    "hcs": {"call_seconds": 3, "max_lost_calls": 200},
    "watchdog": {"stall_seconds": 1, "destroy_seconds": 2},
    "kill": {"answer_seconds": 2},
    "stdio": {"drain_seconds": 1},
    "export": {"workers": 3},
}
PATIENCE = 60.0
ANSWER = 30.0  # more than any request may take with the settings above


class Rows:
    """The fault rows of several owners in one file."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "vmcompute-faults.json")
        self.owners = {}
        self.lock = threading.Lock()

    def _write(self):
        rows = [row for rows in self.owners.values() for row in rows]
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump(rows, file)
        os.replace(self.path + ".new", self.path)

    def set(self, owner, *rows):
        with self.lock:
            self.owners[owner] = rows
            self._write()

    def clear(self, owner=None):
        with self.lock:
            if owner is None:
                self.owners.clear()
            else:
                self.owners.pop(owner, None)
            self._write()


class Answer:
    """What a request gave: "OK" or the name of the gRPC status, and all that was said."""

    def __init__(self, result, seconds):
        self.seconds = seconds
        if result.status == 0:
            self.code, self.text, self.json = "OK", result.text, result.json
        else:
            error = result.error
            self.code, self.json = error["code"], error
            self.text = " ".join(str(part) for part in error.values())

    def __str__(self):
        return f"{self.code} after {self.seconds:.1f} s: {self.text.strip()[:300]}"


class Lab(Host):
    BROKER = "C:\\emulator\\hcsemu.exe"  # by the name that hcsd has it by: each folder has a broker of its own

    def open(self, **settings):
        """Boots, with an emulator of its own and hcsd with fault points; does not start hcsd."""
        self.boot()
        self.emulator = self.unix("C:/emulator")
        os.makedirs(self.emulator, exist_ok=True)
        for name in ("vmcompute.dll", "hcsemu.exe"):
            shutil.copy2(os.path.join(EMULATOR, name), self.emulator)
        self.program = os.path.join(BUILD, "tests", "hcsd_faults.exe")
        self.points = self.unix("C:/fault-points.txt")
        self.environment["HCSD_FAULT_POINTS"] = "C:\\fault-points.txt"
        self.environment["HCSD_FAULT_STAGING"] = "C:\\ProgramData\\hcsd\\staging"
        self.rows = Rows(self.emulator)
        self.settings = {section: dict(values) for section, values in SETTINGS.items()}
        for section, values in settings.items():
            self.settings.setdefault(section, {}).update(values)
        self.settings["hcs"]["library"] = "C:\\emulator\\vmcompute.dll"
        self.write_config(**self.settings)
        self.staging = self.unix("C:/ProgramData/hcsd/staging")
        self.jobs = self.unix("C:/ProgramData/hcsd/state/jobs")
        self.tasks = self.unix("C:/ProgramData/hcsd/state/tasks")
        self.past = ""
        self.known_pid = (None, 0)
        return self

    def __enter__(self):
        return self

    def end(self):
        if os.path.isdir(self.drive_c):
            self.run(self.BROKER, "--stop")
        super().end()

    def books(self):
        books = self.run_surely(self.BROKER, "--books").json
        if not books["running"]:
            raise AssertionError("the emulator's broker does not run")
        return books

    # ---- fault points -------------------------------------------------------------------------------------------

    def set_points(self, *lines):
        with open(self.points + ".new", "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
        os.replace(self.points + ".new", self.points)

    # ---- hcsd ---------------------------------------------------------------------------------------------------

    def restart(self):
        """After its end: hcsd again. What the last one said stays in said()."""
        self.past += self.console_text()
        self.daemon = None
        self.start_console()

    def kill(self):
        """kill -9 of hcsd."""
        self.past += self.console_text()
        self.stop_console()

    def said(self):
        """What all lives of hcsd printed."""
        return self.past + (self.console_text() if self.daemon is not None else "")

    def has_ended(self, seconds=PATIENCE):
        """Whether hcsd ends by itself within the time."""
        try:
            wait_until("hcsd ends", lambda: self.daemon.poll() is not None, seconds)
        except TimeoutError:
            return False
        return True

    def pid(self):
        def told():
            shown = self.ctl("version", ok=False)
            return shown if shown.status == 0 else None

        return wait_until("hcsd tells its pid", told, 10).json["hcsd"]["pid"]

    def worker_pids(self):
        """Unix pids of hcsd's workers."""
        found = []
        for pid in self.unix_pid(os.path.basename(self.program)):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if b"--worker" in file.read().split(b"\0"):
                        found.append(pid)
            except OSError:
                continue
        return found

    def census(self):
        """{"handles", "threads", "types", "starts"} of hcsd.exe: census.c. Only the first look asks hcsd itself: what is asked keeps
        the thread pool's threads from ending."""
        if self.known_pid[0] is not self.daemon:
            self.known_pid = (self.daemon, self.pid())
        return self.run_surely(os.path.join(BUILD, "tests", "census.exe"), str(self.known_pid[1])).json

    def ask(self, *arguments):
        """hcsctl ARGUMENTS, and what it gave. Raises when it has not come back within the bound."""
        began = time.monotonic()
        result = self.ctl(*arguments, ok=False, timeout=ANSWER + 30)
        answer = Answer(result, time.monotonic() - began)
        if answer.seconds > ANSWER:
            raise AssertionError(f"hcsctl {' '.join(arguments)}: answered only after {answer.seconds:.1f} s: {answer}")
        return answer

    # ---- what is left -------------------------------------------------------------------------------------------

    def left_of(self, name):
        """All that has `name` in it: compute systems, layers, operations, stuck calls, documents. Empty: nothing."""
        books, diag = self.books(), self.ctl("diag").json
        left = [f"system {system}" for system in books["systems"] if name in system]
        left += [f"{kind} {layer}" for kind in ("prepared", "activated") for layer in books[kind] if name in layer]
        left += [f"operation {row['kind']} of {row['object']}: {row['phase']} {row['step']}" for row in diag["operations"]
                 if name in row["object"] or name in row["path"]]
        left += [f"stuck call {row['call']} for {row['object']}" for row in diag["stuck_calls"] if name in row["object"]]
        left += [f"document {file}" for file in self.documents(self.tasks) if name in file]
        return left

    @staticmethod
    def documents(folder):
        return [file for _, _, files in os.walk(folder) for file in files if file != "reserve.bin"]

    def partial_outputs(self):
        return [file for file in os.listdir(self.unix("C:/out")) if ".partial-" in file]

    def drain(self, name):
        """Waits until nothing of `name` is left; says what is when it does not go."""
        left = ["?"]

        def nothing():
            left[:] = self.left_of(name)
            return not left

        try:
            wait_until("", nothing, PATIENCE, 0.2)
        except TimeoutError:
            raise AssertionError(f"still left {PATIENCE:g} s after the fault was released: {', '.join(left)}") from None

    def remove(self, name):
        """Ends and deletes a container, however it stands, within the bound."""
        def gone():
            if self.ask("task", "state", name).code == "NOT_FOUND":
                return True
            self.ask("task", "kill", "--signal", "9", name)
            return self.ask("task", "delete", name).code in ("OK", "NOT_FOUND")

        wait_until(f"container {name} can be ended and deleted", gone, PATIENCE, 0.3)


class Neighbours:
    """Containers and exports that go on while others meet faults. One container runs, one is created, for the whole time; a
    thread makes, runs, ends and deletes another, and exports a layer, again and again."""

    def __init__(self, lab):
        self.lab = lab
        self.rounds = 0
        self.failure = None
        self.wanted = threading.Event()
        self.paused = threading.Event()
        self.over = threading.Event()
        self.thread = None

    def start(self):
        lab = self.lab
        lab.make_layer("beside-base", {"hello.txt": b"hello\n"})
        lab.make_layer("beside-app", {"hello.txt": b"hello, app\n", "bin/tool.bin": os.urandom(100_000)})
        for name in ("beside-run", "beside-idle", "beside-turn"):
            lab.make_bundle(name, "emu:sleep 36000", base="C:\\layers\\beside-base")
        for name in ("beside-run", "beside-idle"):
            lab.ctl("task", "create", "--bundle", f"C:\\bundles\\{name}", name)
        lab.ctl("task", "start", "beside-run")
        self.thread = threading.Thread(target=self._body, daemon=True)
        self.wanted.set()
        self.thread.start()
        return self

    def _round(self):
        lab = self.lab
        lab.ctl("task", "create", "--bundle", "C:\\bundles\\beside-turn", "beside-turn")
        lab.ctl("task", "start", "beside-turn")
        lab.ctl("layer", "export", "--layer", "C:\\layers\\beside-app", "--parent", "C:\\layers\\beside-base", "--compression",
                "none", "--overwrite", "--wait-cleanup", "--output", "C:\\out\\beside.tar")
        lab.ctl("task", "kill", "--signal", "9", "beside-turn")
        lab.ctl("task", "wait", "beside-turn")
        lab.ctl("task", "delete", "beside-turn")

    def _body(self):
        while not self.over.is_set():
            if not self.wanted.is_set():
                self.paused.set()
                self.wanted.wait(0.2)
                continue
            self.paused.clear()
            try:
                self._round()
                self.rounds += 1
            except Exception as error:  # told by check()
                self.failure = error
                self.over.set()
            self.over.wait(0.3)
        self.paused.set()

    def pause(self):
        self.wanted.clear()
        if not self.paused.wait(PATIENCE):
            raise AssertionError("the neighbours' round has not ended")

    def go_on(self):
        self.wanted.set()

    def check(self):
        """They have noticed nothing."""
        if self.failure is not None:
            raise AssertionError(f"a neighbour was hit: {self.failure}")
        for name, status in (("beside-run", "running"), ("beside-idle", "created")):
            answer = self.lab.ask("task", "state", name)
            if answer.code != "OK" or answer.json["status"] != status:
                raise AssertionError(f"neighbour {name} is no longer {status}: {answer}")

    def end(self):
        self.over.set()
        if self.thread is not None:
            self.thread.join(PATIENCE)


class Audit:
    """Whether hcsd at rest holds more than it held at first."""

    HANDLES, THREADS = 5, 3  # what may come and go by chance: the thread pools of system and emulator
    WORKER_HANDLES, WORKER_THREADS = 6, 1  # for each worker: the pool grows to its size as work comes, and keeps it
    IDLE = 12  # seconds after which every thread without work has ended: the pools' limits are 5 and 10

    def __init__(self, lab):
        self.lab = lab
        self.first = self._rest()

    def _end_workers_on_demand(self):
        """Those that mount and clean would go by themselves after half a minute without work; so long nobody need wait."""
        for row in self.lab.ctl("diag").json["workers"]:
            if row["state"] == "idle" and row["lane"] in ("mount", "clean"):
                self.lab.run("taskkill", "/f", "/pid", str(row["pid"]))

    def _census(self):
        """What hcsd holds without what it holds for its workers."""
        workers, census = len(self.lab.worker_pids()), self.lab.census()
        return dict(census, workers=workers, handles=census["handles"] - self.WORKER_HANDLES * workers,
                    threads=census["threads"] - self.WORKER_THREADS * workers)

    def _rest(self):
        """The least seen until nothing has ended for so long that nothing will."""
        self._end_workers_on_demand()
        least, since = self._census(), time.monotonic()
        end = since + PATIENCE
        while time.monotonic() < min(since + self.IDLE, end):
            time.sleep(1.0)  # banned-ok: between looks
            now = self._census()
            if (now["threads"], now["handles"]) < (least["threads"], least["handles"]):
                least, since = now, time.monotonic()
        return least

    def more(self, now):
        """What there is more of than at first, or less: by the handles' types, the threads' beginnings."""
        change = {}
        for kind in ("types", "starts"):
            for name in sorted(set(now[kind]) | set(self.first[kind])):
                difference = now[kind].get(name, 0) - self.first[kind].get(name, 0)
                if difference:
                    change[name] = difference
        return change

    def tell(self, now):
        return (f"{now['handles']} handles and {now['threads']} threads beside those of its {now['workers']} workers, at first "
                f"{self.first['handles']} and {self.first['threads']} beside those of {self.first['workers']}: {self.more(now)}")

    def check(self):
        """Waits until hcsd is at rest and holds no more than it may; gives words about it."""
        lab, seen = self.lab, {}

        def at_rest():
            diag = lab.ctl("diag").json
            seen.update(operations=diag["operations"], stuck=diag["stuck_calls"], staging=os.listdir(lab.staging),
                        workers=[row for row in diag["workers"] if row["state"] != "idle"], partial=lab.partial_outputs())
            return not any(seen.values())

        try:
            wait_until("", at_rest, PATIENCE, 0.3)
        except TimeoutError:
            raise AssertionError(f"hcsd does not come to rest: {seen}") from None

        self._end_workers_on_demand()

        def no_more():
            now = self._census()
            seen["census"] = now
            return (now["handles"] <= self.first["handles"] + self.HANDLES and
                    now["threads"] <= self.first["threads"] + self.THREADS)

        try:
            wait_until("", no_more, PATIENCE, 1)
        except TimeoutError:
            raise AssertionError(f"hcsd at rest holds {self.tell(seen['census'])}") from None
        return self.tell(seen["census"])
