#!/usr/bin/env python3
"""kill -9 of hcsd, or of one of its workers, at random instants of mixed work: after the next start everything is as it must be.

HCSD_KILLS is how often (20), HCSD_SEED repeats a run: the same choices and the same instants, as far as the machine lets them.
HCSD_FIRST is the number of the first kill (0): a long run in pieces, or one kill of it again.
"""

import os
import random
import signal
import sys
import tarfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lab import Lab, PATIENCE, in_background, wait_until  # noqa: E402

KILLS = int(os.environ.get("HCSD_KILLS", "20"))
FIRST = int(os.environ.get("HCSD_FIRST", "0"))
SEED = int(os.environ.get("HCSD_SEED", time.time_ns() % 1000000))
LAYERS, RUNNERS = 2, 2
WORK_SECONDS = 1.6  # a kill comes within this time of the work's beginning: a point, not a measure
# One kill in so many is of a worker.
WORKER_KILLS = 4


class Work:
    """What clients do until they are told to stop, and what they were told: that is what must be so afterwards."""

    def __init__(self, lab, seed, round_number):
        self.lab, self.seed, self.number = lab, seed, round_number
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.created, self.running, self.deleted, self.unsure = set(), set(), set(), set()
        self.exports = self.failures = 0

    def start(self):
        self.joins = [in_background(self._export, index) for index in range(LAYERS)]
        self.joins += [in_background(self._containers, index) for index in range(RUNNERS)]
        return self

    def stop(self):
        self.over.set()
        for join in self.joins:
            join(2 * PATIENCE)

    def _export(self, index):
        pick = random.Random(self.seed * 100 + index)
        while not self.over.is_set():
            answer = self.lab.ask("layer", "export", "--layer", f"C:\\layers\\app{index}", "--parent", "C:\\layers\\base",
                                  "--compression", pick.choice(["none", "gzip"]), "--overwrite", "--output",
                                  f"C:\\out\\app{index}.tar")
            with self.lock:
                self.exports += answer.code == "OK"
                self.failures += answer.code != "OK"

    def _note(self, name, *, into=None, out_of=()):
        with self.lock:
            for names in out_of:
                names.discard(name)
            if into is not None:
                into.add(name)

    def _containers(self, index):
        """Each step is noted as unsure before it is asked for, and as done when that was confirmed."""
        pick, count = random.Random(self.seed * 100 + 50 + index), 0
        while not self.over.is_set():
            name = f"kill{self.number}-{index}-{count}"
            count += 1
            bundle = self.lab.make_bundle(name, "emu:sleep 36000", base="C:\\layers\\base")
            self._note(name, into=self.unsure)
            if self.lab.ask("task", "create", "--bundle", bundle, name).code != "OK":
                continue
            if pick.random() < 0.2:
                self._note(name, into=self.created, out_of=[self.unsure])
                continue
            if self.lab.ask("task", "start", name).code != "OK":
                continue
            self._note(name, into=self.running, out_of=[self.unsure])
            if pick.random() < 0.5:
                continue
            self._note(name, into=self.unsure, out_of=[self.running])
            if self.lab.ask("task", "kill", "--signal", "9", name).code != "OK":
                continue
            if self.lab.ask("task", "wait", name).code == "OK" and self.lab.ask("task", "delete", name).code == "OK":
                self._note(name, into=self.deleted, out_of=[self.unsure])


class Kills(unittest.TestCase):
    def setUp(self):
        self.lab = lab = Lab("faults-kills").open(watchdog={"stall_seconds": 5})
        self.addCleanup(lab.end)
        lab.make_layer("base", {f"file{index}.txt": b"base\n" for index in range(5)})
        for index in range(LAYERS):
            files = {f"folder{number % 7}/file{number}.txt": os.urandom(200) for number in range(60 + 60 * index)}
            files["big.bin"] = os.urandom(400_000 * (index + 1))
            lab.make_layer(f"app{index}", files)
        lab.start_console()
        self.whole = {}
        for index in range(LAYERS):
            lab.ctl("layer", "export", "--layer", f"C:\\layers\\app{index}", "--parent", "C:\\layers\\base", "--wait-cleanup",
                    "--output", f"C:\\out\\app{index}.tar")
            self.whole[f"app{index}.tar"] = self.members(f"app{index}.tar")

    def members(self, name):
        with tarfile.open(os.path.join(self.lab.unix("C:/out"), name)) as archive:
            found = {}
            for member in archive:
                data = archive.extractfile(member) if member.isfile() else None
                found[member.name] = len(data.read()) if data else None
            return found

    # ---- what must be so ----------------------------------------------------------------------------------------

    def settle(self, before):
        """Waits until hcsd has done what it does after a start; gives diag."""
        lab, seen = self.lab, {}

        def settled():
            diag = lab.ctl("diag").json
            seen["diag"] = diag["operations"], diag["quarantined"]
            seen["orphans"] = [pid for pid in before if pid in self.lab.worker_pids()]
            seen["staging"] = os.listdir(lab.staging)
            seen["partial"] = lab.partial_outputs()
            return not any(seen["diag"]) and not seen["orphans"] and not seen["staging"] and not seen["partial"]

        try:
            wait_until("", settled, PATIENCE, 0.1)
        except TimeoutError:
            self.fail(f"hcsd does not come to rest: {seen}")

    def check_containers(self, work):
        """Who was told to run does, and HCS, layers and journal tell the same."""
        lab = self.lab
        tasks = {task["id"]: task["status"] for task in lab.ctl("task", "ls").json["tasks"]}
        for name in sorted(work.running):
            self.assertEqual("running", tasks.get(name), f"{name} ran when hcsd was killed")
        for name in sorted(work.created):
            self.assertEqual("created", tasks.get(name), f"{name} was created when hcsd was killed")
        for name in sorted(work.deleted):
            self.assertNotIn(name, tasks)
        alive = {name for name, status in tasks.items() if status != "stopped"}
        scratches = {f"C:\\layers\\{name}-scratch" for name in alive}

        def same():
            books = lab.books()
            self.books_seen = books["systems"], books["activated"], books["prepared"]
            return (set(books["systems"]) == alive and set(books["activated"]) == scratches and
                    set(books["prepared"]) == scratches)

        try:
            wait_until("", same, PATIENCE, 0.2)
        except TimeoutError:
            self.fail(f"hcsd knows {sorted(tasks.items())}; HCS has {sorted(self.books_seen[0])}, activated "
                      f"{self.books_seen[1]}, prepared {self.books_seen[2]}")
        documents = {os.path.splitext(name)[0] for name in lab.documents(lab.tasks)}
        self.assertEqual(set(tasks), {name for name in tasks if any(name in document for document in documents)})
        self.assertEqual(len(alive), len(lab.documents(lab.jobs)), f"documents of jobs: {lab.documents(lab.jobs)}")
        return sorted(tasks)

    def check_outputs(self):
        for name in sorted(os.listdir(self.lab.unix("C:/out"))):
            self.assertIn(name, self.whole)
            self.assertEqual(self.whole[name], self.members(name), f"{name} is no whole archive")

    # ---- rounds -------------------------------------------------------------------------------------------------

    def strike(self, pick):
        """Gives what was killed."""
        workers = self.lab.worker_pids()
        if pick.randrange(WORKER_KILLS) == 0 and workers:
            pid = pick.choice(sorted(workers))
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            return "a worker", [pid]
        self.lab.kill()
        return "hcsd", workers

    def test_kills(self):
        lab, counts = self.lab, {"hcsd": 0, "a worker": 0}
        exports = failures = containers = 0
        print(f"\nseed {SEED}, {KILLS} kills from {FIRST}", flush=True)
        for number in range(FIRST, FIRST + KILLS):
            pick = random.Random(SEED * 1000 + number)
            work = Work(lab, SEED * 1000 + number, number).start()
            time.sleep(pick.uniform(0, WORK_SECONDS))  # banned-ok: the instant is what is drawn
            what, pids = self.strike(pick)
            work.stop()
            counts[what] += 1
            with self.subTest(seed=SEED, kill=number, what=what):
                if what == "hcsd":
                    lab.start_console()
                self.settle(pids)
                names = self.check_containers(work)
                self.check_outputs()
                for name in names:
                    lab.remove(name)
                self.settle([])
                books = lab.books()
                self.assertEqual([{}, [], []], [books["systems"], books["activated"], books["prepared"]])
                exports, failures, containers = exports + work.exports, failures + work.failures, containers + len(names)
            if (number + 1 - FIRST) % 10 == 0:
                print(f"  {number + 1 - FIRST} kills: {counts}; {exports} exports done, {failures} cut off, {containers} containers "
                      f"outlived", flush=True)
        print(f"kills: {counts}, seed {SEED}; {exports} exports were done, {failures} cut off, {containers} containers outlived "
              f"hcsd", flush=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
