"""One registries.conf, three readers: skopeo itself, the skopeo fetcher and the registry fetcher ask the same."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

from bootc.errors import BootcError, PolicyError
from bootc.image import ImageReference
from tests.integration.registry_fetching import fetching
from tests.servers import RegistryServer, Request
from tests.skopeo_images import PLATFORM, PROGRAM, build, fetcher, write_layout


@frozen
class Servers:
    """The same image as os/a:1 and as m/os/a:1 on both."""

    primary: RegistryServer
    mirror: RegistryServer
    digest: str

    def fill(self, text: str) -> str:
        return text.replace("<p>", self.primary.address).replace("<m>", self.mirror.address).replace("<d>", self.digest)

    def asked(self) -> dict[str, int]:
        """Manifests that were handed out so far."""
        servers = {"primary": self.primary, "mirror": self.mirror}
        return {name: sum(map(_is_manifest, server.requests())) for name, server in servers.items()}


def _is_manifest(request: Request) -> bool:
    return request.method == "GET" and "/manifests/" in request.path and request.status == 200


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    layout = write_layout(folder / "layout", build(1))
    with RegistryServer(folder / "p") as primary, RegistryServer(folder / "m") as mirror:
        digests = {server.push(layout, "os", name) for server in (primary, mirror) for name in ("os/a:1", "m/os/a:1")}
        primary.push(layout, "os", "os/only:1")
        yield Servers(primary, mirror, digests.pop())


def entry(prefix: str, location: str, *mirrors: str, more: str = "", rule: str = "") -> str:
    lines = ["[[registry]]", f'prefix = "{prefix}"', f'location = "{location}"', "insecure = true", more]
    for mirror in mirrors:
        lines += ["[[registry.mirror]]", f'location = "{mirror}"', "insecure = true", rule]
    return "\n".join(lines) + "\n"


TAG, DIGEST, ONLY = "<p>/os/a:1", "<p>/os/a@<d>", "<p>/os/only:1"
NOBODY = "127.0.0.1:1"
SERVED: dict[str, tuple[str, str, str | None]] = {
    "no mirror": (entry("<p>", "<p>"), TAG, "primary"),
    "no entry": ("", TAG, None),
    "a mirror": (entry("<p>", "<p>", "<m>"), TAG, "mirror"),
    "a mirror below a path": (entry("<p>", "<p>", "<m>/m"), TAG, "mirror"),
    "a mirror of a repository": (entry("<p>/os/a", "<p>/os/a", "<m>/m/os/a"), TAG, "mirror"),
    "a mirror of another repository": (entry("<p>", "<p>") + entry("<p>/os/b", "<m>/os/b"), TAG, "primary"),
    "a mirror without the image": (entry("<p>", "<p>", "<m>"), ONLY, "primary"),
    "a mirror that is down": (entry("<p>", "<p>", NOBODY, "<m>"), TAG, "mirror"),
    "all are down": (entry("<p>", NOBODY, NOBODY), TAG, None),
    "elsewhere": (entry("<p>", "<m>"), TAG, "mirror"),
    "elsewhere below a path": (entry("<p>/os", "<m>/m/os"), TAG, "mirror"),
    "another name": (entry("h.example/os", "<m>/os"), "h.example/os/a:1", "mirror"),
    "a wildcard": (entry("*.example", "<m>/os"), "h.example/a:1", "mirror"),
    "the longer prefix": (entry("<p>", "<p>") + entry("<p>/os", "<m>/os"), TAG, "mirror"),
    "a prefix with a tag": (entry("<p>", "<p>") + entry("<p>/os/a:1", "<m>/os/a:1"), TAG, "primary"),
    "digests only, a tag": (entry("<p>", "<p>", "<m>", rule='pull-from-mirror = "digest-only"'), TAG, "primary"),
    "digests only, a digest": (entry("<p>", "<p>", "<m>", rule='pull-from-mirror = "digest-only"'), DIGEST, "mirror"),
    "tags only, a tag": (entry("<p>", "<p>", "<m>", rule='pull-from-mirror = "tag-only"'), TAG, "mirror"),
    "tags only, a digest": (entry("<p>", "<p>", "<m>", rule='pull-from-mirror = "tag-only"'), DIGEST, "primary"),
    "all, a digest": (entry("<p>", "<p>", "<m>", rule='pull-from-mirror = "all"'), DIGEST, "mirror"),
    "old rule, a tag": (entry("<p>", "<p>", "<m>", more="mirror-by-digest-only = true"), TAG, "primary"),
    "old rule, a digest": (entry("<p>", "<p>", "<m>", more="mirror-by-digest-only = true"), DIGEST, "mirror"),
    "blocked": (entry("<p>", "<p>", more="blocked = true"), TAG, None),
    "blocked where it is": (
        entry("h.example", "<p>") + entry("<p>", "<p>", more="blocked = true"),
        "h.example/os/a:1",
        None,
    ),
    "a blocked mirror": (entry("<p>", "<p>", "<m>") + entry("<m>", "<m>", more="blocked = true"), TAG, "primary"),
    "version 1": ('[registries.insecure]\nregistries = ["<p>"]\n', TAG, "primary"),
    "version 1, blocked": ('[registries.block]\nregistries = ["<p>"]\n', TAG, None),
}


@pytest.mark.parametrize(("text", "name", "expected"), SERVED.values(), ids=SERVED)
def test_all_readers_ask_the_same_servers(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str, expected: str | None
) -> None:
    configuration = tmp_path / "etc/containers/registries.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(servers.fill(text))
    reference = ImageReference.parse(f"docker://{servers.fill(name)}")
    accept_everything(tmp_path, monkeypatch)
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(configuration))
    assert who_serves(servers, lambda: by_skopeo(configuration, reference, tmp_path)) == expected, "skopeo"
    assert who_serves(servers, lambda: by_us(reference, tmp_path)) == expected, "registry fetcher"
    assert who_serves(servers, lambda: by_skopeo_fetcher(reference, tmp_path)) == expected, "skopeo fetcher"


def accept_everything(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = folder / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    monkeypatch.setenv("CONTAINERS_POLICY_JSON", str(policy))


def who_serves(servers: Servers, fetch: Callable[[], bool]) -> str | None:
    before = servers.asked()
    if not fetch():
        return None
    (served,) = (name for name, count in servers.asked().items() if count > before[name])
    return served


def by_skopeo(configuration: Path, reference: ImageReference, folder: Path) -> bool:
    options = ["--insecure-policy", "--registries-conf", str(configuration), "copy", "--quiet"]
    command = [PROGRAM, *options, str(reference), f"dir:{folder}/out"]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def by_us(reference: ImageReference, folder: Path) -> bool:
    try:
        with fetching(folder, insecure=(), retries=0) as opened, opened.resolve(reference, PLATFORM):
            return True
    except BootcError:
        return False


def by_skopeo_fetcher(reference: ImageReference, folder: Path) -> bool:
    try:
        with fetcher(folder).resolve(reference, PLATFORM):
            return True
    except BootcError:
        return False


def test_what_is_blocked_under_its_own_name_is_refused_wherever_it_is(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """skopeo looks at the name that results only, and would fetch this."""
    configuration = tmp_path / "etc/containers/registries.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(servers.fill(entry("h.example", "<m>", more="blocked = true")))
    accept_everything(tmp_path, monkeypatch)
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(configuration))
    reference = ImageReference.parse("docker://h.example/os/a:1")
    with pytest.raises(PolicyError, match="blocked"), fetcher(tmp_path).resolve(reference, PLATFORM):
        pass
    with fetching(tmp_path, insecure=()) as ours, pytest.raises(PolicyError, match="blocked"):
        ours.peek(reference)
    assert by_skopeo(configuration, reference, tmp_path)
