"""`bootc image`."""

from __future__ import annotations

from bootc.cli.lazy import LazyCommand, LazyGroup

TABLE = {"plan": LazyCommand("bootc.cli.commands.image_plan", "Predict what an update from OLD to NEW would fetch.")}

command = LazyGroup("image", table=TABLE, help="Look at images, wherever they are.")
