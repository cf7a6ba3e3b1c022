"""Images in an ostree repository, laid out as upstream's container store does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from bootc.errors import NoSpaceError
from bootc.events import LayerImported, Notice
from bootc.fetcher import Readable
from bootc.hookspec import Context
from bootc.image import Digest, Image, ImportedImage, Layer
from bootc.storage import Finding, ImageStore, LayerStreams, Tree
from bootc_ostree import assembly, chunked, fsck, index, metadata, prepare_root, refs, sysroot
from bootc_ostree.collect import collect
from bootc_ostree.filter import LayerFilter
from bootc_ostree.glib import OSTree, translated
from bootc_ostree.importer import transaction, write_tree
from bootc_ostree.layout import Layout
from bootc_ostree.objects import root_of
from bootc_ostree.options import OstreeOptions
from bootc_ostree.tree import DeployedTree, RootTree


class OstreeStore(ImageStore):
    """Each layer is a commit, and so is each image: the layers put together."""

    def __init__(self, context: Context, options: OstreeOptions) -> None:
        self._context, self._options = context, options
        self._opened: OSTree.Repo | None = None

    @property
    def _where(self) -> str:
        return str(self._context.machine.root / sysroot.REPOSITORY)

    @property
    def _repo(self) -> OSTree.Repo:
        if self._opened is None:
            self._opened = sysroot.repository(self._context.machine)
            self._opened.set_disable_fsync(not self._options.fsync)
        return self._opened

    def find(self, image: Image) -> ImportedImage | None:
        """Under its own reference, or under any other; then its own is made to name it too, as upstream expects."""
        with translated(self._where):
            name = refs.image_ref(image.reference)
            for ref, found in index.images(self._repo, first=name):
                if found.digest == image.digest:
                    if ref != name:
                        self._repo.set_ref_immediate(None, name, found.key, None)
                    return found
        return None

    def missing(self, image: Image) -> tuple[Layer, ...]:
        with translated(self._where):
            present = index.layer_commits(self._repo, Layout.of(image))
        wanted = {layer.descriptor.digest: layer for layer in image.layers}
        return tuple(layer for digest, layer in wanted.items() if digest not in present)

    def import_image(self, image: Image, streams: LayerStreams) -> ImportedImage:
        found = self.find(image)
        if found:
            return found
        layout = Layout.of(image)
        with translated(self._where):
            present = dict(index.layer_commits(self._repo, layout))
            self._require_space([layer for layer in image.layers if layer.descriptor.digest not in present])
            self._adopt(present)
            for layer in layout.in_order:
                if layer.descriptor.digest not in present:
                    self._context.check_cancelled()
                    present[layer.descriptor.digest] = self._import_layer(image, layout, layer, streams, present)
                    self._context.report(LayerImported(str(layer.descriptor.digest)))
            self._context.check_cancelled()
            return assembly.assemble(self._repo, image, layout, present)

    @contextmanager
    def open_tree(self, image: ImportedImage) -> Iterator[Tree]:
        with translated(self._where):
            root = root_of(self._repo, image.key)
        for deployment in sysroot.load(self._context.machine).get_deployments():
            if deployment.get_csum() == image.key:
                yield DeployedTree(self._repo, root, sysroot.directory(self._context.machine, deployment))
                return
        yield RootTree(self._repo, root, image.key)

    def prune(self, keep: Collection[ImportedImage]) -> int:
        machine = self._context.machine
        loaded = sysroot.load(machine)
        with sysroot.locked(loaded, machine.root), translated(self._where):
            loaded.load_if_changed(None)
            deployed = {deployment.get_csum() for deployment in loaded.get_deployments()}
            return collect(self._repo, deployed | {image.key for image in keep})

    def check(self) -> Iterator[Finding]:
        loaded = sysroot.load(self._context.machine)
        deployed = [deployment.get_csum() for deployment in loaded.get_deployments()]
        return fsck.check(self._repo, deployed, self._context.check_cancelled)

    def _require_space(self, layers: Collection[Layer]) -> None:
        """Before anything is fetched: there must be room for what is missing, compressed as it is."""
        required = sum(layer.descriptor.size or 0 for layer in layers)
        reserved = self._repo.get_min_free_space_bytes()[1]
        available = max(0, self._context.machine.sysroot.free() - reserved)
        if required > available:
            raise NoSpaceError("the layers of the image", self._where, available, required)

    def _adopt(self, present: Mapping[Digest, str]) -> None:
        """Name layers that are there under other digests (compressed anew) by this image's digests too."""
        for digest, commit in present.items():
            if index.resolve(self._repo, refs.blob_ref(digest)) != commit:
                self._repo.set_ref_immediate(None, refs.blob_ref(digest), commit, None)

    def _import_layer(
        self, image: Image, layout: Layout, layer: Layer, streams: LayerStreams, present: Mapping[Digest, str]
    ) -> str:
        """One layer in one transaction, which is given up unless the stream proves to be what the image names."""
        repo = self._repo
        with transaction(repo):
            with streams.open(layer) as stream:
                if layer in layout.chunks:
                    commit = chunked.import_chunk(repo, stream)
                elif layer == layout.commit:
                    commit = chunked.import_commit(repo, stream, chunked.verification(repo, image, layout))
                else:
                    commit = self._import_ordinary(layout, stream, present)
            if layer == layout.commit:
                repo.mark_commit_partial(commit, False)
            repo.transaction_set_ref(None, refs.blob_ref(layer.descriptor.digest), commit)
        return commit

    def _import_ordinary(self, layout: Layout, stream: Readable, present: Mapping[Digest, str]) -> str:
        base = present[layout.commit.descriptor.digest] if layout.commit else None
        keeps_toplevel = base is None or prepare_root.has_writable_root(RootTree(self._repo, root_of(self._repo, base)))
        rules = LayerFilter(keeps_toplevel=keeps_toplevel)
        root = write_tree(self._repo, stream, rules)
        for name, count in sorted(rules.dropped.items()):
            message = f"ignored {count} entries below /{name}: this system has no such directory of its own"
            self._context.report(Notice(message, is_warning=True))
        description = metadata.of_layer(path.decode() for path in rules.implied)
        return str(self._repo.write_commit(None, None, None, description, root, None)[1])
