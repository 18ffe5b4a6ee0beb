"""What a cell of the fault matrix is: a scenario, a call, an action; and what all scenarios share."""

ACTIONS = ("fail", "hang", "pending", "late", "twice", "crash", "disconnect")
FAILURE = "0x800705AA"  # 1450, no system resources: RESOURCE_EXHAUSTED
FAILED = "RESOURCE_EXHAUSTED"

# The end of a process takes a moment, and a short bound may be over before.
CRASHED = ({"UNAVAILABLE", "DEADLINE_EXCEEDED"}, [])

# Calls after whose return HCS tells something, so that it can be told late or twice.
NOTIFIED = {"HcsCreateComputeSystem", "HcsStartComputeSystem", "HcsShutdownComputeSystem", "HcsTerminateComputeSystem",
            "HcsTerminateProcess", "HcsSignalProcess", "HcsPauseComputeSystem", "HcsResumeComputeSystem"}
STORAGE_IN_HCSD = {"NameToGuid"}


class Cell:
    def __init__(self, number, scenario, call, action):
        self.scenario, self.call, self.action = scenario, call, action
        self.id = f"cell{number:03d}x"
        self.title = f"{call} ({scenario.name}) {action}"

    @property
    def ends_hcsd(self):
        return self.action == "crash" and (self.call.startswith("Hcs") or self.call in STORAGE_IN_HCSD)

    @property
    def alone(self):
        """It strikes more than its own object."""
        return self.ends_hcsd or self.action == "disconnect" or self.scenario.alone

    def meaningless(self):
        """Why this cell makes no sense; None when it does."""
        if self.call in ("SystemExited", "ProcessExited"):
            if self.action in ("hang", "crash", "disconnect"):
                return "it is a notification: nothing is called that could do this"
            if self.action == "fail" and self.call == "ProcessExited":
                return "a process's exit carries no status"
        elif self.action in ("pending", "late", "twice") and self.call not in NOTIFIED:
            return "its answer is all there is: HCS tells nothing after it"
        return None

    def rows(self):
        row = {"call": self.call, "action": self.action}
        if self.scenario.matches and self.call != "HcsEnumerateComputeSystems":  # which is made for nothing in particular
            row["match"] = self.id
        if self.action == "fail":
            row["hresult"] = FAILURE
        if self.action == "late":
            row["after_ms"] = 700
        return [row] + self.scenario.more_rows(self)


class Scenario:
    name = ""
    alone = False
    container = True
    matches = True  # the call is made for something that has the cell's id in its name

    def more_rows(self, cell):
        """Rows beside the cell's own that make hcsd come to the call."""
        return []

    def prepare(self, lab, cell):
        raise NotImplementedError

    def request(self, lab, cell):
        raise NotImplementedError

    def expect(self, cell):
        """The statuses that the request may have, and the words of which all must be said with those that are no OK."""
        table = {"fail": ({FAILED}, [cell.call]), "hang": ({"DEADLINE_EXCEEDED"}, [cell.call]),
                 "pending": ({"DEADLINE_EXCEEDED"}, [cell.call]), "late": ({"OK"}, []), "twice": ({"OK"}, []),
                 "crash": ({"INTERNAL"}, [cell.call]), "disconnect": ({"UNAVAILABLE"}, [cell.call])}
        return CRASHED if cell.ends_hcsd else table[cell.action]

    def under_fault(self, lab, cell, answer):
        """What must be so while the fault is still there. Raises."""

    def restore(self, lab, cell):
        """The fault is released: the container is ended and deleted, which must be possible within the bound."""
        if self.container:
            lab.remove(cell.id)

    # ---- for those below ----------------------------------------------------------------------------------------

    def bundle(self, lab, cell, command="emu:sleep 36000"):
        lab.make_layer(f"{cell.id}-base", {"hello.txt": b"hello\n"})
        return lab.make_bundle(cell.id, command, base=f"C:\\layers\\{cell.id}-base")

    def run(self, lab, cell):
        lab.ctl("task", "create", "--bundle", self.bundle(lab, cell), cell.id)
        lab.ctl("task", "start", cell.id)

    @staticmethod
    def state(lab, cell):
        answer = lab.ask("task", "state", cell.id)
        return answer.json["status"] if answer.code == "OK" else answer.code
