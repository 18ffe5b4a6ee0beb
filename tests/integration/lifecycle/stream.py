"""hcsctl events in the background."""

import json
import threading

from host import wait_until


class Stream:
    """The envelopes as they come."""

    def __init__(self, host, *arguments):
        self.events = []
        self.process = host.start(*host.ctl_command("--json", "events", *arguments))
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def of(self, name):
        return [event for event in list(self.events) if event["event"] and event["event"]["container_id"] == name]

    def end(self):
        self.process.kill()
        self.thread.join(60)


probes = 0


def subscribed(test, host, *filters):
    """A stream that is known to have begun: a container was seen being made and deleted."""
    arguments = [part for filter in (*filters, "event.container_id~=^probe") for part in ("--filter", filter)] if filters else []
    stream = Stream(host, *arguments)
    test.addCleanup(stream.end)

    def probe():
        global probes
        probes += 1
        name = f"probe-{probes}"
        host.ctl("task", "create", "--bundle", host.make_bundle("probe", "emu:exit 0"), name)
        host.ctl("task", "delete", name)
        return any(event["topic"] == "/tasks/delete" for event in stream.events)
    wait_until("the subscription to have begun", probe, 60)
    return stream
