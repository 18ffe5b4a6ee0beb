"""How each call comes to be made, what a fault in it must lead to, and how the container or layer is left.

A scenario makes hcsd come to one call for one object; a cell is a scenario with one action of the fault file. What an action
leads to is the `expect` of the scenario: the status of the request (several where it depends on who is faster), and the
words that name the culprit.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from cells import ACTIONS, CRASHED, FAILURE, Cell, Scenario  # noqa: E402
from host import BUILD, wait_until  # noqa: E402
from lab import PATIENCE  # noqa: E402
from scenarios_layers import LAYER_SCENARIOS  # noqa: E402


def struck(lab):
    """Whether the first row of the fault file has struck."""
    counts = lab.books()["fault_counts"]
    return bool(counts) and counts[0] > 0


class Create(Scenario):
    """task create: mount, then the system."""
    name = "create"

    def prepare(self, lab, cell):
        cell.bundle = self.bundle(lab, cell)

    def request(self, lab, cell):
        return lab.ask("task", "create", "--bundle", cell.bundle, cell.id)

    def under_fault(self, lab, cell, answer):
        wanted = "created" if answer.code == "OK" else "NOT_FOUND"
        if self.state(lab, cell) != wanted:
            raise AssertionError(f"after {answer.code} the container is {self.state(lab, cell)}, not {wanted}")


class Start(Scenario):
    """task start: the system, then its process."""
    name = "start"

    def prepare(self, lab, cell):
        lab.ctl("task", "create", "--bundle", self.bundle(lab, cell), cell.id)

    def request(self, lab, cell):
        return lab.ask("task", "start", cell.id)

    def restore(self, lab, cell):
        if cell.action not in ("late", "twice") and not cell.ends_hcsd:
            ended = lab.ask("task", "wait", cell.id)
            if ended.code != "OK" or ended.json["exit_status"] != 127:
                raise AssertionError(f"an init that did not start must have exit status 127: {ended}")
        super().restore(lab, cell)


class Signal(Scenario):
    """A running container and one signal, which must not end it unless HCS took it."""

    def __init__(self, name, number):
        self.name, self.number = name, number

    def prepare(self, lab, cell):
        self.run(lab, cell)

    def request(self, lab, cell):
        return lab.ask("task", "kill", "--signal", str(self.number), cell.id)

    def expect(self, cell):
        if cell.action == "pending" and not cell.ends_hcsd:
            return {"OK"}, []
        return super().expect(cell)

    def under_fault(self, lab, cell, answer):
        if cell.action in ("fail", "hang", "pending", "disconnect") and self.state(lab, cell) != "running":
            raise AssertionError(f"the signal was not delivered, but the container is {self.state(lab, cell)}")


class Kill(Scenario):
    """kill --signal 9, whose ladder goes round a terminate that does not work."""
    name = "kill"

    def prepare(self, lab, cell):
        self.run(lab, cell)

    def request(self, lab, cell):
        return lab.ask("task", "kill", "--signal", "9", cell.id)

    def expect(self, cell):
        if cell.ends_hcsd:
            return CRASHED
        return {"fail": ({"OK"}, []), "hang": ({"OK", "DEADLINE_EXCEEDED"}, ["HcsTerminateComputeSystem"]),
                "disconnect": ({"OK", "DEADLINE_EXCEEDED"}, ["Hcs"])}.get(cell.action, ({"OK"}, []))


class Ladder(Kill):
    """The rungs above: terminate fails, so a fresh handle is opened and each process is ended by itself."""
    name = "kill ladder"

    def more_rows(self, cell):
        return [{"call": "HcsTerminateComputeSystem", "match": cell.id, "action": "fail", "hresult": FAILURE}]

    def expect(self, cell):
        if cell.ends_hcsd:
            return CRASHED
        if cell.action in ("fail", "hang", "disconnect"):
            return {"OK", "DEADLINE_EXCEEDED"} if cell.action == "disconnect" else {"DEADLINE_EXCEEDED"}, ["Hcs"]
        return {"OK"}, []

    def under_fault(self, lab, cell, answer):
        if answer.code == "OK":
            return
        # Stuck, with evidence; refused for deletion, and by force it is out of the way.
        wait_until("it is reported stuck", lambda: f"Container {cell.id} cannot be ended" in lab.said(), PATIENCE, 0.2)
        if cell.action == "disconnect":
            return
        diag = lab.ctl("diag").json
        if not [row for row in diag["operations"] if row["kind"] == "kill" and row["object"] == cell.id]:
            raise AssertionError(f"diag does not show the kill: {diag['operations']}")
        refused = lab.ask("task", "delete", cell.id)
        if refused.code != "FAILED_PRECONDITION" or "force" not in refused.text:
            raise AssertionError(f"delete of a stuck container: {refused}")
        forced = lab.ask("task", "delete", "--force", cell.id)
        if forced.code != "OK" or self.state(lab, cell) != "NOT_FOUND":
            raise AssertionError(f"delete --force of a stuck container: {forced}, then {self.state(lab, cell)}")
        if not [name for name in lab.documents(lab.tasks) if cell.id in name]:
            raise AssertionError("delete --force left no record for the janitor")


class End(Scenario):
    """A container that is killed: its end must be told within the bound whatever fails on the way, and the exit code be right
    unless that is what failed."""
    name = "end"

    def prepare(self, lab, cell):
        self.run(lab, cell)

    def request(self, lab, cell):
        lab.ask("task", "kill", "--signal", "9", cell.id)
        return lab.ask("task", "wait", cell.id)

    def expect(self, cell):
        return CRASHED if cell.ends_hcsd else ({"OK"}, [])

    def under_fault(self, lab, cell, answer):
        if answer.code != "OK":
            return
        unknown = {4294967295} if cell.call == "HcsGetProcessProperties" else set()
        if cell.action == "disconnect":
            unknown.add(4294967295)
            unknown.add(1067)
        codes = unknown or {1067}
        if answer.json["exit_status"] not in codes:
            raise AssertionError(f"exit status {answer.json['exit_status']}, expected one of {codes}")
        if self.state(lab, cell) != "stopped":
            raise AssertionError(f"after its end it is {self.state(lab, cell)}")
        # What Unprepare says does not count where Deactivate succeeds.
        unnoticed = (cell.call, cell.action) == ("UnprepareLayer", "fail")
        if cell.action in ("fail", "hang", "crash") and cell.call.endswith("Layer") and not unnoticed:
            wait_until("the event of the layer", lambda: any(cell.id in line and "released" in line for line in
                                                             lab.said().splitlines()), PATIENCE, 0.2)


class CloseStdin(Scenario):
    """A client closes stdin: the guest's end is to follow. What fails there harms nobody."""
    name = "close stdin"
    alone = True  # so that the count of the first row is this one's

    def prepare(self, lab, cell):
        cell.bundle = self.bundle(lab, cell)

    def request(self, lab, cell):
        ran = lab.run(os.path.join(BUILD, "tests", "close_stdin.exe"), cell.bundle, cell.id)
        if ran.status != 0:
            raise AssertionError(f"close_stdin.exe: {ran.error_text}")
        wait_until("HcsModifyProcess was made", lambda: self.was_struck(lab, cell), PATIENCE, 0.1)
        return lab.ask("task", "state", cell.id)

    @staticmethod
    def was_struck(lab, cell):
        if cell.ends_hcsd:
            return lab.daemon.poll() is not None
        return struck(lab)

    def expect(self, cell):
        return CRASHED if cell.ends_hcsd else ({"OK"}, [])


class Running(Scenario):
    """One command for a running container."""

    def __init__(self, name, *command):
        self.name, self.command = name, command

    def prepare(self, lab, cell):
        self.run(lab, cell)

    def request(self, lab, cell):
        return lab.ask("task", *self.command, cell.id)

    def under_fault(self, lab, cell, answer):
        if answer.code == "UNAVAILABLE":  # the connection: it is taken up again
            wait_until("it is shown again", lambda: self.state(lab, cell) in ("running", "paused"), PATIENCE, 0.2)


class Pause(Running):
    """pause and resume, which only a container in a VM can be asked for."""

    def prepare(self, lab, cell):
        base, scratch = lab.make_layer(f"{cell.id}-base", {"hello.txt": b"hello\n"}), lab.make_scratch(f"{cell.id}-scratch")
        os.makedirs(lab.unix(base + "\\UtilityVM\\Files"), exist_ok=True)
        bundle = lab.make_bundle(cell.id, "emu:sleep 36000", base=base, scratch=scratch,
                                 windows={"hyperv": {}, "layerFolders": [base, scratch]})
        lab.ctl("task", "create", "--bundle", bundle, cell.id)
        lab.ctl("task", "start", cell.id)
        if self.command == ("resume",):
            lab.ctl("task", "pause", cell.id)


class Export(Scenario):
    """layer export to a file."""
    name = "export"
    container = False
    files = {"hello.txt": b"hello, app\n", "bin/tool.bin": bytes(200_000)}

    def prepare(self, lab, cell):
        lab.make_layer(f"{cell.id}-base", {"hello.txt": b"hello\n"})
        lab.make_layer(f"{cell.id}-app", self.files)
        cell.output = f"C:\\out\\{cell.id}.tar"

    def request(self, lab, cell):
        return lab.ask("layer", "export", "--layer", f"C:\\layers\\{cell.id}-app", "--parent", f"C:\\layers\\{cell.id}-base",
                       "--compression", "none", "--output", cell.output)

    def expect(self, cell):
        if cell.call == "DeactivateLayer":  # the archive is complete before: it is delivered
            return {"OK"}, []
        return super().expect(cell)

    def under_fault(self, lab, cell, answer):
        there = os.path.exists(lab.unix(cell.output))
        if there != (answer.code == "OK"):
            raise AssertionError(f"after {answer.code} the output {'is' if there else 'is not'} there")

    def restore(self, lab, cell):
        """The layer is free again: it can be exported."""
        def exported():
            return lab.ask("layer", "export", "--layer", f"C:\\layers\\{cell.id}-app", "--parent",
                           f"C:\\layers\\{cell.id}-base", "--compression", "none", "--overwrite", "--wait-cleanup",
                           "--output", cell.output).code == "OK"

        wait_until("the layer can be exported", exported, PATIENCE, 0.5)
        os.unlink(lab.unix(cell.output))


class Destroy(Export):
    """An export whose worker freezes in the cleanup, with a file open: delivered, then quarantined and destroyed."""
    name = "quarantine"
    alone = True
    matches = False  # a staging folder
    files = dict(Export.files, **{"$Recycle.Bin/hold-me.bin": b"held"})

    def expect(self, cell):
        return {"OK"}, []

    def under_fault(self, lab, cell, answer):
        super().under_fault(lab, cell, answer)
        if answer.json["cleanup"] == "done":
            raise AssertionError(f"the cleanup of a frozen worker cannot be done: {answer}")
        wait_until("DestroyLayer was made", lambda: struck(lab), PATIENCE, 0.2)

    def prepare(self, lab, cell):
        super().prepare(lab, cell)
        lab.set_points("phase export cleanup hold")

    def restore(self, lab, cell):
        lab.set_points()
        super().restore(lab, cell)


class Restart(Scenario):
    """hcsd starts while the call fails: it serves all the same, and knows its containers."""
    name = "restart"
    alone = True

    def prepare(self, lab, cell):
        self.run(lab, cell)
        lab.kill()

    def request(self, lab, cell):
        lab.start_console()
        if cell.ends_hcsd:
            if not lab.has_ended():
                raise AssertionError("hcsd did not end by the crash")
            cell.ended = True
        return lab.ask("task", "state", cell.id)

    def expect(self, cell):
        return CRASHED if cell.ends_hcsd else ({"OK"}, [])

    def under_fault(self, lab, cell, answer):
        if answer.code == "OK" and answer.json["status"] != "running":
            raise AssertionError(f"after the restart it is {answer.json['status']}")


CREATE, START, KILL, LADDER, END, EXPORT, RESTART = Create(), Start(), Kill(), Ladder(), End(), Export(), Restart()

# Every call that hcsd makes, and the notifications, with the scenarios that come to it. calls.called() must be all of it.
SCENARIOS = {
    "ActivateLayer": [CREATE, EXPORT], "PrepareLayer": [CREATE, EXPORT], "GetLayerMountPath": [CREATE],
    "UnprepareLayer": [END, EXPORT], "DeactivateLayer": [END, EXPORT], "ExportLayer": [EXPORT], "DestroyLayer": [Destroy()],
    "NameToGuid": [CREATE],
    "HcsCreateComputeSystem": [CREATE], "HcsRegisterComputeSystemCallback": [CREATE],
    "HcsStartComputeSystem": [START], "HcsCreateProcess": [START], "HcsRegisterProcessCallback": [START],
    "HcsShutdownComputeSystem": [Signal("term", 15)], "HcsSignalProcess": [Signal("break", 1)],
    "HcsTerminateComputeSystem": [KILL], "HcsOpenComputeSystem": [LADDER],
    "HcsGetComputeSystemProperties": [LADDER, Running("ps", "ps")],
    "HcsPauseComputeSystem": [Pause("pause", "pause")], "HcsResumeComputeSystem": [Pause("resume", "resume")],
    "HcsModifyComputeSystem": [Running("update", "update", "--memory", "1073741824")],
    "HcsOpenProcess": [LADDER], "HcsTerminateProcess": [LADDER],
    "HcsUnregisterComputeSystemCallback": [END], "HcsCloseComputeSystem": [END], "HcsGetProcessProperties": [END],
    "HcsUnregisterProcessCallback": [END], "HcsCloseProcess": [END], "HcsModifyProcess": [CloseStdin()],
    "HcsEnumerateComputeSystems": [RESTART],
    "ProcessExited": [END], "SystemExited": [END],
}

for name, scenarios in LAYER_SCENARIOS.items():
    SCENARIOS[name] = SCENARIOS.get(name, []) + scenarios

# Calls that no request to hcsd can come to: call -> why. The matrix prints them; all else without a scenario fails.
UNREACHED = {}


def all_cells():
    pairs = [(scenario, call, action) for call, scenarios in SCENARIOS.items() for scenario in scenarios for action in ACTIONS]
    return [Cell(number, *pair) for number, pair in enumerate(pairs)]
