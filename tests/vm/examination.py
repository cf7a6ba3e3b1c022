"""`python -m tests.vm.examination SYSROOT`: the deployments of a mounted system, and all that our checks find wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bootc.session import Selection, Session


def main() -> None:
    """Print a JSON object: `deployments` (image digests in boot order), `staged`, `damage`, and `leftovers`: what is
    broken and needed by nothing, as a power cut may leave it."""
    system = Session(Selection(sysroot=Path(sys.argv[1])), report=lambda event: None).reader()
    assert system is not None, "nothing of ours is installed there"
    deployments = system.deployments
    findings = [*system.backend.store.check(), *system.backend.deployer.check()]
    document = {
        "deployments": [str(d.image.digest) for d in deployments if d.image],
        "staged": [str(d.id) for d in deployments if d.is_staged],
        "damage": [f"{f.subject}: {f.message}" for f in findings if f.is_fatal],
        "leftovers": [f"{f.subject}: {f.message}" for f in findings if not f.is_fatal],
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
