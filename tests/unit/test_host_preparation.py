"""Preparation before writing, in real processes and real mount namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from bootc.errors import HostError
from bootc.host import is_container, is_medium_read_only, require_no_container
from bootc.host.mounts import mount_at, mount_containing
from bootc.mountinfo import MountPoint

PRELUDE = """
import os, sys, threading
from pathlib import Path
from bootc.errors import BootcError
from bootc import host
from bootc.host import mounts

path = Path(sys.argv[1])

def attempt(function, *arguments):
    try:
        print(function(*arguments), flush=True)
    except BootcError as error:
        print("error:", error.message, flush=True)
"""


def run(script: str, path: Path, *prefix: str, **environment: str) -> str:
    """What a process of its own prints."""
    argv = [*prefix, sys.executable, "-c", PRELUDE + dedent(script), str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# ---------------------------------------------------------------- containers


def test_signs_of_a_container(tmp_path: Path) -> None:
    assert is_container(tmp_path, {"PATH": "/bin"}) is False
    assert is_container(tmp_path, {"container": "podman"}) is True
    assert is_container(tmp_path, {"container": ""}) is True
    (tmp_path / ".dockerenv").touch()
    assert is_container(tmp_path, {}) is True


def test_podman_s_sign_of_a_container(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.containerenv").touch()

    with pytest.raises(HostError) as caught:
        require_no_container(tmp_path, {})
    assert caught.value.message == "Detected container; this command requires a booted host system."


def test_no_container_is_no_error(tmp_path: Path) -> None:
    require_no_container(tmp_path, {})

    assert is_container(tmp_path, {}) is False


def test_the_container_is_noticed_before_anything_else(tmp_path: Path) -> None:
    output = run(
        "os.setuid(65534); attempt(host.prepare)" if os.geteuid() == 0 else "attempt(host.prepare)",
        tmp_path,
        container="x",
    )

    assert output == "error: Detected container; this command requires a booted host system.\n"


# ---------------------------------------------------------------- rights


@pytest.mark.root
def test_another_user_is_refused(tmp_path: Path) -> None:
    output = run("os.setuid(65534); attempt(host.require_root); attempt(host.prepare, path)", tmp_path)

    assert output == "error: This command must be executed as the root user\n" * 2


@pytest.mark.root
def test_root_without_the_capability_is_refused(tmp_path: Path) -> None:
    output = run("attempt(host.prepare, path)", tmp_path, "setpriv", "--bounding-set=-sys_admin")

    assert output == "error: This command requires full root privileges (CAP_SYS_ADMIN)\n"


@pytest.mark.root
def test_root_with_the_capability_is_accepted(tmp_path: Path) -> None:
    assert run("attempt(host.require_root)", tmp_path) == "None\n"


# ---------------------------------------------------------------- the mount namespace


@pytest.mark.root
def test_a_private_namespace_keeps_its_mounts_to_itself(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    output = run(
        """
        before = os.readlink("/proc/self/ns/mnt")
        host.enter_private_namespace()
        print(os.readlink("/proc/self/ns/mnt") != before)
        mounts.mount(str(path), path / "x", mounts.MS_BIND)
        print(mounts.mount_at(path / "x") is not None)
        """,
        tmp_path,
    )

    assert output == "True\nTrue\n"
    assert mount_at(tmp_path / "x") is None


@pytest.mark.root
def test_mounts_of_the_host_still_arrive(tmp_path: Path) -> None:
    """Or an unmount of the host's would find the filesystem busy for as long as we run."""
    (tmp_path / "shared/x").mkdir(parents=True)
    output = run(
        """
        host.enter_private_namespace()
        shared = path / "shared"
        mounts.mount(str(shared), shared, mounts.MS_BIND)
        mounts.mount(None, shared, 1 << 20)  # MS_SHARED: as the host's are under systemd
        child = os.fork()
        if child:
            os.read(ready[0], 1)
            mounts.mount(str(shared), shared / "x", mounts.MS_BIND)
            os.write(go[1], b"x")
            os.waitpid(child, 0)
        else:
            host.enter_private_namespace()
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            print(mounts.mount_at(shared / "x") is not None, flush=True)
            os._exit(0)
        """.replace("child = os.fork()", "ready, go = os.pipe(), os.pipe()\n        child = os.fork()"),
        tmp_path,
    )

    assert output == "True\n"


@pytest.mark.root
def test_running_threads_forbid_a_namespace(tmp_path: Path) -> None:
    output = run(
        """
        end = threading.Event()
        threading.Thread(target=end.wait).start()
        attempt(host.enter_private_namespace)
        end.set()
        """,
        tmp_path,
    )

    assert output == "error: Failed to unshare mount namespace: 2 threads run already\n"


@pytest.mark.root
def test_a_namespace_that_is_refused_is_an_error(tmp_path: Path) -> None:
    output = run("os.setuid(65534); attempt(host.enter_private_namespace)", tmp_path)

    assert output == "error: Failed to unshare mount namespace: Operation not permitted\n"


# ---------------------------------------------------------------- writable in here only

OUTER = """
import subprocess

host.enter_private_namespace()
mount_point = path / "boot dir"
mount_point.mkdir()
"""


@pytest.mark.root
def test_a_read_only_mount_becomes_writable_in_the_namespace_only(tmp_path: Path) -> None:
    output = run(
        OUTER
        + """
nosuid_nodev = 2 | 4
mounts.mount(str(path), mount_point, mounts.MS_BIND)
mounts.mount(None, mount_point, mounts.MS_REMOUNT | mounts.MS_BIND | mounts.MS_RDONLY | nosuid_nodev)
child = os.fork()
if not child:
    host.enter_private_namespace()
    host.make_writable([mount_point, path / "no mount point"])
    (mount_point / "new").write_text("x")
    print(sorted(mounts.mount_at(mount_point).options & {"ro", "rw", "nosuid", "nodev"}), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(sorted(mounts.mount_at(mount_point).options & {"ro", "rw", "nosuid", "nodev"}))
try:
    (mount_point / "other").write_text("x")
except OSError as error:
    print(error.strerror)
""",
        tmp_path,
    )

    assert output == "['nodev', 'nosuid', 'rw']\n['nodev', 'nosuid', 'ro']\nRead-only file system\n"
    assert (tmp_path / "new").exists()


def filesystem(path: Path) -> Path:
    """A small ext4 filesystem in a file."""
    image = path / "disk.img"
    image.touch()
    os.truncate(image, 8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    return image


@pytest.mark.root
def test_a_read_only_filesystem_becomes_writable(tmp_path: Path) -> None:
    filesystem(tmp_path)
    output = run(
        OUTER
        + """
found = subprocess.run(["losetup", "-f", "--show", path / "disk.img"], check=True, capture_output=True, text=True)
device = found.stdout.strip()
subprocess.run(["mount", "-o", "ro,nosuid", device, mount_point], check=True)
subprocess.run(["losetup", "-d", device], check=True)  # from now on it goes with its mount
print("ro" in mounts.mount_at(mount_point).super_options)
host.make_writable([mount_point])
(mount_point / "new").write_text("x")
print(sorted(mounts.mount_at(mount_point).options & {"ro", "rw", "nosuid", "nodev"}))
print(host.is_medium_read_only(mount_point / "new"))
subprocess.run(["umount", mount_point], check=True)
""",
        tmp_path,
    )

    assert output == "True\n['nosuid', 'rw']\nFalse\n"


@pytest.mark.root
def test_a_read_only_device_is_named(tmp_path: Path) -> None:
    filesystem(tmp_path)
    output = run(
        OUTER
        + """
subprocess.run(["mount", "-o", "ro,loop", path / "disk.img", mount_point], check=True)
print(host.is_medium_read_only(mount_point))
attempt(host.make_writable, [mount_point])
attempt(host.prepare, mount_point)
subprocess.run(["umount", mount_point], check=True)
""",
        tmp_path,
    )

    problem = f"Cannot perform this operation: {tmp_path}/boot dir is on a read-only block device (e.g. a live ISO)"
    assert output == f"True\nerror: {problem}\nerror: {problem}\n"


@pytest.mark.root
def test_preparing_for_another_sysroot_needs_no_host_system(tmp_path: Path) -> None:
    """Containers build and repair sysroots; only the running system needs a host."""
    output = run("attempt(lambda: host.prepare(path).root == path)", tmp_path, container="podman")

    assert output == "True\n"


@pytest.mark.root
def test_a_sysroot_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    assert run("attempt(host.prepare, path)", tmp_path / "x") == f"error: {tmp_path}/x: no such directory\n"


# ---------------------------------------------------------------- reading mountinfo


@pytest.mark.parametrize(
    ("line", "mount"),
    [
        pytest.param(
            r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=remount-ro",
            MountPoint(
                Path("/mnt 2"),
                "98:0",
                frozenset({"rw", "noatime"}),
                "ext3",
                "/dev/root",
                frozenset({"rw", "errors=remount-ro"}),
            ),
            id="of proc(5)",
        ),
        pytest.param(
            "1 0 0:5 / / ro shared:1 master:2 propagate_from:2 - overlay  rw,lowerdir=/a",
            MountPoint(Path("/"), "0:5", frozenset({"ro"}), "overlay", "", frozenset({"rw", "lowerdir=/a"})),
            id="several optional fields, empty source",
        ),
    ],
)
def test_lines_of_mountinfo(line: str, mount: MountPoint) -> None:
    assert MountPoint.parse(line) == mount


@pytest.mark.parametrize(
    ("options", "super_options", "is_read_only"),
    [("rw", "rw", False), ("ro", "rw", True), ("rw", "ro", True), ("rw", "rw,errors=remount-ro", False)],
)
def test_read_only_mounts(options: str, super_options: str, is_read_only: bool) -> None:
    mount = MountPoint.parse(f"1 0 0:5 / / {options} - ext4 /dev/x {super_options}")

    assert mount.is_read_only is is_read_only


def test_filesystems_that_cannot_be_written() -> None:
    assert MountPoint.parse("1 0 0:5 / / rw - squashfs /dev/x rw").is_medium_read_only is True
    assert MountPoint.parse("1 0 0:5 / / ro - ext4 /does/not/exist ro").is_medium_read_only is False


def test_the_mount_of_a_path_is_the_innermost() -> None:
    found = mount_containing(Path("/proc/self/status"))

    assert found is not None
    assert (found.type, found.target) == ("proc", Path("/proc"))
    assert mount_at(Path("/proc")) == found


@pytest.mark.root
def test_mount_points_may_have_any_name(tmp_path: Path) -> None:
    script = r"""
        import subprocess
        host.enter_private_namespace()
        for name in (b"blank \\ tab\t line\n", b"return\r page\x0c", "paragraph\u2029".encode(), b"no text\xff"):
            place = path / os.fsdecode(name)
            place.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
            print(mounts.mount_at(place).type, mounts.mount_containing(place / "x").target == place)
    """

    assert run(script, tmp_path) == "tmpfs True\n" * 4


def test_an_ordinary_directory_is_no_read_only_medium(tmp_path: Path) -> None:
    assert is_medium_read_only(tmp_path) is False


BOOTED = """
set -e
cd "$1"
mkdir up work root
mount -t overlay overlay -o lowerdir=/,upperdir="$2/up",workdir="$2/work" root
rm -f root/.dockerenv
mkdir -p root/sysroot root/boot root/run root/proc
mount -t proc proc root/proc
mount -t tmpfs run root/run
touch root/run/ostree-booted
for name in sysroot boot; do
    mount -t tmpfs "$name" "root/$name"
    mount -o remount,bind,ro "root/$name"
done
"$3" -c '
import os, sys
os.chroot("root")
os.chdir("/")
from pathlib import Path
from bootc import host
location = host.prepare()
print(location.root, location.run, location.is_booted)
for name in ("sysroot", "boot"):
    Path("/", name, "file").write_text("x")
    print(Path("/", name, "file").read_text())
'
for name in sysroot boot; do
    [ -e "root/$name/file" ] && ! touch "root/$name/other" 2>/dev/null && echo "$name is read-only outside"
done
"""


@pytest.mark.root
def test_the_running_system_becomes_writable_for_this_process_alone(tmp_path: Path) -> None:
    """A whole booted system as far as preparation looks: markers, and /sysroot and /boot mounted read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs disk "$1" && {{\n{BOOTED}}}'
    argv = ["unshare", "-m", "sh", "-c", script, "sh", str(disk), str(disk), sys.executable]
    environment = {name: value for name, value in os.environ.items() if name != "container"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "/sysroot /run True",
        "x",
        "x",
        "sysroot is read-only outside",
        "boot is read-only outside",
    ]
