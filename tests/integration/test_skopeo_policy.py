"""Our reading of policy.json against skopeo's own: the same files, the same images, the same verdicts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bootc_containers.policy import Policy

from bootc.errors import PolicyError
from bootc.image import ImageReference
from tests.servers import RegistryServer
from tests.skopeo_images import PROGRAM, build, copy, write_layout
from tests.unit.test_policy import ACCEPT, INVALID, REJECT, SIGNED_BY


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One image in every place, and the names by which policies and references can mean them."""
    folder = tmp_path_factory.mktemp("places").resolve()
    layout = write_layout(folder / "a/oci", build(1))
    (folder / "link").symlink_to("a")
    store = f"[vfs@{folder}/store+{folder}/run]"
    with RegistryServer(folder / "registry") as registry:
        registry.push(layout, "os", "a/b:1")
        digest = registry.push(layout, "os", "a/c:1")
        copy(f"oci:{layout}:os", f"dir:{folder}/a/dir")
        copy(f"oci:{layout}:os", f"oci-archive:{folder}/a/oci.tar")
        copy(f"oci:{layout}:os", f"docker-archive:{folder}/a/docker.tar:localhost/os:1")
        copy(f"oci:{layout}:os", f"containers-storage:{store}localhost/os:1")
        yield {"folder": str(folder), "host": registry.address, "digest": digest, "store": store}


def filled(value: Any, places: dict[str, str]) -> Any:
    """The value with every `<name>` in it replaced."""
    text = json.dumps(value)
    for name, place in places.items():
        text = text.replace(f"<{name}>", place)
    return json.loads(text)


LINK, DIRECTORY = "oci:<folder>/link/oci:os", "dir:<folder>/a/dir"
IMAGE, ARCHIVE = "docker://<host>/a/b:1", "docker-archive:<folder>/a/docker.tar"
STORED = "containers-storage:<store>localhost/os:1"
PINNED = "docker://<host>/a/c@<digest>"

VERDICTS: dict[str, tuple[bool, str, dict[str, Any]]] = {
    "default accepts": (True, IMAGE, {"default": ACCEPT}),
    "default rejects": (False, IMAGE, {"default": REJECT}),
    "accept and reject": (False, IMAGE, {"default": [*ACCEPT, *REJECT]}),
    "accept twice": (True, IMAGE, {"default": [*ACCEPT, *ACCEPT]}),
    "signature needed": (False, IMAGE, {"default": SIGNED_BY}),
    "transport": (True, IMAGE, {"default": REJECT, "transports": {"docker": {"": ACCEPT}}}),
    "other transport": (False, IMAGE, {"default": REJECT, "transports": {"oci": {"": ACCEPT}}}),
    "host": (True, IMAGE, {"default": REJECT, "transports": {"docker": {"<host>": ACCEPT}}}),
    "host without port": (False, IMAGE, {"default": REJECT, "transports": {"docker": {"127.0.0.1": ACCEPT}}}),
    "wildcard": (True, IMAGE, {"default": REJECT, "transports": {"docker": {"*.0.0.1": ACCEPT}}}),
    "widest wildcard": (True, IMAGE, {"default": REJECT, "transports": {"docker": {"*.1": ACCEPT}}}),
    "narrower wildcard": (
        False,
        IMAGE,
        {"default": REJECT, "transports": {"docker": {"*.1": ACCEPT, "*.0.1": REJECT}}},
    ),
    "host before wildcard": (
        True,
        IMAGE,
        {"default": REJECT, "transports": {"docker": {"<host>": ACCEPT, "*.0.0.1": REJECT}}},
    ),
    "namespace": (False, IMAGE, {"default": ACCEPT, "transports": {"docker": {"<host>/a": REJECT}}}),
    "half a namespace": (True, IMAGE, {"default": ACCEPT, "transports": {"docker": {"<host>/a/": REJECT}}}),
    "repository": (
        True,
        IMAGE,
        {"default": ACCEPT, "transports": {"docker": {"<host>/a": REJECT, "<host>/a/b": ACCEPT}}},
    ),
    "tag": (
        False,
        IMAGE,
        {"default": ACCEPT, "transports": {"docker": {"<host>/a/b:1": REJECT, "<host>/a/b": ACCEPT}}},
    ),
    "other tag": (True, IMAGE, {"default": ACCEPT, "transports": {"docker": {"<host>/a/b:2": REJECT}}}),
    "digest": (False, PINNED, {"default": ACCEPT, "transports": {"docker": {"<host>/a/c@<digest>": REJECT}}}),
    "tag of a digest": (True, PINNED, {"default": ACCEPT, "transports": {"docker": {"<host>/a/c:1": REJECT}}}),
    "real path": (False, LINK, {"default": ACCEPT, "transports": {"oci": {"<folder>/a": REJECT}}}),
    "path of the link": (True, LINK, {"default": ACCEPT, "transports": {"oci": {"<folder>/link": REJECT}}}),
    "layout": (True, LINK, {"default": REJECT, "transports": {"oci": {"<folder>/a/oci": ACCEPT}}}),
    "layout with tag": (False, LINK, {"default": REJECT, "transports": {"oci": {"<folder>/a/oci:os": ACCEPT}}}),
    "directory": (True, DIRECTORY, {"default": REJECT, "transports": {"dir": {"<folder>": ACCEPT}}}),
    "beginning of a name": (False, DIRECTORY, {"default": REJECT, "transports": {"dir": {"<folder>/a/di": ACCEPT}}}),
    "archive": (
        True,
        "oci-archive:<folder>/a/oci.tar",
        {"default": REJECT, "transports": {"oci-archive": {"<folder>/a/oci.tar": ACCEPT}}},
    ),
    "docker archive": (True, ARCHIVE, {"default": REJECT, "transports": {"docker-archive": {"": ACCEPT}}}),
    "unknown transport": (True, IMAGE, {"default": ACCEPT, "transports": {"pigeon": {"coop": REJECT}}}),
    "store": (
        True,
        STORED,
        {"default": REJECT, "transports": {"containers-storage": {"[vfs@<folder>/store]": ACCEPT}}},
    ),
    "store of any driver": (
        True,
        STORED,
        {"default": REJECT, "transports": {"containers-storage": {"[<folder>/store]": ACCEPT}}},
    ),
    "store of another driver": (
        False,
        STORED,
        {"default": REJECT, "transports": {"containers-storage": {"[overlay@<folder>/store]": ACCEPT}}},
    ),
    "stored tag": (
        True,
        STORED,
        {"default": REJECT, "transports": {"containers-storage": {"[vfs@<folder>/store]localhost/os:1": ACCEPT}}},
    ),
    "stored repository": (
        False,
        STORED,
        {"default": ACCEPT, "transports": {"containers-storage": {"[vfs@<folder>/store]localhost/os": REJECT}}},
    ),
}


@pytest.mark.parametrize(("accepted", "reference", "document"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts_are_skopeo_s(
    places: dict[str, str], tmp_path: Path, accepted: bool, reference: str, document: dict[str, Any]
) -> None:
    file = write(tmp_path, json.dumps(filled(document, places)))
    image = filled(reference, places)
    assert skopeo_accepts(file, image, tmp_path / "out") == accepted
    assert we_accept(tmp_path, image) == accepted


@pytest.mark.parametrize("document", INVALID.values(), ids=INVALID)
def test_a_file_that_we_refuse_is_refused_by_skopeo(places: dict[str, str], tmp_path: Path, document: object) -> None:
    file = write(tmp_path, document if isinstance(document, str) else json.dumps(document))
    assert not skopeo_accepts(file, filled(IMAGE, places), tmp_path / "out")


def write(root: Path, text: str) -> Path:
    path = root / "etc/containers/policy.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def skopeo_accepts(policy: Path, image: str, target: Path) -> bool:
    """Whether skopeo copies the image under this policy; only the policy may be what stops it."""
    command = [PROGRAM, "--policy", str(policy), "copy", "--quiet", "--src-tls-verify=false", image, f"dir:{target}"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    refusals = ("is rejected", "rejected by policy", "loading trust policy", "A signature was required", "signing keys")
    assert done.returncode == 0 or any(refusal in done.stderr for refusal in refusals), done.stderr
    return done.returncode == 0


def we_accept(root: Path, image: str) -> bool:
    try:
        return not Policy.load(root).decide(ImageReference.parse(image)).needs_signatures
    except PolicyError:
        return False
