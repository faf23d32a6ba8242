"""``polystore workspace build``."""

import sys
from collections import Counter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polystore_cli.address import Address, AddressError, complete_address
from polystore_cli.output import is_terminal, print_json, printable, warn
from polystore_core import FileManager

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["workspace"]

workspace = typer.Typer(no_args_is_help=True, help="Make the documents of virtual workspaces.")

_PLUGIN = "virtual_workspace"


@workspace.command()
def build(
    context: typer.Context,
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="Where the files are, also in its folders. Or BACKEND:PATH."
        ),
    ],
    names: Annotated[
        str,
        typer.Option(
            metavar="TEMPLATE",
            help="How the files are named: '{well}_s{site}_w{channel}.tif', or auto. Files with "
            "another suffix are left out.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The document: ws.json")],
    paths: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Virtual paths: '{well}/s{site}.tif'. The default is {well}/{file}.",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="AXES", help="Give each plane a path of its own: zc")
    ] = "",
    backend: Annotated[
        str | None,
        typer.Option(help="The backend that has the files. FOLDER is then its path."),
    ] = None,
    pattern: Annotated[str | None, typer.Option(help="Only names like '*.tif'.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing. Print each path and its source.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Map the files of FOLDER to tidy virtual paths. The files stay where they are.

    Then use it: registry.add("ws", "virtual_workspace", file="ws.json"), or here with --config and
    [backends.ws], backend = "virtual_workspace", file = "ws.json".
    """
    files: FileManager = context.obj
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
    """Return the template that fits the names. Raises ``AddressError`` if none does."""
    from polystore_cli.naming import find_template

    paths = files.list_files(folder.path, folder.backend, pattern=pattern, recursive=True)
    names = [path.rpartition("/")[2] for path in paths]
    suffixes = Counter(PurePath(name).suffix.lower() for name in names)
    suffix = max(suffixes, key=lambda one: suffixes[one], default="")  # the others are notes
    names = [name for name in names if name.lower().endswith(suffix)]
    found = find_template(names)
    if found is None:
        raise AddressError(
            f"no template fits the {len(names):,} names in {folder.path!r}: write one, such as "
            "--names '{well}_s{site}.tif'"
        )
    return found.template


def _print(entries: "Mapping[str, Any]") -> None:
    for path, entry in entries.items():
        indices = ", ".join(":" if index is None else str(index) for index in entry.indices)
        at = f"[{indices}]" if indices else ""
        typer.echo(printable(f"{path}  <-  {entry.backend}:{entry.address}{at}"))
