"""Clauses of hostile registries: each case of the catalogue, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import pytest
from attrs import evolve, frozen

from bootc.hookspec import Capability, Context
from bootc.testing.fetcher_images import RegistryShelf, make_sample
from bootc.testing.fetcher_place import AMD64, FetcherFixtures, Listener, OpenFetcher, Place, read
from bootc.testing.hostile import CATALOGUE, Case, Errand
from bootc.testing.hostile.errands import FETCH, PART, PEEK, REST
from bootc.testing.hostile.scene import Scene
from bootc.testing.hostile.trial import attempt, faults
from bootc.testing.registry import Authority, Certificate, FakeRegistry, self_signed
from bootc.testing.suite import clause, needs

_WARM: set[type] = set()
"""suites that have fetched something"""


class Meet(Protocol):
    """Has the fetcher meet a case."""

    def __call__(self, case: Case, errand: Errand = FETCH) -> None:
        """Fails the test if it did what it must not."""


@frozen
class Certificates:
    """By the kinds that cases name; each is made when it is first wanted, and kept for later tests."""

    folder: Path

    def of(self, kind: str) -> Certificate:
        """Raises KeyError for a kind that nobody knows."""
        made = Certificate(self.folder / f"{kind}.crt", self.folder / f"{kind}.key")
        if not made.certificate.exists():
            makers: dict[str, Callable[[], Certificate]] = {
                "good": lambda: self.authority.certificate(kind),
                "expired": lambda: self.authority.certificate(kind, days=-1),
                "foreign": lambda: self.authority.certificate(kind, "DNS:other.example,IP:127.0.0.9"),
                "self-signed": lambda: self_signed(self.folder),
                "untrusted": lambda: Authority.create(self.folder, "nobody").certificate(kind),
            }
            makers[kind]()
        return made

    @property
    def authority(self) -> Authority:
        """The one that is trusted."""
        return Authority.create(self.folder)


class HostileClauses(FetcherFixtures):
    """F28 to F47."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test for each case of its clause; only one to be skipped where the fetcher has nothing to do with it."""
        super().pytest_generate_tests(metafunc)
        if "case" in metafunc.fixturenames:
            (mark,) = metafunc.definition.iter_markers("clause")
            cases = CATALOGUE[mark.args[-1]].cases
            needed = {one for needs in metafunc.definition.iter_markers("needs") for one in needs.args}
            if "registry" not in self.transports or needed - self.capabilities:
                cases = cases[:1]
            metafunc.parametrize("case", cases, ids=[case.name for case in cases])

    @pytest.fixture
    def certificates(self, tmp_path_factory: pytest.TempPathFactory) -> Certificates:
        """For registries with TLS."""
        folder = tmp_path_factory.getbasetemp() / "certificates"
        folder.mkdir(exist_ok=True)
        return Certificates(folder)

    @pytest.fixture
    def stage(
        self, remote: RegistryShelf, place: Place, certificates: Certificates
    ) -> Iterator[Callable[[Case], Scene]]:
        """Makes the scene of a case; its servers end with the test."""
        with ExitStack() as stack:

            def make(case: Case) -> Scene:
                kind = case.certificate
                is_tls = kind not in (None, "none")
                registry = FakeRegistry(certificates.of(kind)) if kind and is_tls else remote.registry
                if is_tls:
                    stack.enter_context(registry)
                    place.trust(registry.address, certificates.authority.own.certificate)
                elsewhere = stack.enter_context(FakeRegistry(host="127.0.0.2"))
                insecure = place.insecure if kind is None else ()
                return Scene(registry, elsewhere, evolve(place, insecure=insecure, silence=case.silence))

            yield make

    @pytest.fixture
    def is_warm(self, open_fetcher: OpenFetcher, remote: RegistryShelf, place: Place, context: Context) -> bool:
        """One image is fetched here before the first case, so that no child has to import what all of them need."""
        if type(self) not in _WARM:
            _WARM.add(type(self))
            sample = make_sample("warm")
            reference = remote.put("warm", sample)
            with closing(open_fetcher(context, place)) as fetcher, fetcher.resolve(reference, AMD64) as source:
                read(source, source.image.layers[0].blob)
            remote.registry.received.clear()
        return True

    @pytest.fixture
    def meet(
        self,
        stage: Callable[[Case], Scene],
        open_fetcher: OpenFetcher,
        context: Context,
        listener: Listener,
        tmp_path: Path,
        is_warm: bool,
    ) -> Meet:
        """Has the fetcher meet a case."""

        def meet(case: Case, errand: Errand = FETCH) -> None:
            scene = stage(case)
            reference = case.set(scene)
            result = attempt(errand, lambda: (open_fetcher(context, scene.place), listener), case, reference, tmp_path)
            assert faults(errand, case, scene, result) == []

        return meet

    @clause("F28", "F29")
    def test_trouble_that_passes(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F30")
    def test_trouble_that_stays(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F31")
    def test_refusals_and_strange_statuses(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F32")
    def test_bodies_that_do_not_end_where_they_say(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F33")
    def test_headers_that_lie(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F34")
    def test_the_rest_after_a_cut(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F35")
    def test_redirects(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F36")
    def test_tokens(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F37")
    def test_challenges(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F38")
    def test_token_servers_that_nobody_vouches_for(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F39")
    def test_hostile_manifests(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F40")
    def test_hostile_configs(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F41")
    def test_hostile_indexes(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F42")
    def test_layers_named_wrongly(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F43")
    def test_layers_of_wrong_content(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F44")
    def test_certificates(self, meet: Meet, case: Case) -> None:
        meet(case)

    @clause("F28", "F45")
    def test_offsets_that_are_answered_wrongly(self, meet: Meet, case: Case) -> None:
        meet(case, REST)

    @clause("F28", "F46")
    @needs(Capability.RANGES)
    def test_ranges_that_are_answered_wrongly(self, meet: Meet, case: Case) -> None:
        meet(case, PART)

    @clause("F28", "F47")
    @needs(Capability.PEEK)
    def test_peeks_at_hostile_registries(self, meet: Meet, case: Case) -> None:
        meet(case, PEEK)
