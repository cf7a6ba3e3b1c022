"""A disk, an ESP and /run as dictionaries that lose power after any step, and toy plugins that live on them.

The three backends fail in the ways that real ones do: one adds objects and a record, one reuses two slots, one keeps
generations and cleans up behind its own switch (as libostree does).
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from attrs import evolve, field, frozen, mutable

from bootc import platform
from bootc.bootloader import Bootloader, Count
from bootc.deployment import BootEntry, BootMenu, Deployment, DeploymentId, KernelArguments
from bootc.durable import DirectoryVolume
from bootc.events import Event
from bootc.fetcher import Fetcher, Peek, Readable, Source
from bootc.hookspec import Context, ImageView
from bootc.image import Descriptor, Digest, Image, ImageReference, ImportedImage, Layer
from bootc.machine import Machine
from bootc.platform import Platform
from bootc.state import Accepted
from bootc.state.boots import Record
from bootc.steps import Steps
from bootc.storage import Backend, Deployer, DeployRequest, Finding, ImageStore, LayerStreams, MenuFormat, Tree
from bootc.transaction import Transaction
from bootc.trust import Trust


class PowerCut(BaseException):
    """The moment after which nothing more is written."""


@mutable
class Disk:
    """What survives a power cut (`kept`, `esp`) and what does not (`run`)."""

    kept: dict[str, Any] = field(factory=dict)
    esp: dict[str, KernelArguments] = field(factory=dict)
    default: str | None = None
    counts: dict[str, Count] = field(factory=dict)
    """on the ESP, too: how boots of entries are counted"""
    run: dict[str, Any] = field(factory=dict)
    booted: str | None = None
    steps: int = 0
    limit: int | None = None

    def step(self) -> None:
        """One atomic step is about to be taken."""
        if self.limit is not None and self.steps >= self.limit:
            raise PowerCut
        self.steps += 1

    def put(self, key: str, value: Any) -> None:
        """Write whole."""
        self.step()
        self.kept[key] = value

    def drop(self, key: str) -> None:
        """Remove."""
        if key in self.kept:
            self.step()
            del self.kept[key]

    def stage(self, value: str | None) -> None:
        """Write or remove the staged marker, in /run."""
        self.step()
        self.run = {} if value is None else {"staged": value}


class ToyTree(Tree):
    """An image with a kernel and nothing else."""

    def open(self, path: PurePosixPath) -> BinaryIO:
        if path.name in ("vmlinuz", "initramfs.img"):
            return io.BytesIO(b"toy")
        raise FileNotFoundError(path)

    def names(self, path: PurePosixPath) -> tuple[str, ...]:
        found = {"usr/lib/modules": ("1.0",), "usr/lib/modules/1.0": ("initramfs.img", "vmlinuz")}
        return found.get(str(path), ())

    def directory(self) -> AbstractContextManager[Path]:
        raise NotImplementedError


class ToyBackend(ImageStore, Deployer):
    """Objects and records; ids never come back. The base of the other toys."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def new_id(self, digest: Digest) -> DeploymentId:
        number = self.disk.kept.get("serial", 0) + 1
        self.disk.kept["serial"] = number
        return DeploymentId(f"{digest.hex[-4:]}.{number}")

    def find(self, image: Image) -> ImportedImage | None:
        found: ImportedImage | None = self.disk.kept.get(f"image/{image.digest}")
        return found

    def missing(self, image: Image) -> tuple[Layer, ...]:
        return ()

    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        for number in range(2):
            self.disk.put(f"object/{image.digest}/{number}", b"")
        imported = ImportedImage(image.digest, image.manifest, image.config, key=str(image.digest))
        self.disk.put(f"image/{image.digest}", imported)
        return imported

    def open_tree(self, image: ImportedImage) -> AbstractContextManager[Tree]:
        return nullcontext(ToyTree())

    def prune(self, keep: Collection[ImportedImage]) -> int:
        kept = {f"image/{image.digest}" for image in keep}
        for key in [key for key in self.disk.kept if key.startswith("image/") and key not in kept]:
            self.disk.drop(key)
        return 0

    def check(self) -> Iterator[Finding]:
        return iter(())

    def initialize(self, stateroot: str, menu_format: MenuFormat) -> None:
        pass

    def etc(self, deployment: DeploymentId) -> Path:
        raise NotImplementedError

    def order(self) -> tuple[str, ...]:
        """Finished deployments, the default first."""
        return tuple(self.disk.kept.get("order", ()))

    def option(self, id: str) -> str:
        """How the kernel command line names a deployment."""
        return f"deployment/{id}"

    def is_complete(self, id: str) -> bool:
        """Whether everything that a boot of it needs is there."""
        record = self.disk.kept.get(f"deployment/{id}")
        return record is not None and f"image/{record.image.digest}" in self.disk.kept

    def expendable(self) -> frozenset[str]:
        """Deployments that the next stage or finalize destroys, or leaves out of the order."""
        staged = self.disk.run.get("staged")
        following = self.successors(staged) if staged else self.order()
        return frozenset(id for id in self.order() if id not in following)

    def deployments(self) -> tuple[Deployment, ...]:
        staged = self.disk.run.get("staged")
        expendable = self.expendable()
        found = [evolve(self._deployment(staged), is_staged=True)] if staged else []
        for id in self.order():
            if id != staged:
                found.append(evolve(self._deployment(id), is_expendable=id in expendable))
        return tuple(found)

    def _deployment(self, id: str) -> Deployment:
        record: Deployment = self.disk.kept[f"deployment/{id}"]
        entry = evolve(record.entry, options=KernelArguments((self.option(id),)))
        return evolve(record, entry=entry, is_booted=id == self.disk.booted)

    def record(self, id: DeploymentId, image: ImportedImage, request: DeployRequest) -> None:
        """Write a deployment's record."""
        entry = BootEntry(id, id, "1", PurePosixPath("k"), (), KernelArguments())
        self.disk.put(f"deployment/{id}", Deployment(id, "s", image, request.reference, KernelArguments(), None, entry))

    def preview(self, image: ImportedImage, merge_from: DeploymentId) -> tuple[Finding, ...]:
        return ()

    def stage(self, image: ImportedImage, request: DeployRequest) -> Deployment:
        id = self.new_id(image.digest)
        self.record(id, image, request)
        self.disk.stage(id)
        return self.deployments()[0]

    def set_locked(self, is_locked: bool) -> None:
        raise NotImplementedError

    def unstage(self) -> None:
        if self.disk.run:
            self.disk.stage(None)

    def finalize(self) -> None:
        staged = self.disk.run.get("staged")
        if staged:
            self.disk.put(f"etc/{staged}", "merged")
            self.arrange(self.successors(staged))
            self.disk.stage(None)

    def successors(self, staged: str) -> tuple[DeploymentId, ...]:
        """The order once this one is the default: it, and what runs (or would) now."""
        kept = self.disk.booted or next(iter(self.order()), None)
        return tuple(DeploymentId(id) for id in (staged, kept) if id)

    def arrange(self, order: Sequence[DeploymentId]) -> None:
        self.disk.put("order", tuple(order))

    def clean(self) -> None:
        live = {d.id for d in self.deployments()} | {self.disk.booted}
        for key in [key for key in self.disk.kept if key.startswith("deployment/")]:
            if key.partition("/")[2] not in live:
                self.disk.drop(key)


class SlotBackend(ToyBackend):
    """Two slots that take turns: an import destroys what is not booted."""

    def _slot(self, id: str) -> str:
        return id.partition("-")[0]

    def _idle(self) -> str:
        current = self.disk.booted or next(iter(self.order()), None)
        return "b" if current and self._slot(current) == "a" else "a"

    def is_complete(self, id: str) -> bool:
        slot = self.disk.kept.get(f"slot/{self._slot(id)}")
        return slot is not None and slot == (id, True)

    def expendable(self) -> frozenset[str]:
        return frozenset(id for id in self.order() if self._slot(id) == self._idle())

    def find(self, image: Image) -> ImportedImage | None:
        for name in "ab":
            id, is_whole = self.disk.kept.get(f"slot/{name}", ("", False))
            record = self.disk.kept.get(f"deployment/{id}")
            if is_whole and record and record.image.digest == image.digest and record.reference is not None:
                return evolve_key(record.image, name)
        return None

    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        name = self._idle()
        self.unstage()
        self.arrange([DeploymentId(id) for id in self.order() if self._slot(id) != name])
        imported = ImportedImage(image.digest, image.manifest, image.config, key=name)
        id = self._slot_id(name)
        for _ in range(3):
            self.disk.put(f"slot/{name}", (id, False))
        self.record(id, imported, DeployRequest("s", image.reference, KernelArguments()))
        self.disk.put(f"slot/{name}", (id, True))
        return imported

    def _slot_id(self, name: str) -> DeploymentId:
        number = self.disk.kept.get("serial", 0) + 1
        self.disk.kept["serial"] = number
        return DeploymentId(f"{name}-{number}")

    def stage(self, image: ImportedImage, request: DeployRequest) -> Deployment:
        id = self.disk.kept[f"slot/{image.key}"][0]
        if id in self.order():
            self.arrange([DeploymentId(other) for other in self.order() if other != id])
            id = self._slot_id(image.key)
            self.record(id, image, request)
            self.disk.put(f"slot/{image.key}", (id, True))
        self.disk.stage(id)
        return self.deployments()[0]

    def clean(self) -> None:
        live = {value[0] for key, value in self.disk.kept.items() if key.startswith("slot/")}
        for key in [key for key in self.disk.kept if key.startswith("deployment/")]:
            if key.partition("/")[2] not in live:
                self.disk.drop(key)

    def prune(self, keep: Collection[ImportedImage]) -> int:
        return 0


def evolve_key(image: ImportedImage, key: str) -> ImportedImage:
    """The same image under another key."""
    return ImportedImage(image.digest, image.manifest, image.config, key=key)


class GenerationBackend(ToyBackend):
    """Keeps its list by generations and, like libostree, deletes behind its own switch."""

    menu_directory = PurePosixPath("boot/loader/entries")
    has_stable_names = True

    def order(self) -> tuple[str, ...]:
        return tuple(self.disk.kept.get(f"generation/{self.disk.kept.get('loader', 0)}", ()))

    def option(self, id: str) -> str:
        if self.has_stable_names:
            return super().option(id)
        return f"generation/{self.disk.kept.get('loader', 0)}/{id}"

    def arrange(self, order: Sequence[DeploymentId]) -> None:
        if tuple(order) == self.order():
            return
        generation = 1 - self.disk.kept.get("loader", 0)
        self.disk.put(f"generation/{generation}", tuple(order))
        self.disk.put("loader", generation)
        self.disk.drop(f"generation/{1 - generation}")
        staged = self.disk.run.get("staged")
        for key in [key for key in self.disk.kept if key.startswith("deployment/")]:
            if key.partition("/")[2] not in (*order, staged):
                self.disk.drop(key)


class MovingNamesBackend(GenerationBackend):
    """As libostree names deployments itself: by a link that its next switch removes."""

    has_stable_names = False


class MirrorBootloader(Bootloader):
    """Entries on an ESP: additions, one switch, removals."""

    def __init__(self, disk: Disk, backend: ToyBackend) -> None:
        self.disk, self.backend = disk, backend

    def check(self, tree: Tree) -> None:
        pass

    def install(self, tree: Tree) -> None:
        pass

    def read(self) -> BootMenu:
        raise NotImplementedError

    def write(self, menu: BootMenu, tries: int | None = None) -> None:
        for entry in menu.entries:
            if self.disk.esp.get(entry.deployment) != entry.options:
                self.disk.step()
                self.disk.esp[entry.deployment] = entry.options
        default = menu.entries[0].deployment if menu.entries else None
        if self.disk.default != default:
            self.disk.step()
            self.disk.default = default
        for id in [id for id in self.disk.esp if id not in {entry.deployment for entry in menu.entries}]:
            self.disk.step()
            del self.disk.esp[id]

    def boots(self) -> str | None:
        """What a power-on would start."""
        id = self.disk.default
        if id is None or id not in self.disk.esp:
            return None
        return id if self._resolves(id) else None

    def dangling(self) -> list[str]:
        """Entries that are offered and do not boot."""
        return [id for id in self.disk.esp if not self._resolves(id)]

    def _resolves(self, id: str) -> bool:
        option = str(self.disk.esp[id])
        if option.startswith("generation/"):
            number = option.split("/")[1]
            return id in self.disk.kept.get(f"generation/{number}", ()) and self.backend.is_complete(id)
        return self.backend.is_complete(id)


class FollowingBootloader(MirrorBootloader):
    """Reads the backend's own boot directory."""

    def write(self, menu: BootMenu, tries: int | None = None) -> None:
        assert menu.directory is not None

    def boots(self) -> str | None:
        first = next(iter(self.backend.order()), None)
        return first if first and self.backend.is_complete(first) else None

    def dangling(self) -> list[str]:
        return []


REFERENCE = ImageReference("registry", "host.example/os:latest")


@frozen(slots=False)
class ToySource(Source):
    """One image without layers' content."""

    image: Image

    def open_blob(self, blob: Descriptor, start: int = 0) -> AbstractContextManager[Readable]:
        raise NotImplementedError


def toy_image(version: int, reference: ImageReference = REFERENCE) -> Image:
    """Image number `version`; its digest ends in that number."""
    digest = Digest("sha256", f"{version:064x}")
    here = platform.current().architecture
    config = {"architecture": here, "config": {"Labels": {"containers.bootc": "1", "version": str(version)}}}
    return Image(
        digest,
        b'{"layers": []}',
        json.dumps(config).encode(),
        reference=reference,
        top_digest=digest,
        layers=(),
        verdict="accepted",
    )


class ToyFetcher(Fetcher, Peek):
    """A registry whose tag points to image number `version`; counts its requests."""

    def __init__(self, version: int) -> None:
        self.version, self.peeks, self.resolves = version, 0, 0

    @contextmanager
    def resolve(self, reference: ImageReference, platform: Platform) -> Iterator[Source]:
        self.resolves += 1
        yield ToySource(toy_image(self.version, reference))

    def peek(self, reference: ImageReference) -> Digest | None:
        self.peeks += 1
        return toy_image(self.version).digest

    def close(self) -> None:
        pass


class ToyReferences:
    """Remembers what was fetched, for one process."""

    def __init__(self) -> None:
        self._seen: dict[ImageReference, tuple[Digest | None, Digest]] = {}

    def seen(self, reference: ImageReference) -> tuple[Digest | None, Digest] | None:
        return self._seen.get(reference)

    def record(self, image: Image) -> None:
        self._seen[image.reference] = (image.top_digest, image.digest)

    def touch(self) -> None:
        pass


class ToyAcceptances:
    """Remembers what was accepted, for one process."""

    def __init__(self) -> None:
        self._newest: dict[str, Accepted] = {}

    def newest(self, reference: ImageReference) -> Accepted | None:
        return self._newest.get(str(reference))

    def accept(self, image: Image, reference: ImageReference) -> None:
        self._newest[str(reference)] = Accepted.of(image, self.newest(reference))


class NoHooks:
    """No plugin has anything to say."""

    def check_image(self, view: ImageView) -> list[Finding]:
        return []

    def kernel_arguments(self, view: ImageView) -> tuple[str, ...]:
        return ()

    def prepare(self, view: ImageView) -> None:
        pass

    def staged(self, deployment: Deployment) -> None:
        pass

    def boot_completed(self, deployment: Deployment) -> None:
        pass


class ToyBoots:
    """The record of trials and failures, on the disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def read(self) -> Record:
        found: Record = self.disk.kept.get("boots", Record())
        return found

    def write(self, record: Record) -> None:
        if record != self.read():
            self.disk.put("boots", record)


def toy_transaction(
    disk: Disk, backend: ToyBackend, bootloader: Bootloader, *, kind: type[Steps] = Steps
) -> Transaction:
    """A transaction over toys; the disk counts as booted once something booted from it."""
    run = Path("/run") if disk.booted else None
    machine = Machine(DirectoryVolume(Path("/nonexistent")), PurePosixPath("state"), run=run)
    events: list[Event] = []
    steps = kind(
        context=Context(machine, events.append, lambda: None),
        backend=Backend(backend, backend),
        bootloader=bootloader,
        hooks=NoHooks(),
        references=ToyReferences(),
        platform=platform.current(),
        open_streams=lambda source, store: nullcontext(NoStreams()),
        shielded=nullcontext,
        prune_spool=lambda: 0,
        boots=ToyBoots(disk),
        trust=Trust(ToyAcceptances()),
    )
    return Transaction(steps, nullcontext)


def with_parts(transaction: Transaction, **parts: Any) -> Transaction:
    """The same transaction with other parts of these names."""
    return evolve(transaction, steps=evolve(transaction.steps, **parts))


class NoStreams(LayerStreams):
    """For images without layers."""

    def open(self, layer: Layer) -> AbstractContextManager[Readable]:
        raise NotImplementedError
