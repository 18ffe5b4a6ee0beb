#!/usr/bin/env python3
"""The fault matrix: every export of vmcompute.dll that hcsd calls, and its notifications, with every action of the fault file,
while other containers and exports run beside it.

Each cell: the request is answered within a bound, with the right status and the name of the culprit; when the fault is
released nothing is left of it; the neighbours have noticed nothing; hcsd at rest holds no more than before. A call that
ends hcsd (a crash in a compute call) is judged after its restart.

HCSD_CELLS is how many cells are taken (10), or "all", or words of which one must be in a cell's title; HCSD_SEED repeats a
choice.
"""

import os
import queue
import random
import sys
import threading
import time
import traceback
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from calls import called, exports  # noqa: E402
from cells import ACTIONS, NOTIFIED  # noqa: E402
from lab import Audit, Lab, Neighbours, PATIENCE, wait_until  # noqa: E402
from scenarios import SCENARIOS, UNREACHED, all_cells  # noqa: E402

SIDE_BY_SIDE = 3
AUDIT_EVERY = 40


def choose(cells):
    """The cells that are run, and how they were chosen."""
    wanted = os.environ.get("HCSD_CELLS", "10")
    if wanted == "all":
        return cells, "all of them"
    if not wanted.isdigit():
        words = wanted.split(",")
        return [cell for cell in cells if any(word in cell.title for word in words)], f"those with {wanted}"
    seed = int(os.environ.get("HCSD_SEED", time.time_ns() % 1000000))
    pick, chosen = random.Random(seed), []
    # one of each action first, the rest from all
    for action in ACTIONS:
        chosen.append(pick.choice([cell for cell in cells if cell.action == action]))
    rest = [cell for cell in cells if cell not in chosen]
    chosen += pick.sample(rest, max(0, min(len(rest), int(wanted) - len(chosen))))
    return chosen, f"seed {seed}"


class Matrix:
    def __init__(self, lab):
        self.lab = lab
        self.failures = []
        self.run_count = 0
        self.lock = threading.Lock()
        self.neighbours = Neighbours(lab).start()
        self.audit = None

    def note(self, cell, outcome, seconds):
        with self.lock:
            self.run_count += 1
            print(f"  {cell.title}: {outcome} ({seconds:.1f} s)", flush=True)

    def fail(self, what, error):
        with self.lock:
            self.failures.append(f"{what}: {error}")
            print(f"  FAILED {what}: {error}", flush=True)
            if not isinstance(error, (AssertionError, TimeoutError)):
                traceback.print_exception(error)

    # ---- one cell -----------------------------------------------------------------------------------------------

    def judge_answer(self, cell, answer):
        codes, words = cell.scenario.expect(cell)
        if answer.code not in codes:
            raise AssertionError(f"expected {' or '.join(sorted(codes))}, found {answer}")
        missing = [word for word in words if answer.code != "OK" and word not in answer.text]
        if missing:
            raise AssertionError(f"{', '.join(missing)} is not named in: {answer}")

    def after_a_crash(self, cell):
        lab = self.lab
        if not getattr(cell, "ended", False) and not lab.has_ended(20):
            raise AssertionError("hcsd did not end by the crash")
        cell.ended = True
        lab.rows.clear()
        lab.restart()
        wait_until("all containers are taken up again", lambda: not [row for row in lab.ctl("diag").json["operations"]
                                                                     if row["kind"] == "reattach"], PATIENCE, 0.2)

    def run_cell(self, cell):
        lab, began, answer = self.lab, time.monotonic(), None
        try:
            cell.scenario.prepare(lab, cell)
            lab.rows.set(cell.id, *cell.rows())
            try:
                answer = cell.scenario.request(lab, cell)
                self.judge_answer(cell, answer)
                if cell.ends_hcsd:
                    self.after_a_crash(cell)
                else:
                    cell.scenario.under_fault(lab, cell, answer)
            finally:
                if cell.ends_hcsd and not getattr(cell, "ended", False):
                    lab.has_ended(20)
                lab.rows.clear(cell.id)
                if lab.daemon is None or lab.daemon.poll() is not None:
                    lab.restart()
            cell.scenario.restore(lab, cell)
            lab.drain(cell.id)
            self.note(cell, answer.code, time.monotonic() - began)
        except Exception as error:
            self.fail(cell.title, error)

    # ---- all of them --------------------------------------------------------------------------------------------

    def side_by_side(self, cells):
        todo = queue.Queue()
        for cell in cells:
            todo.put(cell)

        def body():
            while True:
                try:
                    cell = todo.get_nowait()
                except queue.Empty:
                    return
                self.run_cell(cell)

        threads = [threading.Thread(target=body) for _ in range(SIDE_BY_SIDE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def check(self, what):
        """Between cells: the neighbours, and what hcsd holds."""
        try:
            self.neighbours.check()
            if self.audit is not None:
                print(f"  {what}: at rest {self.audit.check()}", flush=True)
        except Exception as error:
            self.fail(what, error)

    def run(self, cells):
        lab, together = self.lab, [cell for cell in cells if not cell.alone]
        alone = [cell for cell in cells if cell.alone]
        wait_until("the neighbours have gone round", lambda: self.neighbours.rounds >= 2, PATIENCE)
        for start in range(0, len(together), AUDIT_EVERY):
            self.neighbours.pause()
            if self.audit is None:
                self.audit = Audit(lab)
            self.neighbours.go_on()
            rounds = self.neighbours.rounds
            self.side_by_side(together[start:start + AUDIT_EVERY])
            try:
                wait_until("the neighbours go round", lambda: self.neighbours.rounds > rounds, PATIENCE)
            except TimeoutError as error:
                self.fail("neighbours", error)
            self.neighbours.pause()
            self.check(f"after {min(len(together), start + AUDIT_EVERY)} cells side by side")
        # What strikes everybody: the neighbours' round waits, their containers do not.
        self.neighbours.pause()
        lives = sorted(alone, key=lambda cell: cell.ends_hcsd or cell.scenario.name == "restart")
        for index, cell in enumerate(lives):
            self.run_cell(cell)
            try:
                self.neighbours.check()
            except Exception as error:
                self.fail(f"{cell.title}, neighbours", error)
            last_of_life = index + 1 == len(lives) or lives[index + 1].ends_hcsd or lives[index + 1].scenario.name == "restart"
            if last_of_life and not (cell.ends_hcsd or cell.scenario.name == "restart"):
                self.check("after the cells that strike everybody")
                self.audit = None
        self.neighbours.go_on()
        rounds = self.neighbours.rounds
        try:
            wait_until("the neighbours go on", lambda: self.neighbours.rounds > rounds or self.neighbours.failure, PATIENCE)
        except TimeoutError as error:
            self.fail("neighbours", error)
        self.neighbours.pause()
        self.audit = None
        self.check("at the end")
        self.neighbours.end()


class FaultMatrix(unittest.TestCase):
    def test_every_call_has_a_scenario(self):
        known = set(exports("STORAGE") + exports("COMPUTE"))
        calls = set(called())
        self.assertGreater(len(calls), 20, "the list of calls is read from the sources; it cannot be that short")
        self.assertEqual([], sorted(calls - set(SCENARIOS) - set(UNREACHED)),
                         "hcsd makes these calls, and scenarios.py has no scenario for them")
        self.assertEqual(set(), set(UNREACHED) & set(SCENARIOS))
        self.assertEqual([], sorted(set(UNREACHED) - calls), "hcsd does not make these calls")
        self.assertEqual([], sorted(call for call, reason in UNREACHED.items() if not reason.strip()), "no reason is given")
        self.assertEqual([], sorted(set(SCENARIOS) - calls - {"ProcessExited", "SystemExited"}), "hcsd does not make these calls")
        self.assertLessEqual(NOTIFIED, known)

    def test_matrix(self):
        cells = all_cells()
        senseless = [(cell, cell.meaningless()) for cell in cells if cell.meaningless()]
        cells = [cell for cell in cells if not cell.meaningless()]
        chosen, how = choose(cells)
        print(f"\n{len(SCENARIOS)} calls and notifications, {len(ACTIONS)} actions: {len(cells)} cells, {len(senseless)} that make no "
              f"sense; {len(chosen)} are run ({how})", flush=True)
        for reason in sorted({reason for _, reason in senseless}):
            titles = [f"{cell.call} {cell.action}" for cell, why in senseless if why == reason]
            print(f"  no sense, {reason}: {', '.join(titles)}")
        for call, reason in sorted(UNREACHED.items()):
            print(f"  not reached, {reason}: {call}")
        with Lab("faults-matrix").open() as lab:
            lab.start_console()
            matrix = Matrix(lab)
            matrix.run(chosen)
            struck = lab.books()["calls"]
        print(f"matrix: {matrix.run_count} of {len(chosen)} cells passed, {len(matrix.failures)} failures; the neighbours went round "
              f"{matrix.neighbours.rounds} times", flush=True)
        unknown = sorted(name for name in struck if name in exports("STORAGE") + exports("COMPUTE") and name not in SCENARIOS)
        self.assertEqual([], unknown, "calls that were made and have no scenario")
        self.assertEqual([], matrix.failures)


if __name__ == "__main__":
    unittest.main(verbosity=2)
