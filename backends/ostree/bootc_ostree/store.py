"""Images in an ostree repository, laid out as upstream's container store does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from bootc.errors import NoSpaceError
from bootc.events import LayerImported
from bootc.hookspec import Context
from bootc.image import Digest, Image, ImportedImage, Layer
from bootc.storage import Finding, ImageStore, LayerStreams, Tree
from bootc_ostree import index, refs, sysroot
from bootc_ostree.collect import collect
from bootc_ostree.glib import OSTree, translated
from bootc_ostree.layout import Layout
from bootc_ostree.objects import root_of
from bootc_ostree.options import OstreeOptions
from bootc_ostree.pruned import Pruned
from bootc_ostree.tree import DeployedTree, RootTree

_PRUNED = "pruned"


class OstreeStore(ImageStore):
    """Each layer is a commit, and so is each image: the layers put together.

    The repository is opened for each call, so that nothing keeps the filesystem busy afterwards.
    """

    def __init__(self, context: Context, options: OstreeOptions) -> None:
        self._context, self._options = context, options
        self._machine = context.machine
        self._where = str(context.machine.root / sysroot.REPOSITORY)

    def find(self, image: Image) -> ImportedImage | None:
        """Under its own reference, or under any other; then its own is made to name it too, as upstream expects."""
        repo = self._open()
        with translated(self._where):
            name = refs.image_ref(image.reference)
            for ref, found in index.images(repo, first=name):
                if found.digest == image.digest:
                    if ref != name:
                        repo.set_ref_immediate(None, name, found.key, None)
                    return found
        return None

    def missing(self, image: Image) -> tuple[Layer, ...]:
        with translated(self._where):
            present = index.layer_commits(self._open(), Layout.of(image))
        wanted = {layer.descriptor.digest: layer for layer in image.layers}
        return tuple(layer for digest, layer in wanted.items() if digest not in present)

    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        from bootc_ostree import assembly
        from bootc_ostree.layer import LayerImport

        found = self.find(image)
        if found:
            return found
        layout, repo = Layout.of(image), self._open()
        with translated(self._where):
            present = dict(index.layer_commits(repo, layout))
            needed = [layer for layer in image.layers if layer.descriptor.digest not in present]
            self._require_space(repo, needed, streams.room())
            _adopt(repo, present)
            layers = LayerImport(repo, self._machine.sysroot, image, layout, present, self._context.report)
            for layer in layout.in_order:
                if layer.descriptor.digest not in present:
                    self._context.check_cancelled()
                    present[layer.descriptor.digest] = layers.run(layer, streams)
                    self._context.report(LayerImported(str(layer.descriptor.digest)))
            self._context.check_cancelled()
            return assembly.assemble(repo, self._machine.sysroot, image, layout, present)

    @contextmanager
    def open_tree(self, image: ImportedImage) -> Iterator[Tree]:
        repo = self._open()
        with translated(self._where):
            root = root_of(repo, image.key)
        for deployment in sysroot.load(self._machine).get_deployments():
            if deployment.get_csum() == image.key:
                yield DeployedTree(repo, root, sysroot.directory(self._machine, deployment))
                return
        yield RootTree(repo, root, image.key)

    def prune(self, keep: Collection[ImportedImage]) -> int:
        loaded = sysroot.load(self._machine)
        with sysroot.locked(loaded, self._machine.root), translated(self._where):
            loaded.load_if_changed(None)
            deployed = {deployment.get_csum() for deployment in loaded.get_deployments()}
            pruned = Pruned(self._machine.sysroot, self._machine.state / _PRUNED)
            return collect(loaded.repo(), deployed | {image.key for image in keep}, pruned)

    def check(self) -> Iterator[Finding]:
        from bootc_ostree import fsck

        loaded = sysroot.load(self._machine)
        deployed = [deployment.get_csum() for deployment in loaded.get_deployments()]
        return fsck.check(loaded.repo(), deployed, self._context.check_cancelled)

    def _open(self) -> OSTree.Repo:
        repo = sysroot.repository(self._machine)
        repo.set_disable_fsync(not self._options.fsync)
        return repo

    def _require_space(self, repo: OSTree.Repo, layers: Collection[Layer], room: int) -> None:
        """There must be room for what is missing, compressed as it is, and for a blob on its way."""
        required = sum(layer.descriptor.size or 0 for layer in layers) + (room if layers else 0)
        available = max(0, self._machine.sysroot.free() - repo.get_min_free_space_bytes()[1])
        if required > available:
            raise NoSpaceError("the layers of the image", self._where, available, required)


def _adopt(repo: OSTree.Repo, present: Mapping[Digest, str]) -> None:
    """Name layers that are there under other digests (compressed anew) by this image's digests too."""
    for digest, commit in present.items():
        if index.resolve(repo, refs.blob_ref(digest)) != commit:
            repo.set_ref_immediate(None, refs.blob_ref(digest), commit, None)
