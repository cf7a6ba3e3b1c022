"""One layer of an image into the repository, whatever its form."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from bootc.durable import DirectoryVolume, Writeback
from bootc.events import Notice, Report
from bootc.fetcher import Readable
from bootc.image import Digest, Image, Layer
from bootc.storage import LayerStreams
from bootc_ostree import chunked, index, metadata, prepare_root, refs
from bootc_ostree.filter import Label, LayerFilter
from bootc_ostree.glib import OSTree
from bootc_ostree.importer import write_tree
from bootc_ostree.layout import Layout
from bootc_ostree.objects import as_root, root_of
from bootc_ostree.relabel import policy_of
from bootc_ostree.transaction import transaction
from bootc_ostree.tree import RootTree


@frozen
class LayerImport:
    """What the import of a layer must know of its image."""

    repo: OSTree.Repo
    volume: DirectoryVolume
    image: Image
    layout: Layout
    present: Mapping[Digest, str]
    """commits of the layers that are there; the commit layer comes before the ordinary ones"""
    report: Report

    def run(self, layer: Layer, streams: LayerStreams) -> str:
        """Import in one transaction, which is given up unless the stream proves to be what the image names."""
        with transaction(self.repo, self.volume) as names:
            with streams.open(layer) as stream:
                commit = self._read(layer, stream)
            if layer == self.layout.commit:
                self.repo.mark_commit_partial(commit, False)
            names[refs.blob_ref(layer.descriptor.digest)] = commit
        return commit

    def _read(self, layer: Layer, stream: Readable) -> str:
        if layer in self.layout.chunks:
            return chunked.import_chunk(self.repo, stream)
        if layer == self.layout.commit:
            return chunked.import_commit(self.repo, stream, chunked.verification(self.repo, self.image, self.layout))
        return self._read_ordinary(stream)

    def _read_ordinary(self, stream: Readable) -> str:
        rules = LayerFilter(keeps_toplevel=self._keeps_toplevel(), label=self._label())
        with Writeback(self.volume) as writeback:
            note = (lambda _: None) if self.repo.get_disable_fsync() else writeback.made
            root = write_tree(self.repo, stream, rules, note)
        for name, count in sorted(rules.dropped.items()):
            message = f"ignored {count} entries in /{name}: the base image has a read-only root without it"
            self.report(Notice(message, is_warning=True))
        description = metadata.of_layer(path.decode() for path in rules.implied)
        return str(self.repo.write_commit(None, None, None, description, as_root(self.repo, root), None)[1])

    def _keeps_toplevel(self) -> bool:
        base = self._base()
        return base is None or prepare_root.has_writable_root(RootTree(self.repo, root_of(self.repo, base)))

    def _label(self) -> Label | None:
        """The policy of the base, or of the image that this one follows: most labels will be right from the start."""
        known = self._base() or index.resolve(self.repo, refs.image_ref(self.image.reference))
        return policy_of(self.repo, root_of(self.repo, known)) if known else None

    def _base(self) -> str | None:
        return self.present[self.layout.commit.descriptor.digest] if self.layout.commit else None
