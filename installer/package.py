"""hcsd's Windows Installer package: what is put where, and what is done in which order. docs/installer.md tells it to administrators."""

import hashlib
import os
import struct

import msi

UPGRADE_CODE = "{6F2B8A36-5D0C-4D7E-9A54-7F1F5A0F6A11}"
BUILD_MIN = 17763  # Windows Server 2019

# Custom actions: a program among the installed files, run later with SYSTEM's rights. An action whose name ends in Undo
# runs when the installation fails after it.
PROGRAM, IGNORE, ROLLBACK, DEFERRED, AS_SYSTEM = 18, 64, 256, 1024, 2048
ACTION = PROGRAM + DEFERRED + AS_SYSTEM
UNDO = ACTION + ROLLBACK + IGNORE

# Wine does not set UPGRADINGPRODUCTCODE in the old product while a new one replaces it; there --if-own sees it, because the service
# runs the new program by then.
REMOVED = 'REMOVE="ALL" AND NOT UPGRADINGPRODUCTCODE'
ACTIONS = [
    # action, type, arguments of hcsd.exe, condition, sequence
    # Before anything is touched: it refuses while containers are recorded.
    ("UnregisterAndPurge", ACTION, "--unregister-service --if-own --purge", f"{REMOVED} AND NOT KEEPDATA", 1850),
    ("UnregisterAndKeep", ACTION, "--unregister-service --if-own", f"{REMOVED} AND KEEPDATA", 1851),
    # StopServices waits 30 s on Windows and not at all under Wine; nothing may go on before the process is gone.
    ("WaitForStop", ACTION, "--stop-service", "NOT REMOVE", 4010),
    ("RegisterUndo", UNDO, "--restore-service", "NOT REMOVE", 4020),
    ("Register", ACTION, "--register-service", "NOT REMOVE", 4030),
]

SEQUENCE = [
    ("FindRelatedProducts", None, 25), ("AppSearch", None, 50), ("LaunchConditions", None, 100), ("ValidateProductID", None, 700),
    ("CostInitialize", None, 800), ("FileCost", None, 900), ("CostFinalize", None, 1000), ("MigrateFeatureStates", None, 1200),
    ("InstallValidate", None, 1400), ("InstallInitialize", None, 1500),
    ("ProcessComponents", None, 1600), ("UnpublishFeatures", None, 1800),
    ("StopServices", "VersionNT", 1900), ("RemoveEnvironmentStrings", None, 3300), ("RemoveFiles", None, 3500),
    ("RemoveFolders", None, 3600), ("InstallFiles", None, 4000), ("InstallExecute", None, 5800),
    # The old version goes when the service is the new one's already, and before it starts; still within the transaction: a new
    # version that cannot be installed leaves the old one as it was.
    ("RemoveExistingProducts", None, 5810), ("WriteEnvironmentStrings", None, 5820),
    ("StartServices", "VersionNT", 5900), ("RegisterUser", None, 6000), ("RegisterProduct", None, 6100), ("PublishFeatures", None, 6300),
    ("PublishProduct", None, 6400), ("InstallFinalize", None, 6600),
]
UI_SEQUENCE = [
    ("FindRelatedProducts", None, 25), ("AppSearch", None, 50), ("LaunchConditions", None, 100), ("ValidateProductID", None, 700),
    ("CostInitialize", None, 800), ("FileCost", None, 900), ("CostFinalize", None, 1000), ("ExecuteAction", None, 1300),
]

# ServiceControl's events.
START_AT_INSTALL, STOP_AT_INSTALL, STOP_AT_UNINSTALL = 1, 2, 32


def folder_of(path):
    """The folder of an installed file: hcsctl.exe where people find it; the service's own in a folder of its version, so that
    an upgrade never waits for a file that a stuck process, the relay or an event viewer holds."""
    name = os.path.basename(path)
    if name.endswith(".md"):
        return "DOCSFOLDER"
    return "INSTALLFOLDER" if name == "hcsctl.exe" else "VERSIONFOLDER"


def key_of(path):
    """hcsd-messages-0.1.0.dll -> file_hcsd_messages_0.1.0.dll: identifiers know letters, digits, underscores and dots."""
    return "file_" + os.path.basename(path).replace("-", "_")


def file_version(path):
    """What the version resource of a program says (VS_FIXEDFILEINFO), as a.b.c.d; None: it has none."""
    with open(path, "rb") as file:
        content = file.read()
    at = content.find(struct.pack("<II", 0xFEEF04BD, 0x10000))
    if at < 0:
        return None
    high, low = struct.unpack_from("<II", content, at + 8)
    return f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}"


def digest_of(files):
    """Of names and contents."""
    sha = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            sha.update(f"{os.path.basename(path)}\0{hashlib.sha256(file.read()).hexdigest()}\0".encode())
    return sha.hexdigest()


def tables_of(version, files):
    """All tables of the package of `files`."""
    product = msi.identifier("product", version, digest_of(files))
    components, file_rows, features = [], [], []
    for sequence, path in enumerate(files, 1):
        key, folder = key_of(path), folder_of(path)
        component = "component_" + key[len("file_"):]
        where = f"{folder}/{version if folder == 'VERSIONFOLDER' else ''}/{os.path.basename(path)}"
        components.append((component, msi.identifier("component", where), folder, 256, None, key))
        program = file_version(path) if path.endswith((".exe", ".dll")) else None
        if os.path.basename(path) == "hcsd.exe" and program != f"{version}.0":
            raise SystemExit(f"package: {path} is version {program}, not {version}")
        short = f"F{sequence}.{path.rsplit('.', 1)[1][:3].upper()}"
        file_rows.append((key, component, f"{short}|{os.path.basename(path)}", os.path.getsize(path), program,
                          "1033" if program else None, 512, sequence))
        features.append(("hcsd", component))
    service = "component_hcsd.exe"
    return product, {
        "AppSearch": [("NATIVEMACHINE", "NativeMachine"), ("WINDOWSBUILD", "WindowsBuild")],
        "Component": components,
        "CustomAction": [(name, kind, "file_hcsd.exe", arguments) for name, kind, arguments, _, _ in ACTIONS],
        "Directory": [("TARGETDIR", None, "SourceDir"), ("ProgramFiles64Folder", "TARGETDIR", "."),
                      ("INSTALLFOLDER", "ProgramFiles64Folder", "hcsd"), ("VERSIONFOLDER", "INSTALLFOLDER", f"V|{version}"),
                      ("DOCSFOLDER", "INSTALLFOLDER", "docs")],
        # =-*: a variable of the machine, set at installation, taken back at removal.
        "Environment": [("Path", "=-*PATH", "[~];[INSTALLFOLDER]", "component_hcsctl.exe")],
        "Feature": [("hcsd", None, "hcsd", "Runs Windows containers and exports their layers.", 1, 1, "INSTALLFOLDER", 0)],
        "FeatureComponents": features,
        "File": file_rows,
        "InstallExecuteSequence": sorted(SEQUENCE + [(name, condition, number) for name, _, _, condition, number in ACTIONS]),
        "InstallUISequence": sorted(UI_SEQUENCE),
        "LaunchCondition": [
            # Set by the system to the machine's own kind, whatever Windows Installer runs as.
            ('Installed OR NATIVEMACHINE <> "ARM64"', "hcsd is for x64: Windows on ARM64 hosts no containers."),
            (f"Installed OR (VersionNT64 AND WINDOWSBUILD >= {BUILD_MIN})",
             f"hcsd needs Windows Server 2019 (build {BUILD_MIN}) or newer on x64; this is build [WINDOWSBUILD]."),
            ("Installed OR NOT NEWERFOUND", "A newer version of hcsd is installed. To go back, remove it first; KEEPDATA=1 keeps its data."),
            ("Installed OR Privileged", "Installing hcsd needs an administrator."),
        ],
        "Media": [(1, len(files), None, "#files.cab", None, None)],
        "Property": [
            ("ALLUSERS", 1), ("ARPNOMODIFY", 1), ("Manufacturer", "hcsd"), ("ProductCode", product), ("ProductLanguage", 1033),
            ("ProductName", "hcsd"), ("ProductVersion", version), ("UpgradeCode", UPGRADE_CODE),
            ("SecureCustomProperties", "KEEPDATA;NEWERFOUND;OLDERFOUND"),
            # A file in use is replaced at the next restart of the machine; we never cause one, nor end whoever uses it (the
            # relay holds the output of running containers).
            # Another build of the same version replaces its files, too.
            ("REINSTALLMODE", "amus"), ("REBOOT", "ReallySuppress"), ("MSIRESTARTMANAGERCONTROL", "Disable"),
        ],
        "RegLocator": [
            ("NativeMachine", 2, "SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Environment", "PROCESSOR_ARCHITECTURE", 2 + 16),
            ("WindowsBuild", 2, "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion", "CurrentBuildNumber", 2 + 16),
        ],
        "ServiceControl": [("ServiceControl", "hcsd", START_AT_INSTALL + STOP_AT_INSTALL + STOP_AT_UNINSTALL, None, 1, service)],
        # The same version counts as older: another build of it replaces this one.
        "Upgrade": [(UPGRADE_CODE, None, version, None, 1 + 512, None, "OLDERFOUND"), (UPGRADE_CODE, version, None, None, 2, None, "NEWERFOUND")],
    }


def build(output, work, version, files, time):
    """Writes the package with `files` (paths; hcsd.exe and hcsctl.exe are among them)."""
    product, tables = tables_of(version, files)
    summary = {
        2: "Installation Database", 3: f"hcsd {version}", 4: "hcsd", 7: "x64;1033",
        9: msi.identifier("package", product, repr(sorted(tables.items()))),
        14: 500,  # Windows Installer 5
        15: 2,    # compressed, long names
        18: "hcsd installer/package.py", 19: 2,
    }
    msi.build(output, work, tables, [(key_of(path), path) for path in files], summary, time)
