"""What a command's fetch cost, added up from its events."""

from __future__ import annotations

from collections import Counter

from attrs import evolve

from bootc.events import Event, FetchPlanned, LayerFetched, Phase, PhaseFinished, RequestMade
from bootc.status import size_text


class Account:
    """A listener that counts. Bytes are those of layers as they are served, without manifests and tokens."""

    def __init__(self) -> None:
        self.plan: FetchPlanned | None = None
        self._layers: dict[str, LayerFetched] = {}
        self.requests = Counter[str]()
        """by the digest of the blob; the empty one stands for all else"""
        self.seconds: dict[Phase, float] = {}
        """of the phases that ended, in their order"""

    def __call__(self, event: Event) -> None:
        match event:
            case FetchPlanned():
                self.plan, self._layers = event, {}
            case LayerFetched():
                before = self._layers.get(event.digest)
                self._layers[event.digest] = _joined(before, event) if before else event
            case RequestMade():
                self.requests[event.digest] += 1
            case PhaseFinished():
                self.seconds[event.phase] = self.seconds.get(event.phase, 0.0) + event.seconds
            case _:
                return

    def close(self) -> None:
        """Nothing is open."""

    @property
    def layers(self) -> tuple[LayerFetched, ...]:
        """Each once, with all that it cost: one whose parts proved wrong is fetched again."""
        return tuple(self._layers.values())

    @property
    def fetched(self) -> int:
        """Bytes that came from the source."""
        return sum(layer.fetched for layer in self.layers)

    @property
    def reused(self) -> int:
        """Bytes of layers that were not in the store, but in the spool or in parts in present images."""
        return sum(layer.reused for layer in self.layers)

    @property
    def saved(self) -> int:
        """What the whole image would have cost besides: its layers that were there, and parts of others."""
        present = self.plan.bytes_present if self.plan else 0
        return max(present + sum(layer.size for layer in self.layers) - self.fetched, 0)

    def lines(self) -> list[str]:
        """For people who want to know more: a line for each layer, then what `text` says, then the requests."""
        text, requests = self.text(), self.requests.total()
        if text is None:
            return []
        return [*map(self._layer_text, self.layers), text, *([f"Requests: {requests}"] if requests else [])]

    def text(self) -> str | None:
        """One line for people, once an import ended; None if nothing was fetched."""
        seconds = self.seconds.get(Phase.IMPORT)
        if seconds is None or not self.layers:
            return None
        rate = f" ({size_text(int(self.fetched / seconds))}/s)" if seconds > 0 else ""
        saved = f"; saved: {size_text(self.saved)}" if self.saved else ""
        return f"Fetched layers: {size_text(self.fetched)} in {seconds:.1f} s{rate}{saved}"

    def _layer_text(self, layer: LayerFetched) -> str:
        short, requests = layer.digest.partition(":")[2][:12], self.requests[layer.digest]
        reused = f"; reused: {size_text(layer.reused)}" if layer.reused else ""
        asked = f"; requests: {requests}" if requests else ""
        sizes = f"{size_text(layer.fetched)} of {size_text(layer.size)}"
        return f"Layer {short}: {sizes} in {layer.seconds:.1f} s{reused}{asked}"


def _joined(before: LayerFetched, after: LayerFetched) -> LayerFetched:
    return evolve(after, fetched=before.fetched + after.fetched, seconds=before.seconds + after.seconds)
