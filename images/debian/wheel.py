"""Installs a pure Python wheel the way a distribution's package does: files only, no resolver, no network.

Format: the binary distribution format (PEP 427) and its entry points. Requirements are Debian's own packages.
"""

import configparser
import shutil
import zipfile
from pathlib import Path, PurePosixPath

LIBRARY = PurePosixPath("usr/lib/python3/dist-packages")
SCHEME = {"purelib": LIBRARY, "platlib": LIBRARY, "scripts": PurePosixPath("usr/bin"), "data": PurePosixPath("usr")}
SCRIPT = """\
#!/usr/bin/python3
import sys

from {module} import {name}

sys.exit({call}())
"""


def install(wheel: Path, tree: Path) -> list[PurePosixPath]:
    """Unpack the wheel below `tree`, write its console scripts, and return the Python files, relative to `tree`.

    Raises ValueError for a wheel with compiled code, or with members outside of the places that the format names.
    """
    modules = []
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.split("/")[0] for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        if "Root-Is-Purelib: true" not in archive.read(f"{info}/WHEEL").decode():
            raise ValueError(f"{wheel.name} holds compiled code; build it as a pure wheel")
        for member in archive.infolist():
            if not member.is_dir():
                place = _place(PurePosixPath(member.filename), info)
                _extract(archive, member, tree / place)
                if place.suffix == ".py":
                    modules.append(place)
        entry_points = f"{info}/entry_points.txt"
        if entry_points in archive.namelist():
            _write_scripts(archive.read(entry_points).decode(), tree / SCHEME["scripts"])
    (tree / LIBRARY / info / "INSTALLER").write_text("images/debian\n")
    return modules


def _place(name: PurePosixPath, info: str) -> PurePosixPath:
    if ".." in name.parts or name.is_absolute():
        raise ValueError(f"the wheel has a member outside of itself: {name}")
    if name.parts[0] == info.replace(".dist-info", ".data"):
        return SCHEME[name.parts[1]].joinpath(*name.parts[2:])
    return LIBRARY / name


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as out:
        shutil.copyfileobj(source, out)
    executable = (member.external_attr >> 16) & 0o111 or target.parent.name == "bin"
    target.chmod(0o755 if executable else 0o644)


def _write_scripts(entry_points: str, folder: Path) -> None:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(entry_points)
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in parser["console_scripts"].items() if parser.has_section("console_scripts") else ():
        module, _, call = target.split("[")[0].strip().partition(":")
        script = folder / name
        script.write_text(SCRIPT.format(module=module.strip(), name=call.strip().split(".")[0], call=call.strip()))
        script.chmod(0o755)
