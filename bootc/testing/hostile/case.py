"""One entry of the catalogue: what is wrong, and what may come of it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from bootc.errors import BootcError, CancelledError, FetchError, NetworkError
from bootc.image import ImageReference
from bootc.testing.hostile.scene import Scene


@frozen
class Knob:
    """One thing that is set before a fetcher meets the scene: in the image, or (late) in how the registry behaves."""

    turn: Callable[[Scene], None]
    is_late: bool = False


@frozen
class Outcome:
    """What may come of a case. An error is an instance of one of these classes."""

    is_right: bool
    """whether the whole image may come out, every byte of it"""
    errors: tuple[type[BootcError], ...] = ()

    def __str__(self) -> str:
        right = ["the right image"] if self.is_right else []
        return " or ".join([*right, *(error.__name__ for error in self.errors)])


RIGHT = Outcome(True)
"""nothing is lost"""
SAFE = Outcome(True, (FetchError,))
"""a fetcher may cope with it or refuse it"""
REFUSED = Outcome(False, (FetchError,))
WAITS = Outcome(False, (NetworkError, CancelledError))
"""it waits as it was asked to, until the user has enough; or it does not wait so long"""


def error(*kinds: type[BootcError]) -> Outcome:
    """Only such an error."""
    return Outcome(False, kinds)


def right_or(*kinds: type[BootcError]) -> Outcome:
    """The right image, or such an error."""
    return Outcome(True, kinds)


@frozen
class Case:
    """One entry. Its name reads as what the server does."""

    name: str
    outcome: Outcome
    knobs: tuple[Knob, ...]
    silence: float = 10.0
    """seconds without a byte after which the fetcher is to give up a try"""
    stops_after: float | None = None
    """seconds after which the user has enough"""
    certificate: str | None = None
    """kind of certificate that the registry shows; "none": it has none, and speaks plain HTTP where TLS is wanted;
    None: it speaks plain HTTP, and is listed as insecure"""

    def set(self, scene: Scene) -> ImageReference:
        """Turn the knobs; returns the image's name."""
        scene.log_in()
        for knob in self.knobs:
            if not knob.is_late:
                knob.turn(scene)
        reference = scene.publish()
        for knob in self.knobs:
            if knob.is_late:
                knob.turn(scene)
        return reference


def case(name: str, outcome: Outcome, *knobs: Knob, silence: float = 10.0, stops_after: float | None = None) -> Case:
    """An entry, for a registry without TLS."""
    return Case(name, outcome, knobs, silence, stops_after)


def stalls(name: str, outcome: Outcome, *knobs: Knob) -> Case:
    """An entry in which the server says nothing for too long: the fetcher is told to have little patience."""
    return Case(name, outcome, knobs, silence=0.4)


def secure(name: str, outcome: Outcome, *knobs: Knob, certificate: str = "good") -> Case:
    """An entry for a registry with TLS, which is not listed as insecure."""
    return Case(name, outcome, knobs, certificate=certificate)
