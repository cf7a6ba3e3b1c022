"""Partial pulls into an installed system: its deployments' images are what layers are put together from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from bootc.fetcher import Source
from bootc.image import Digest, ImportedImage, Layer
from bootc.partial.prediction import Prediction
from bootc.partial.rule import Rule
from bootc.spool import held
from bootc.state.contents import Contents
from bootc.storage import Backend

if TYPE_CHECKING:
    from bootc.partial.local import LocalContents
    from bootc.partial.pulls import PartialPulls


@frozen
class InstalledContents:
    """The images of one system's deployments, for one command."""

    contents: Contents
    backend: Backend
    rule: Rule
    spool: Path
    """where an earlier command may have left something"""
    refused: set[Digest] = field(factory=set, init=False)
    """see `PartialPulls`: another import of this command does not try these again"""

    @contextmanager
    def pulls(self) -> Iterator[PartialPulls]:
        """For one import."""
        from bootc.partial.pulls import PartialPulls

        with self._local() as local:
            yield PartialPulls(self.contents, local, self.rule, self.refused)

    def predict(self, source: Source, missing: Sequence[Layer]) -> Prediction:
        """What fetching these layers will cost; see `bootc.partial.predicting`."""
        from bootc.partial.predicting import predict

        with self._local() as local:
            return predict(
                source, missing, local, self.rule, lambda blob: 0 if source.is_local else held(self.spool, blob)
            )

    def prune(self) -> None:
        """Forget the contents of layers that no deployment has."""
        self.contents.retain({diff_id for image in self._images(with_expendable=True) for diff_id in image.diff_ids})

    @contextmanager
    def _local(self) -> Iterator[LocalContents]:
        from bootc.partial.local import local_contents

        images = [] if self.rule.mode == "never" else self._images(with_expendable=False)
        with local_contents(self.contents, self.backend.store, images) as local:
            yield local

    def _images(self, *, with_expendable: bool) -> list[ImportedImage]:
        """In boot order, each once. What the next update destroys may go while it is read."""
        deployments = self.backend.deployer.deployments()
        images = [d.image for d in deployments if d.image and (with_expendable or not d.is_expendable)]
        return list({image.key: image for image in images}.values())
