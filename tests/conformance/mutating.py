"""pytest with a fault in one line of the product: `python -m tests.conformance.mutating MODULE OLD NEW ARGUMENT…`.

OLD, which must be in the module's source once, is read as NEW; everything after it is pytest's. No file is changed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from attrs import frozen


@frozen
class Mutation(MetaPathFinder):
    """Finds one module, and reads it with the fault."""

    module: str
    old: str
    new: str

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.module:
            return None
        found = PathFinder.find_spec(name, path, target)
        assert found is not None
        assert isinstance(found.loader, SourceFileLoader)
        loader: Loader = _Faulty(self, found.loader.name, found.loader.path)
        found.loader = loader
        return found


class _Faulty(SourceFileLoader):
    def __init__(self, mutation: Mutation, name: str, path: str) -> None:
        super().__init__(name, path)
        self._mutation = mutation

    def get_code(self, fullname: str) -> CodeType:
        """Compiled anew, whatever is cached."""
        source = importlib.util.decode_source(self.get_data(self.path))
        return self.source_to_code(source.replace(self._mutation.old, self._mutation.new), self.path)


def main(arguments: Sequence[str]) -> int:
    """Run pytest with the fault."""
    module, old, new, *rest = arguments
    count = _source(module).count(old)
    if count != 1 or module in sys.modules:
        raise SystemExit(f"{module} has {old!r} {count} times, not once, or is imported already")
    sys.meta_path.insert(0, Mutation(module, old, new))

    import pytest

    return int(pytest.main(rest))


def _source(module: str) -> str:
    """The source of a module that is not imported, nor is any package of it."""
    top, *inner = module.split(".")
    found = importlib.util.find_spec(top)
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0], *inner).with_suffix(".py").read_text()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
