"""A Windows host for tests and the demo: one Wine prefix, the emulator, and hcsd in it.

Everything runs the real binaries of build/windows. Nothing here knows how hcsd works inside: it calls hcsctl.exe, reads
events, and looks at the disk from the Unix side.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("HCSD_BUILD_DIR", os.path.join(ROOT, "build", "windows"))
BIN = os.path.join(BUILD, "bin")
EMULATOR = os.path.join(BUILD, "emulator")
WINE_RUN = os.path.join(ROOT, "cmake", "wine-run.sh")


class CommandFailed(Exception):
    """A command whose exit status was not the expected one."""


def wait_until(what, condition, seconds=30.0, pause=0.05):
    """Polls `condition` until it gives something true, and returns that. The bound is generous: it ends a hang, it
    measures nothing."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)


class Result:
    """What a command gave: exit status, output and error text."""

    def __init__(self, completed):
        self.status = completed.returncode
        self.output = completed.stdout
        self.errors = completed.stderr

    @property
    def text(self):
        return self.output.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def error_text(self):
        return self.errors.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def error(self):
        """The error object of `hcsctl --json`: code, operation, object, message."""
        lines = [line for line in self.error_text.splitlines() if line.startswith("{")]
        if not lines:
            raise AssertionError(f"no JSON error; exit status {self.status}, stderr: {self.error_text!r}")
        return json.loads(lines[-1])["error"]


class Host:
    """One Wine prefix under build/wine, made anew, with folders that hcsd uses."""

    def __init__(self, name, debug="-all"):
        self.name = name
        self.prefix = os.path.join(ROOT, "build", "wine", name)
        self.drive_c = os.path.join(self.prefix, "drive_c")
        self.environment = dict(os.environ)
        self.debug = debug
        self.program = os.path.join(BIN, "hcsd.exe")
        self.emulator = EMULATOR
        self.daemon = None
        self.processes = []

    # ---- the prefix ---------------------------------------------------------------------------------------------

    def boot(self):
        """Makes the prefix anew and starts its wineserver. Services write their stderr to build/wine/NAME.log, with
        what `debug` (WINEDEBUG) adds."""
        self.wine_run("--remove")
        shown = self.wine_run("--env", debug=self.debug)
        for name, value in re.findall(r"^export (\w+)=(.*)$", shown, re.MULTILINE):
            self.environment[name] = "".join(shlex.split(value))
        self.environment["WINEDEBUG"] = "-all"
        self.environment.pop("DISPLAY", None)
        for folder in ("ProgramData/hcsd", "layers", "bundles", "out"):
            os.makedirs(self.unix(f"C:/{folder}"), exist_ok=True)
        return self

    def wine_run(self, *arguments, debug="-all"):
        done = subprocess.run([WINE_RUN, "--prefix", self.name, *arguments], env=dict(os.environ, WINEDEBUG=debug), check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise CommandFailed(f"wine-run.sh {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def end(self):
        """Ends hcsd and every Windows process of this prefix."""
        self.stop_console()
        self.wine_run("--end")
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.processes.clear()

    def __enter__(self):
        return self.boot()

    def __exit__(self, *_):
        self.end()

    def boot_text(self):
        """What services wrote on stderr so far."""
        with open(self.prefix + ".log", "rb") as log:
            return log.read().decode("utf-8", "replace").replace("\r\n", "\n")

    # ---- paths --------------------------------------------------------------------------------------------------

    def unix(self, windows_path):
        """C:\\x\\y or C:/x/y as a path of this machine."""
        path = windows_path.replace("\\", "/")
        assert path[:3].upper() == "C:/", windows_path
        return os.path.join(self.drive_c, path[3:])

    @staticmethod
    def windows(unix_path):
        """A path of this machine as hcsd sees it."""
        return "Z:" + os.path.abspath(unix_path).replace("/", "\\")

    # ---- commands -----------------------------------------------------------------------------------------------

    def run(self, *command, timeout=120, stdin=None, environment=None):
        """Runs a Windows command to its end."""
        completed = subprocess.run([self.environment["WINE"], *command], env=dict(self.environment, **(environment or {})), timeout=timeout,
                                   stdin=subprocess.DEVNULL if stdin is None else None, input=stdin,
                                   capture_output=True, check=False)
        return Result(completed)

    def run_surely(self, *command, **options):
        """The same for programs that say why when they fail: Wine 8 under load fails to start a program about once in thousands of
        times, with status 1 and not a word; then once more."""
        result = self.run(*command, **options)
        if result.status == 1 and not result.text and not result.error_text:
            print(f"{' '.join(command)} was not started by Wine; once more", file=sys.stderr, flush=True)
            result = self.run(*command, **options)
        return result

    def start(self, *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL):
        """Starts a Windows command and gives the Popen object; end() ends it if it still runs."""
        process = subprocess.Popen([self.environment["WINE"], *command], env=self.environment, stdin=stdin, stdout=stdout, stderr=stderr)
        self.processes.append(process)
        return process

    def ctl_command(self, *arguments):
        return [os.path.join(BIN, "hcsctl.exe"), *arguments]

    def ctl(self, *arguments, ok=True, timeout=120, stdin=None):
        """hcsctl --json ARGUMENTS. ok: raise unless it ended with 0."""
        result = self.run_surely(*self.ctl_command("--json", *arguments), timeout=timeout, stdin=stdin)
        if ok and result.status != 0:
            raise CommandFailed(f"hcsctl {' '.join(arguments)}: exit status {result.status}: {result.error_text.strip()}")
        return result

    def refused(self, *arguments, timeout=120):
        """hcsctl --json ARGUMENTS, which must fail with status 1; gives its error object."""
        result = self.ctl(*arguments, ok=False, timeout=timeout)
        if result.status != 1:
            raise AssertionError(f"hcsctl {' '.join(arguments)}: expected exit status 1, found {result.status}, output "
                                 f"{result.text!r}, errors {result.error_text!r}")
        return result.error

    def books(self):
        """What the emulator's broker holds, as hcsemu.exe --books tells it."""
        return self.run_surely(os.path.join(self.emulator, "hcsemu.exe"), "--books").json

    # ---- hcsd ---------------------------------------------------------------------------------------------------

    def write_config(self, **settings):
        """Writes the default configuration file: the emulator, and `settings` (nested dictionaries)."""
        config = {"hcs": {"library": self.windows(os.path.join(self.emulator, "vmcompute.dll"))}}
        for key, value in settings.items():
            if isinstance(value, dict):
                config.setdefault(key, {}).update(value)
            else:
                config[key] = value
        with open(self.unix("C:/ProgramData/hcsd/config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2)

    def start_console(self):
        """Starts hcsd.exe --console and waits until it says that it answers."""
        log_path = os.path.join(self.drive_c, "hcsd-console.log")
        log = open(log_path, "wb")
        self.daemon = self.start(self.program, "--console", stdout=log, stderr=log)
        self.daemon.log_path = log_path
        log.close()

        def answers():
            if self.daemon.poll() is not None:
                raise AssertionError(f"hcsd ended with {self.daemon.returncode}: {self.console_text()}")
            return "has started and answers on" in self.console_text()

        wait_until("hcsd says that it has started", answers, 60)
        return self

    def console_text(self):
        """What hcsd --console printed so far."""
        with open(self.daemon.log_path, "rb") as log:
            return log.read().decode("utf-8", "replace").replace("\r\n", "\n")

    def stop_console(self):
        """Ends a console hcsd the hard way; nothing when none runs."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGKILL)
            self.daemon.wait()
        self.daemon = None

    def unix_pid(self, image):
        """The Unix pids of this prefix's processes of that image name."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    command = file.read()
                with open(f"/proc/{pid}/environ", "rb") as file:
                    environ = file.read()
            except OSError:
                continue
            if image.encode() in command.split(b"\0")[0] and f"WINEPREFIX={self.prefix}\0".encode() in environ:
                found.append(int(pid))
        return found

    # ---- bundles and layers -------------------------------------------------------------------------------------

    def make_layer(self, name, files, hives=True):
        """A layer folder C:\\layers\\NAME whose merged view has `files`: path -> bytes (None: a folder)."""
        folder = self.unix(f"C:/layers/{name}")
        os.makedirs(os.path.join(folder, "Files"), exist_ok=True)
        for path, data in files.items():
            target = os.path.join(folder, "Files", path)
            if data is None:
                os.makedirs(target, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(data)
        if hives:
            os.makedirs(os.path.join(folder, "Hives"), exist_ok=True)
        return f"C:\\layers\\{name}"

    def make_scratch(self, name):
        """A scratch folder as a snapshotter leaves it."""
        folder = self.unix(f"C:/layers/{name}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "sandbox.vhdx"), "wb") as file:
            file.write(b"\0" * 4096)
        return f"C:\\layers\\{name}"

    def make_bundle(self, name, command, base=None, scratch=None, **changes):
        """A bundle C:\\bundles\\NAME that runs `command` over `base`, with a scratch of its own. `changes` replaces
        members of the spec's top level; None leaves one out."""
        if base is None:
            base = "C:\\layers\\base"
            if not os.path.isdir(self.unix(base)):
                self.make_layer("base", {"hello.txt": b"hello\n"})
        if scratch is None:
            scratch = self.make_scratch(f"{name}-scratch")
        spec = {
            "ociVersion": "1.1.0",
            "hostname": name,
            "process": {"cwd": "C:\\", "user": {"username": "ContainerUser"}, "env": ["LAB=hcsd"]},
            "root": {"path": ""},
            "windows": {"layerFolders": [base, scratch]},
        }
        if isinstance(command, str):
            spec["process"]["commandLine"] = command
        else:
            spec["process"]["args"] = command
        for key, value in changes.items():
            if value is None:
                spec.pop(key, None)
            else:
                spec[key] = value
        folder = self.unix(f"C:/bundles/{name}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
            json.dump(spec, file, indent=2)
        return f"C:\\bundles\\{name}"


class Faults:
    """Rows of vmcompute-faults.json for the length of a `with`. The emulator looks beside its DLL, so a host with faults
    uses a copy of the emulator's folder."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "vmcompute-faults.json")

    def set(self, *rows):
        temporary = self.path + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(list(rows), file)
        os.replace(temporary, self.path)

    def clear(self):
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


def in_background(function, *arguments):
    """Runs a function on a thread and gives a join that returns its result or raises what it raised."""
    box = {}

    def body():
        try:
            box["result"] = function(*arguments)
        except BaseException as error:  # handed to whoever joins
            box["error"] = error

    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def join(seconds=120):
        thread.join(seconds)
        if thread.is_alive():
            raise TimeoutError(f"{function} did not end within {seconds} s")
        if "error" in box:
            raise box["error"]
        return box["result"]

    return join


if __name__ == "__main__":
    sys.exit("this is a module; run one of the tests beside it")
