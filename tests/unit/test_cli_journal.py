"""Milestones as journal entries."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from bootc.cli.journal import Journal
from bootc.events import Milestone, MilestoneKind, Notice


def _received(path: Path, *events: Milestone | Notice) -> list[bytes]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(0.2)
        journal = Journal(path)
        for event in events:
            journal(event)
        found = []
        try:
            while True:
                found.append(server.recv(1 << 16))
        except TimeoutError:
            return found


def test_a_milestone_is_one_entry_with_its_message_id(tmp_path: Path) -> None:
    event = Milestone(MilestoneKind.ROLLBACK, "Rolling back", {"deployment": "a.0"})
    assert _received(tmp_path / "socket", Notice("no"), event) == [
        b"MESSAGE_ID=26f3b1eb24464d12aa5e7b544a6b5468\nMESSAGE=Rolling back\nBOOTC_DEPLOYMENT=a.0\n"
        b"PRIORITY=5\nSYSLOG_IDENTIFIER=bootc\n"
    ]


def test_a_value_with_a_line_break_cannot_make_a_field(tmp_path: Path) -> None:
    (entry,) = _received(tmp_path / "socket", Milestone(MilestoneKind.STAGED, "a\nPRIORITY=0", {}))
    assert b"MESSAGE\n" + (12).to_bytes(8, "little") + b"a\nPRIORITY=0\n" in entry


def test_a_machine_without_a_journal_is_fine(tmp_path: Path) -> None:
    Journal(tmp_path / "absent")(Milestone(MilestoneKind.STAGED, "x", {}))


def test_message_ids_are_valid_and_different() -> None:
    values = [kind.value for kind in MilestoneKind]
    assert len(set(values)) == len(values)
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in values)
