"""``polystore info``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from polystore_cli.address import parse_address
from polystore_cli.globbing import expand_address
from polystore_cli.options import ADDRESS, json_option
from polystore_cli.output import dtype_in_words, info_document, local_time, print_json
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from polystore_cli.address import Address
    from polystore_cli.folders import Content
    from polystore_core import FileManager, ImageMetadata, Info

__all__ = ["info"]

_LONGEST = 200  # an OME-XML document has thousands of characters


@click.command()
@click.argument("address", type=ADDRESS)
@json_option("one JSON object, or an array for a pattern")
@pass_files
def info(files: FileManager, address: str, json: bool) -> None:
    """Describe a file, folder or plate without loading it.

    ADDRESS is disk:a.tif, or a pattern such as 'disk:plate/*.tif'. Of a folder, it counts the files
    and adds up their sizes. Of a plate, it names the wells, fields and channels.
    """
    place = parse_address(address, files.registry.names())
    places = expand_address(files, place)
    described = [_describe(files, one) for one in places]
    if json:
        documents = [
            info_document(found) | ({} if content is None else {"content": content._asdict()})
            for found, content in described
        ]
        # A pattern always gives an array, so that a script need not ask how many names match.
        print_json(documents if places != [place] else documents[0])
        return
    for number, (found, content) in enumerate(described):
        if number:
            click.echo()
        lines = list(_lines(_collect(found, content)))
        width = max(len(name) for name, _ in lines)
        click.echo("".join(f"{name.ljust(width)}  {text}\n" for name, text in lines), nl=False)


def _describe(files: FileManager, place: Address) -> tuple[Info, Content | None]:
    """Describe a file or folder, and count the content of a folder."""
    found = files.info(place.path, backend=place.backend)
    abilities = files.registry[place.backend].capabilities
    if found.kind != "directory" or "collect_dirs_and_files" not in abilities:
        return found, None
    from polystore_cli.folders import measure_folder

    return found, measure_folder(files, place)


def _collect(found: Info, content: Content | None) -> dict[str, Any]:
    """Return the values that are printed, by their printed names."""
    # Formats repeat axes and channels in their metadata. One line is enough.
    metadata = dict(found.metadata)
    plate = metadata.pop("plate", {})
    counted = {
        name: _count(plate[name])
        for name in ("wells", "fields", "empty", "missing", "unlisted", "damaged")
        if plate.get(name)
    }
    image = {} if found.image is None else _describe_image(found.image)
    known = {
        "path": found.path,
        "kind": "plate" if plate else found.kind,
        "size": found.size,
        "modified": found.modified and local_time(found.modified),
        "format": found.format,
        "shape": found.shape,
        "dtype": found.dtype and dtype_in_words(found.dtype),
        "target": found.target,
        **counted,
        **image,
        "metadata": {name: value for name, value in metadata.items() if name not in image},
    }
    return known if content is None else known | content._asdict()


def _describe_image(image: ImageMetadata) -> dict[str, Any]:
    """Return the words of an image, as people read them."""
    scale = [
        f"{axis.name} {axis.scale:g} {axis.unit or ''}".rstrip()
        for axis in image.axes
        if axis.scale is not None
    ]
    names = [channel.name or "unnamed" for channel in image.channels]
    return {
        "name": image.name or None,
        "axes": ", ".join(image.names),
        "scale": ", ".join(scale) or None,
        "channels": _count(names) if names else None,
        "units": None,
    }


def _count(names: Sequence[str]) -> str:
    return f"{len(names):,}: {', '.join(names)}"


def _lines(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and text of each value that is known, nested ones as ``metadata.axes``."""
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", _shorten(str(value))


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= _LONGEST:
        return line
    return f"{line[:_LONGEST]}… ({len(text)} characters: see --json)"
