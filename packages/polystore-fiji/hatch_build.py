"""Build hook: compile the receiver, and put it into the wheel."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ReceiverHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compile the Java sources. An editable install also works without a JDK."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        script = runpy.run_path(str(Path(self.root, "build_receiver.py")))
        try:
            script["build"]()
        except script["MissingToolError"] as error:
            if version != "editable":
                self.app.abort(f"polystore-fiji cannot be built: {error}")
            self.app.display_warning(
                f"polystore-fiji is installed without its receiver for ImageJ: {error}, "
                "then run: python build_receiver.py"
            )
        except RuntimeError as error:
            self.app.abort(f"polystore-fiji cannot be built: {error}")
