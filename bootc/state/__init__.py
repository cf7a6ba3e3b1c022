"""The core's own records on a sysroot."""

from bootc.state.acceptances import Acceptances, Accepted
from bootc.state.boots import Boots, Failure, FailureKind
from bootc.state.core import State
from bootc.state.references import References, Sighting
from bootc.state.system import Features, System, find_system

__all__ = [
    "Acceptances",
    "Accepted",
    "Boots",
    "Failure",
    "FailureKind",
    "Features",
    "References",
    "Sighting",
    "State",
    "System",
    "find_system",
]
