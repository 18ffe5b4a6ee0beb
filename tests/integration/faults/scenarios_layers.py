"""Faults in the calls that the storage verbs make (docs/layers.md): what each verb answers, and that its layer can be used and
destroyed when the fault is gone."""

import os
import tarfile

from cells import Scenario
from lab import PATIENCE, wait_until

SIZE = "42949672960"


class Verb(Scenario):
    """One verb on C:\\layers\\ID-layer, over C:\\layers\\ID-base."""
    container = False

    @staticmethod
    def layer(cell):
        return f"C:\\layers\\{cell.id}-layer"

    @staticmethod
    def base(cell):
        return f"C:\\layers\\{cell.id}-base"

    def there(self, lab, cell):
        return os.path.exists(lab.unix(self.layer(cell)))

    def nothing_is_made(self, lab, cell, answer):
        """A failure takes the folder away before it answers; what a lost worker made is taken away by another one."""
        if cell.action == "fail" and self.there(lab, cell):
            raise AssertionError(f"half a layer is left after {answer}")
        wait_until(f"half a layer is taken away after {answer}", lambda: not self.there(lab, cell), PATIENCE, 0.2)

    def prepare(self, lab, cell):
        lab.make_layer(f"{cell.id}-base", {"hello.txt": b"hello\n"})

    def again(self, lab, cell):
        """The request once more, without the fault."""
        return self.request(lab, cell)

    def restore(self, lab, cell):
        def works():
            last[:] = [self.again(lab, cell)]
            return last[0].code == "OK"

        last = []
        try:
            wait_until("", works, PATIENCE, 0.5)
        except TimeoutError:
            raise AssertionError(f"without the fault it does not work: {last[0]}") from None
        self.destroy(lab, cell)

    def destroy(self, lab, cell):
        """Nothing keeps hold of the layer; when it is destroyed nothing of it is left, under no name."""
        def destroyed():
            last[:] = [lab.ask("layer", "destroy", "--layer", self.layer(cell))]
            return last[0].code == "OK"

        def left():
            return [name for name in os.listdir(lab.unix("C:/layers")) if name.startswith(f"{cell.id}-layer")]

        last = []
        try:
            wait_until("", destroyed, PATIENCE, 0.5)
        except TimeoutError:
            raise AssertionError(f"the layer cannot be destroyed: {last[0]}") from None
        if left():
            raise AssertionError(f"a destroyed layer left {left()}")


class CreateScratch(Verb):
    """create-scratch with a size: the disk, then its size."""
    name = "create-scratch"

    def request(self, lab, cell):
        return lab.ask("layer", "create-scratch", "--layer", self.layer(cell), "--parent", self.base(cell), "--size", SIZE)

    def under_fault(self, lab, cell, answer):
        self.nothing_is_made(lab, cell, answer)


class Expand(Verb):
    """expand of a scratch layer that nobody has mounted."""
    name = "expand"

    def prepare(self, lab, cell):
        super().prepare(lab, cell)
        lab.ctl("layer", "create-scratch", "--layer", self.layer(cell), "--parent", self.base(cell))

    def request(self, lab, cell):
        return lab.ask("layer", "expand", "--layer", self.layer(cell), "--size", SIZE)


class ProcessImage(Verb):
    """process-image of a base layer with a utility VM."""
    name = "process-image"

    def prepare(self, lab, cell):
        layer = lab.make_layer(f"{cell.id}-layer", {"hello.txt": b"hello\n"}, hives=False)
        os.makedirs(lab.unix(layer + "\\UtilityVM\\Files"))

    def request(self, lab, cell):
        return lab.ask("layer", "process-image", "--layer", self.layer(cell))


class Import(Verb):
    """import of an archive over a parent: ImportLayer."""
    name = "import"

    def prepare(self, lab, cell):
        super().prepare(lab, cell)
        lab.make_layer(f"{cell.id}-app", {"hello.txt": b"hello, app\n", "bin/tool.bin": bytes(100_000)})
        cell.archive = f"C:\\out\\{cell.id}.tar"
        lab.ctl("layer", "export", "--layer", f"C:\\layers\\{cell.id}-app", "--parent", self.base(cell), "--compression", "none",
                "--wait-cleanup", "--output", cell.archive)

    def parents(self, cell):
        return ("--parent", self.base(cell))

    def request(self, lab, cell):
        return lab.ask("layer", "import", "--layer", self.layer(cell), *self.parents(cell), "--input", cell.archive)

    def under_fault(self, lab, cell, answer):
        self.nothing_is_made(lab, cell, answer)

    def restore(self, lab, cell):
        super().restore(lab, cell)
        os.unlink(lab.unix(cell.archive))


class ImportBase(Import):
    """import without a parent: the layer and its utility VM are processed."""
    name = "import base"

    def prepare(self, lab, cell):
        cell.archive = f"C:\\out\\{cell.id}.tar"
        os.makedirs(lab.unix("C:/out"), exist_ok=True)
        with tarfile.open(lab.unix(cell.archive), "w", format=tarfile.PAX_FORMAT) as tar:
            for name in ("Files", "Files/Windows", "UtilityVM", "UtilityVM/Files", "UtilityVM/Files/Windows"):
                folder = tarfile.TarInfo(name)
                folder.type, folder.mode, folder.pax_headers = tarfile.DIRTYPE, 0o040000, {"MSWINDOWS.fileattr": "16"}
                tar.addfile(folder)

    def parents(self, cell):
        return ()


class Stat(Verb):
    """stat, which asks HCS whether the layer is there and where it is mounted."""
    name = "stat"

    def prepare(self, lab, cell):
        lab.make_layer(f"{cell.id}-layer", {"hello.txt": b"hello\n"})

    def request(self, lab, cell):
        return lab.ask("layer", "stat", "--layer", self.layer(cell))

    def expect(self, cell):
        if cell.call == "GetLayerMountPath":  # that a layer has no path is no error
            return {"OK"}, []
        return super().expect(cell)


class DestroyVerb(Verb):
    """destroy: a DestroyLayer that fails has hcsd's own remover behind it, one that never returns the janitor."""
    name = "destroy"

    def prepare(self, lab, cell):
        lab.make_layer(f"{cell.id}-layer", {"hello.txt": b"hello\n", "deep/er/file.bin": bytes(10_000)})

    def request(self, lab, cell):
        return lab.ask("layer", "destroy", "--layer", self.layer(cell))

    def expect(self, cell):
        table = {"fail": ({"OK"}, []), "disconnect": ({"OK"}, []), "crash": ({"DATA_LOSS"}, [cell.call])}
        return table.get(cell.action) or super().expect(cell)

    def under_fault(self, lab, cell, answer):
        if self.there(lab, cell):
            raise AssertionError(f"the layer is still there by its name after {answer}")

    def restore(self, lab, cell):
        def left():
            return [name for name in os.listdir(lab.unix("C:/layers")) if name.startswith(f"{cell.id}-layer")]

        wait_until("what was being destroyed is gone", lambda: not left(), PATIENCE, 0.2)


class Mount(Verb):
    """mount of a scratch layer: what fails is taken back."""
    name = "mount"

    def prepare(self, lab, cell):
        super().prepare(lab, cell)
        lab.ctl("layer", "create-scratch", "--layer", self.layer(cell), "--parent", self.base(cell))

    def request(self, lab, cell):
        return lab.ask("layer", "mount", "--layer", self.layer(cell), "--parent", self.base(cell))

    def under_fault(self, lab, cell, answer):
        rows = [row for row in lab.ctl("layer", "ls").json["layers"] if cell.id in row["path"] and row["state"] == "mounted"]
        if bool(rows) != (answer.code == "OK"):
            raise AssertionError(f"after {answer} these are mounted: {rows}")

    def restore(self, lab, cell):
        if not [row for row in lab.ctl("layer", "ls").json["layers"] if cell.id in row["path"] and row["state"] == "mounted"]:
            wait_until("the layer can be mounted", lambda: self.request(lab, cell).code == "OK", PATIENCE, 0.5)
        lab.ctl("layer", "unmount", "--layer", self.layer(cell))
        self.destroy(lab, cell)


class InVm(Scenario):
    """task create in a utility VM: its scratch disk is made, and the VM is granted the files."""
    name = "create in a VM"

    def prepare(self, lab, cell):
        base = lab.make_layer(f"{cell.id}-base", {"hello.txt": b"hello\n"})
        os.makedirs(lab.unix(base + "\\UtilityVM\\Files"))
        with open(lab.unix(base + "\\UtilityVM\\SystemTemplate.vhdx"), "wb") as file:
            file.write(b"vhdxfile")
        scratch = lab.make_scratch(f"{cell.id}-scratch")
        os.unlink(lab.unix(scratch + "\\sandbox.vhdx"))
        cell.bundle = lab.make_bundle(cell.id, "emu:sleep 36000", base=base, scratch=scratch, root=None,
                                      windows={"hyperv": {}, "layerFolders": [base, scratch]})

    def request(self, lab, cell):
        return lab.ask("task", "create", "--bundle", cell.bundle, cell.id)

    def under_fault(self, lab, cell, answer):
        if self.state(lab, cell) != "NOT_FOUND":
            raise AssertionError(f"after {answer.code} the container is {self.state(lab, cell)}")

    def restore(self, lab, cell):
        def created():
            last[:] = [self.request(lab, cell)]
            return last[0].code == "OK"

        last = []
        try:
            wait_until("", created, PATIENCE, 0.5)
        except TimeoutError:
            raise AssertionError(f"without the fault it cannot be created: {last[0]}") from None
        super().restore(lab, cell)


MOUNT, IMPORT_BASE, PROCESS, SCRATCH, STAT, VM = Mount(), ImportBase(), ProcessImage(), CreateScratch(), Stat(), InVm()

LAYER_SCENARIOS = {
    "CreateSandboxLayer": [SCRATCH, VM], "ExpandSandboxSize": [SCRATCH, Expand()],
    "ProcessBaseImage": [PROCESS, IMPORT_BASE], "ProcessUtilityImage": [PROCESS, IMPORT_BASE],
    "ImportLayer": [Import()], "LayerExists": [STAT], "GrantVmAccess": [VM], "DestroyLayer": [DestroyVerb()],
    "ActivateLayer": [MOUNT], "PrepareLayer": [MOUNT], "GetLayerMountPath": [MOUNT, STAT],
}
