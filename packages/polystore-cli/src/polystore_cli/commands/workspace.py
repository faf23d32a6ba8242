"""``polystore workspace build``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from polystore_cli.address import Address, AddressError, complete_address
from polystore_cli.helping import Group
from polystore_cli.options import PATH, dry_run_option, json_option, pattern_option
from polystore_cli.output import is_terminal, print_json, printable, warn
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polystore_core import FileManager

__all__ = ["workspace"]

_PLUGIN = "virtual_workspace"


@click.group(cls=Group)
def workspace() -> None:
    """Make the documents of virtual workspaces."""


@workspace.command()
@click.argument("folder", type=PATH)
@click.option(
    "--names",
    required=True,
    metavar="TEMPLATE",
    help="How the files are named: '{well}_s{site}_w{channel}.tif', or auto. Files with another "
    "suffix are left out.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(),
    metavar="FILE",
    help="The document: ws.json",
)
@click.option(
    "--paths",
    metavar="TEMPLATE",
    help="Virtual paths: '{well}/s{site}.tif'. The default is {well}/{file}.",
)
@click.option(
    "--split", default="", metavar="AXES", help="Give each plane a path of its own: zc"
)
@click.option(
    "--backend",
    metavar="BACKEND",
    help="The backend that has the files. FOLDER is then its path.",
)
@pattern_option
@dry_run_option("Write nothing. Print each path and its source.")
@json_option("one JSON object")
@pass_files
def build(
    files: FileManager,
    folder: str,
    names: str,
    output: str,
    paths: str | None,
    split: str,
    backend: str | None,
    pattern: str | None,
    dry_run: bool,
    json: bool,
) -> None:
    """Map the files of FOLDER to tidy virtual paths. The files stay where they are.

    FOLDER is where the files are, also those in its folders: a path, or BACKEND:PATH.

    Then use it: registry.add("ws", "virtual_workspace", file="ws.json"), or here with --config and
    [backends.ws], backend = "virtual_workspace", file = "ws.json".
    """
    known = files.registry.names()
    source = Address(backend, folder) if backend else complete_address(folder, known)
    template = _template(files, source, pattern) if names == "auto" else names
    files.registry.add("workspace that is built", _PLUGIN, file=output)
    target: Any = files.registry["workspace that is built"]
    built = target.build(
        source.path,
        template,
        paths=paths,
        split=split,
        pattern=pattern,
        backend=source.backend,
        # Only --split opens the files, which takes time.
        progress=bool(split) and is_terminal(sys.stderr),
    )
    if not dry_run:
        built.save(output)
    if json:
        entries = {path: entry._asdict() for path, entry in built.entries.items()}
        written = None if dry_run else str(output)
        print_json({"file": written, "names": template, "root": built.root, "entries": entries})
    elif dry_run:
        _print(built.entries)
    else:
        count = len(built.entries)
        counted = f"{count:,} {'path' if count == 1 else 'paths'}"
        warn(f"{counted} in {output}, named by {template!r}")


def _template(files: FileManager, folder: Address, pattern: str | None) -> str:
    """Return the template that fits the names.

    Raises:
        AddressError: No template fits them.
    """
    from collections import Counter
    from pathlib import PurePath

    from polystore_cli.naming import find_template

    paths = files.list_files(folder.path, folder.backend, pattern=pattern, recursive=True)
    names = [path.rpartition("/")[2] for path in paths]
    suffixes = Counter(PurePath(name).suffix.lower() for name in names)
    # Most files are images. Files with another suffix are notes of the microscope.
    suffix = max(suffixes, key=lambda one: suffixes[one], default="")
    names = [name for name in names if name.lower().endswith(suffix)]
    found = find_template(names)
    if found is None:
        raise AddressError(
            f"no template fits the {len(names):,} names in {folder.path!r}: write one, such as "
            "--names '{well}_s{site}.tif'"
        )
    return found.template


def _print(entries: Mapping[str, Any]) -> None:
    for path, entry in entries.items():
        indices = ", ".join(":" if index is None else str(index) for index in entry.indices)
        at = f"[{indices}]" if indices else ""
        click.echo(printable(f"{path}  <-  {entry.backend}:{entry.address}{at}"))
