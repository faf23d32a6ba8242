"""Turn docstrings into Markdown while the reference is built: mkdocs.yml names this extension.

In sources, ``::`` before an indented block is the usual way to mark code, and ``>>>`` marks a
session. The site shows both as blocks of Python.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|attr):(?=`)")
BLOCK = re.compile(r"(?P<last>\S?)(?P<space>[ ]?)::\n\n(?P<code>(?:(?: {4}[^\n]*)?(?:\n|\Z))+)")
SESSION = re.compile(r"^>>> .*(?:\n\S.*)*", re.MULTILINE)


class Docstrings(Extension):
    """Rewrite the docstring of each object."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was read, if it has one."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
            # A "::" that is left has no indented code below it, and would be text on the page.
            if re.search(r"::$", obj.docstring.value, re.MULTILINE):
                raise ValueError(f"{obj.path}: indent the code after '::'")


def to_markdown(text: str) -> str:
    """Return a docstring with its code in fences, and without roles of Sphinx."""
    # Sessions first: behind "::" they are indented here, and become part of a block.
    text = SESSION.sub(lambda found: f"```python\n{found.group()}\n```", ROLE.sub("", text))
    return BLOCK.sub(_fence_block, text)


def _fence_block(found: re.Match[str]) -> str:
    """Return the code after ``::`` in fences. Only "text::" keeps a colon."""
    code = textwrap.dedent(found["code"]).strip("\n")
    language = "python" if re.search(r"[=(]|^import |^from ", code) else "text"
    colon = ":" if found["last"] and not found["space"] else ""
    return f"{found['last']}{colon}\n\n```{language}\n{code}\n```\n\n"
