"""Arrange images for a viewer: alone, as one stack, or as the picture of a plate."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from polystore_core import NameTemplate
from polystore_core.errors import InvalidOptionError

from .address import AddressError
from .agreeing import check_alike, check_apart
from .naming import find_template
from .sources import TROUBLE, Picture, Skipped, find_fields

if TYPE_CHECKING:
    from polystore_core import FileManager

    from .address import Address
    from .naming import Found
    from .sources import Source

__all__ = ["Arrangement", "How", "View"]

How: TypeAlias = Literal["image", "stack", "montage"]

# MetaXpress calls its channels wavelengths, and writes _w1 and _w2.
_CHANNELS = ("channel", "c", "w")


@dataclass(frozen=True, slots=True)
class View:
    """Images that are shown together."""

    how: How
    address: Address
    """Where they are. For one image or plate, this is also its name in the viewer."""
    pictures: tuple[Picture, ...]
    names: str | None = None
    """The template that the names of a stack fit."""
    fields: Mapping[str, int] = field(default_factory=dict)
    """How many values each slider or channel has, if the names or the plate say so."""
    at: tuple[Mapping[str, str], ...] = ()
    """The well and field of each image, in the stack of a plate."""
    proposal: str | None = None
    """A template that fits the names, if the user gave none."""

    @property
    def paths(self) -> list[str]:
        """The paths of a stack's images in the viewer.

        Viewers make one layer from each folder. The fields of a plate are in many folders, so they
        get paths in one folder.
        """
        if self.at:
            return [(self.address / "_".join(place.values())).path for place in self.at]
        return [one.address.path for one in self.pictures]


@dataclass(slots=True)
class Arrangement:
    """Decides how the images of one call are shown.

    With ``stack`` or ``names``, the images of all sources are one stack, but each plate has its
    own stack. If ``names`` is "auto", each folder has its own stack too. Otherwise a folder is one
    stack if its images are alike.
    """

    stack: bool = False
    names: str | None = None
    """A template, "auto", or ``None``."""
    ask: Callable[[str], bool] | None = None
    """Asks the user a question. ``None`` in a script."""
    views: list[View] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, files: FileManager, sources: Sequence[Source]) -> None:
        """Add the images of all sources.

        A stack fails if its images differ in shape, type or axes, or if no name fits the template.
        The other stacks are still shown.

        Raises:
            AddressError: A source is a plate, and ``names`` is given.
        """
        together = []
        for source in sources:
            # A plate has wells and fields, so it is never a part of another stack.
            if source.kind == "plate":
                self._try(source.address, partial(self._add_plate, files, source))
            elif self.names == "auto" and source.kind != "image":
                # Each folder has names of its own.
                self._try(source.address, partial(self._add_stack, [source]))
            elif self.stack or self.names is not None:
                together.append(source)
            elif source.kind == "folder":
                self._add_folder(source)
            else:
                self._add_alone(source)
        if together:
            self._try(together[0].address, partial(self._add_stack, together))
        for source in sources:
            self.skipped += source.skipped

    def _try(self, address: Address, add: Callable[[], None]) -> None:
        """Add a stack. If that fails, keep the error and nothing else of it."""
        before = [(known, len(known)) for known in (self.notes, self.skipped)]
        try:
            add()
        except InvalidOptionError as error:
            for known, length in before:
                del known[length:]
            self.skipped.append(Skipped(str(address), "stack", str(error), failed=True))

    def _add_alone(self, source: Source) -> None:
        self.views += [View("image", one.address, (one,)) for one in source.pictures]

    def _add_plate(self, files: FileManager, source: Source) -> None:
        top = source.address
        if self.names is not None:
            raise AddressError(f"{top} is a plate: show it without --names")
        if not self.stack:
            self._add_montage(files, source)
            return
        found = find_fields(files, source)
        at = []
        for path in found:
            row, column, name = path.split("/")
            at.append({"well": f"{row}{column}", "field": name})
        values = {name: len({place[name] for place in at}) for name in ("well", "field")}
        # A slider with one position would only take space.
        if values["field"] == 1:
            del values["field"]
            at = [{"well": place["well"]} for place in at]
        pictures = tuple(found.values())
        check_alike(pictures)
        self.views.append(View("stack", top, pictures, fields=values, at=tuple(at)))

    def _add_montage(self, files: FileManager, source: Source) -> None:
        (picture,) = source.pictures
        if picture.info is None or picture.info.shape is None:
            try:
                files.open(source.address.path, backend=source.address.backend)
            except TROUBLE as error:  # the error says why the plate is not one picture
                failure = Skipped(str(source.address), "plate", str(error), failed=True)
                self.skipped.append(failure)
                return
        plate = source.plate
        values = {"well": len(plate["wells"]), "field": len(plate["fields"])}
        self.views.append(View("montage", source.address, (picture,), fields=values))
        places = len(plate["rows"]) * len(plate["columns"])
        # Black wells look like wells without cells, so the user is told.
        gaps = places - len(plate["wells"])
        if gaps:
            self.notes.append(
                f"{source.address}: {gaps:,} of {places:,} wells are not there, and black in the "
                "picture"
            )

    def _add_folder(self, source: Source) -> None:
        address, pictures = source.address, _planes(source)
        if len(pictures) == 1:
            self._add_alone(source)
            return
        try:
            check_alike(pictures)
        except InvalidOptionError as error:
            self.notes.append(f"each image of {address} is shown alone: {error}")
            self._add_alone(source)
            return
        self._skip_labels(source)
        template = find_template([one.address.name for one in pictures])
        if template is None:
            self.views.append(View("stack", address, tuple(pictures)))
            return
        text = f"{address}: {_fit(template, pictures)}"
        if self.ask is not None and self.ask(f"{text}. Arrange the images this way?"):
            self._add_by_template(address, pictures, template)
            return
        if self.ask is None:
            self.notes.append(
                f"{text}. To arrange the images this way, add it, or --names auto"
            )
        self.views.append(View("stack", address, tuple(pictures), proposal=template.template))

    def _add_stack(self, sources: Sequence[Source]) -> None:
        """Make one stack from the images of several sources."""
        pictures, named = [], []
        for source in sources:
            pictures += _planes(source)
            self._skip_labels(source)
            named += source.pictures if source.kind == "image" else []
        # A file may be named twice, by itself and in its folder.
        pictures = list({one.address: one for one in pictures}.values())
        address = sources[0].address
        if self.names is None:
            check_alike(pictures)
            self.views.append(View("stack", address, tuple(pictures)))
        elif self.names == "auto":
            # A name counts once, also if several folders have it.
            template = find_template(list(dict.fromkeys(one.address.name for one in pictures)))
            if template is None:
                fault = (
                    f"--names auto finds no template in {_several(pictures)}: "
                    "write --names 'TEMPLATE', or --stack for the order of the names"
                )
                raise InvalidOptionError("names", "auto", "names that tell images apart", fault)
            text = _fit(template, pictures)
            self.notes.append(text if named else f"{address}: {text}")
            self._add_by_template(address, pictures, template)
        else:
            self._add_by_names(address, pictures, named)

    def _skip_labels(self, source: Source) -> None:
        reason = "a stack has no label images"
        self.skipped += [
            Skipped(str(one.address), "label image", reason)
            for one in source.pictures
            if one.labels_of is not None
        ]

    def _add_by_template(
        self, address: Address, pictures: Sequence[Picture], template: Found
    ) -> None:
        """Make a stack from the images that a template fits, and skip the others."""
        fits = set(template.fits)
        for one in pictures:
            if one.address.name not in fits:
                self._skip_misfit(one, template.template)
        chosen = [one for one in pictures if one.address.name in fits]
        self.views.append(_by_names(address, chosen, template.template))

    def _add_by_names(
        self, address: Address, pictures: Sequence[Picture], named: Sequence[Picture]
    ) -> None:
        """Make a stack with a template of the user. It must fit each image that the user named."""
        assert self.names is not None
        template = NameTemplate(self.names)
        chosen, first = [], None
        for one in pictures:
            try:
                template.parse(one.address.path)
            except InvalidOptionError as error:
                if one in named:
                    raise
                first = first or error
                self._skip_misfit(one, self.names)
            else:
                chosen.append(one)
        if not chosen:
            fault = f"--names {self.names!r} fits none of {_several(pictures)}: {first}"
            raise InvalidOptionError("names", self.names, "a template that fits", fault)
        self.views.append(_by_names(address, chosen, self.names))

    def _skip_misfit(self, one: Picture, template: str) -> None:
        reason = f"{template!r} does not fit its name, or does not tell it from another"
        self.skipped.append(Skipped(str(one.address), "image", reason))


def _planes(source: Source) -> list[Picture]:
    """Return the images of a stack: all images that are not label images."""
    return [one for one in source.pictures if one.labels_of is None]


def _by_names(address: Address, pictures: Sequence[Picture], names: str) -> View:
    """Make a stack with a template that fits all names."""
    template = NameTemplate(names)
    parsed = [template.parse(one.address.path) for one in pictures]
    values = {name: len({found[name] for found in parsed}) for name in template.fields}
    channels = [name for name in template.fields if name in _CHANNELS]
    # Viewers make a layer of each channel, so channels may differ in shape and type.
    layers = [" ".join(found[name] for name in channels) for found in parsed]
    check_apart(pictures, [tuple(found.values()) for found in parsed], names)
    check_alike(pictures, layers)
    return View("stack", address, tuple(pictures), names, values)


def _fit(template: Found, pictures: Sequence[Picture]) -> str:
    fits = set(template.fits)
    count = sum(one.address.name in fits for one in pictures)
    every = len(pictures)
    some = f"all {every:,}" if count == every else f"{count:,} of {every:,}"
    values = ", ".join(f"{name}: {number:,}" for name, number in template.values.items())
    return f"--names {shlex.quote(template.template)} fits {some} names ({values})"


def _several(pictures: Sequence[Picture]) -> str:
    name = repr(pictures[0].address.name)
    return f"{len(pictures):,} images, such as {name}" if len(pictures) > 1 else name
