"""Shell completion: commands, options, backends, and the paths in a backend.

Click finds out what a word is. The scripts here replace those of click, because bash cuts words at
":" and click's scripts add a space after a folder. They pass the command line up to the cursor in
``COMP_LINE``, and get one candidate in each line.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    split_arg_string,
)

from .address import AddressError, parse_address
from .session import open_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

    from polystore_core import FileManager

__all__ = ["SHELLS", "complete_paths", "complete_plugins"]

_SPECIAL = re.compile(r"([^\w@%+=:,./~-])")

_BASH = """\
%(complete_func)s() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
        if [[ $line == *[/:=] ]]; then compopt -o nospace; fi
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local line
    local -a closed open
    while IFS= read -r line; do
        if [[ -z $line ]]; then continue; fi
        if [[ $line == *[/:=] ]]; then open+=("$line"); else closed+=("$line"); fi
    done < <(COMP_LINE="${(j: :)words[1,CURRENT]}" %(complete_var)s=zsh_complete "${words[1]}" \\
        2>/dev/null)
    if (( $#open )); then compadd -Q -U -S '' -V %(prog_name)s -a open; fi
    if (( $#closed )); then compadd -Q -U -V %(prog_name)s -a closed; fi
}
compdef %(complete_func)s %(prog_name)s
"""
_FISH = """\
function %(complete_func)s
    set -l line (commandline -cp | string collect)
    COMP_LINE="$line" %(complete_var)s=fish_complete %(prog_name)s 2>/dev/null
end
complete --no-files --keep-order --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Shell(ShellComplete):
    """Reads ``COMP_LINE``, and prints the candidates for the last word."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE", "")
        words = split_arg_string(line)
        # After a space the cursor is in a new word, which is empty. An escaped space is
        # within a word.
        ends_word = line[-1:].isspace() and not line.endswith("\\ ")
        self.incomplete = words.pop() if len(words) > 1 and not ends_word else ""
        return words[1:], self.incomplete

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        items = super().get_completions(args, incomplete)
        # click leaves them to the shell.
        if any(item.type in ("file", "dir") for item in items):
            items = [CompletionItem(path) for path in _local_paths(items[0].value)]
        # click completes the value alone, but a shell replaces the whole word.
        option, equals, _ = incomplete.partition("=")
        if equals and option.startswith("-"):
            for item in items:
                item.value = f"{option}={item.value}"
        return items

    def format_completion(self, item: CompletionItem) -> str:
        return _SPECIAL.sub(r"\\\1", item.value)


@add_completion_class
class Bash(_Shell):
    """Completes in bash, which cuts words at ":" and "=" and replaces only the last part."""

    name = "bash"
    source_template = _BASH

    def format_completion(self, item: CompletionItem) -> str:
        """Leave out the part of the word that bash keeps, up to its last ":" or "="."""
        value: str = item.value
        breaks = set(os.environ.get("COMP_WORDBREAKS", ":=")) & set(":=")
        cut = max((self.incomplete.rfind(mark) + 1 for mark in breaks), default=0)
        if self._is_quoted() or not value.startswith(self.incomplete[:cut]):
            cut = 0
        return value if self._is_quoted() else _SPECIAL.sub(r"\\\1", value[cut:])

    def _is_quoted(self) -> bool:
        """Whether the cursor is between quotes: then bash cuts nothing and quotes nothing."""
        line = os.environ.get("COMP_LINE", "")
        return line.count('"') % 2 == 1 or line.count("'") % 2 == 1


@add_completion_class
class Zsh(_Shell):
    """Completes in zsh."""

    name = "zsh"
    source_template = _ZSH


@add_completion_class
class Fish(_Shell):
    """Completes in fish, which quotes words itself and shows the text after a tab."""

    name = "fish"
    source_template = _FISH

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.value}\t{item.help}" if item.help else str(item.value)


SHELLS = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def complete_paths(
    context: click.Context, incomplete: str, *, with_local: bool = False
) -> list[CompletionItem]:
    """Return the backends, or the names in a folder of a backend, that start as ``incomplete``.

    With ``with_local``, a path without a backend is completed too.
    """
    from polystore_core import PolystoreError

    try:
        return [CompletionItem(text) for text in _paths(context, incomplete, with_local)]
    except (PolystoreError, AddressError, OSError):
        return []  # a shell has no place for an error in the middle of a command line


def _paths(context: click.Context, incomplete: str, with_local: bool) -> Iterator[str]:
    files = open_files(context)
    names = files.registry.names()
    try:
        folder = parse_address(incomplete.rpartition("/")[0] or incomplete, names)
    except AddressError:
        yield from (f"{name}:" for name in names if name.startswith(incomplete))
        if with_local:
            yield from _local_paths(incomplete)
        return
    above, slash, start = incomplete.rpartition("/")
    if not slash:  # "disk:pl" is in the top folder
        above, _, start = incomplete.rpartition(":")
        folder, slash = folder.at("."), ":"
    elif not folder.path.strip("."):
        folder = folder.at("/") if above.endswith(":") else folder
    yield from (
        above + slash + name for name in _names(files, folder.backend, folder.path, start)
    )


def _names(files: FileManager, backend: str, folder: str, start: str) -> Iterator[str]:
    if "collect_dirs_and_files" not in files.registry[backend].capabilities:
        return
    folders, paths = files.collect_dirs_and_files(folder, backend, recursive=False)
    # The slash keeps the shell from adding a space, and the next tab completes inside.
    for path, end in (*((path, "/") for path in folders), *((path, "") for path in paths)):
        name = path.rpartition("/")[2]
        if name.startswith(start) and (start or not name.startswith(".")):
            yield name + end


def _local_paths(incomplete: str) -> list[str]:
    """Return the paths of this machine that start as ``incomplete``, folders with a slash."""
    above, start = os.path.split(incomplete)
    try:
        with os.scandir(os.path.expanduser(above) or ".") as entries:
            found = [entry.name + ("/" if entry.is_dir() else "") for entry in entries]
    except OSError:
        return []
    # As in a shell, hidden names need the dot.
    hides = not start.startswith(".")
    return sorted(
        os.path.join(above, name)
        for name in found
        if name.startswith(start) and not (hides and name.startswith("."))
    )


def complete_plugins(context: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the suffixes and backends that start as ``incomplete``."""
    from polystore_core import PolystoreError

    try:
        registry = open_files(context).registry
        found = {*registry.formats.names(), *registry.names()}
    except PolystoreError:
        return []
    return [CompletionItem(name) for name in sorted(found) if name.startswith(incomplete)]
