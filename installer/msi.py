"""Writes a Windows Installer package on Linux: the tables as text for msibuild, the files in a cabinet by gcab.

The same input gives the same bytes: names, order, times and identifiers follow from the input alone. Tables and their columns
are those of https://learn.microsoft.com/windows/win32/msi/database-tables; what the package does with them is in package.py.
"""

import os
import re
import shutil
import subprocess
import uuid

# Column types of the tables used: s text, l text that may be translated, i number; capitals: may be empty.
COLUMNS = {
    "AppSearch": ["Property:s72*", "Signature_:s72*"],
    "Component": ["Component:s72*", "ComponentId:S38", "Directory_:s72", "Attributes:i2", "Condition:S255", "KeyPath:S72"],
    "CustomAction": ["Action:s72*", "Type:i2", "Source:S72", "Target:S255"],
    "Directory": ["Directory:s72*", "Directory_Parent:S72", "DefaultDir:l255"],
    "Environment": ["Environment:s72*", "Name:l255", "Value:L255", "Component_:s72"],
    "Feature": ["Feature:s38*", "Feature_Parent:S38", "Title:L64", "Description:L255", "Display:I2", "Level:i2", "Directory_:S72",
                "Attributes:i2"],
    "FeatureComponents": ["Feature_:s38*", "Component_:s72*"],
    "File": ["File:s72*", "Component_:s72", "FileName:l255", "FileSize:i4", "Version:S72", "Language:S20", "Attributes:I2", "Sequence:i2"],
    "InstallExecuteSequence": ["Action:s72*", "Condition:S255", "Sequence:I2"],
    "InstallUISequence": ["Action:s72*", "Condition:S255", "Sequence:I2"],
    "LaunchCondition": ["Condition:s255*", "Description:l255"],
    "Media": ["DiskId:i2*", "LastSequence:i2", "DiskPrompt:L64", "Cabinet:S255", "VolumeLabel:S32", "Source:S72"],
    "Property": ["Property:s72*", "Value:l0"],
    "RegLocator": ["Signature_:s72*", "Root:i2", "Key:s255", "Name:S255", "Type:I2"],
    "ServiceControl": ["ServiceControl:s72*", "Name:l255", "Event:i2", "Arguments:L255", "Wait:I2", "Component_:s72"],
    "Upgrade": ["UpgradeCode:s38*", "VersionMin:S20*", "VersionMax:S20*", "Language:S255*", "Attributes:i4*", "Remove:S255",
                "ActionProperty:s72"],
    "_SummaryInformation": ["PropertyId:i2*", "Value:l255"],
}


def identifier(*parts):
    """A GUID that follows from `parts`, as Windows Installer writes it."""
    return "{" + str(uuid.uuid5(uuid.UUID("c2b0a1de-3d8b-5a3e-9a7c-0b6de1c5a9f1"), "\0".join(parts))).upper() + "}"


def table_text(name, rows):
    """A table in the archive format that msibuild imports."""
    columns = COLUMNS[name]
    lines = ["\t".join(column.split(":")[0] for column in columns),
             "\t".join(column.split(":")[1].rstrip("*") for column in columns),
             "\t".join([name] + [column.split(":")[0] for column in columns if column.endswith("*")])]
    for row in rows:
        cells = ["" if cell is None else str(cell) for cell in row]
        if len(cells) != len(columns) or any(re.search(r"[\t\r\n]", cell) for cell in cells):
            raise ValueError(f"table {name}: bad row {row}")
        lines.append("\t".join(cells))
    return "\r\n".join(lines) + "\r\n"


def run(*command, **more):
    done = subprocess.run(command, check=False, capture_output=True, text=True, **more)
    # msibuild reports some failures by its words only.
    if done.returncode != 0 or re.search(r"CRITICAL|ERROR|Usage:|failed", done.stdout + done.stderr):
        raise SystemExit(f"{' '.join(command)}: {done.returncode}: {done.stdout}{done.stderr}")


def build(output, work, tables, files, summary, time):
    """Writes the package `output`. tables: name -> rows; files: (key, path) in the order of their sequence numbers; summary:
    property id -> value; `time`: seconds since 1970 that all files are dated with. `work` is a folder for what comes
    between."""
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    for key, path in files:
        copy = os.path.join(work, key)
        shutil.copyfile(path, copy)
        os.utime(copy, (time, time))
    run("gcab", "--create", "--zip", "--nopath", "files.cab", *[key for key, _ in files], cwd=work, env=dict(os.environ, TZ="UTC"))
    # msibuild knows name, author, template and identifier; the rest is one more table.
    names = []
    rest = {key: value for key, value in summary.items() if key not in (3, 4, 7, 9)}
    for name, rows in sorted(dict(tables, _SummaryInformation=sorted(rest.items())).items()):
        names.append(os.path.join(work, name + ".idt"))
        with open(names[-1], "w", encoding="utf-8", newline="") as file:
            file.write(table_text(name, rows))
    package = os.path.join(work, "package.msi")
    run("msibuild", package, "-s", summary[3], summary[4], summary[7], summary[9])
    for name in names:
        run("msibuild", package, "-i", name)
    run("msibuild", package, "-a", "files.cab", os.path.join(work, "files.cab"))
    os.replace(package, output)
