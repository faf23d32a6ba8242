"""``Transfer``: copies files and folders from one backend to another, and verifies the copies."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from .abc.backend import DataSink, DataSource, Path
from .carrying import carry, save_carried
from .errors import (
    AlreadyExistsError,
    DamagedDataError,
    InvalidOptionError,
    UnsupportedFormatError,
    UnsupportedOperationError,
)
from .file_backend import FileBackend
from .file_backend.names import find_suffix
from .options import IfExists, check_if_exists, check_options
from .paths import check_new, check_pattern, join
from .work import Progress, progress_reporter, run_batch

if TYPE_CHECKING:
    from .values import Document, Value

__all__ = ["OnUnknown", "Transfer", "Transferred", "Verify"]

Verify: TypeAlias = Literal["values", "bytes"]
OnUnknown: TypeAlias = Literal["error", "skip", "copy"]


class Transferred(list[str]):
    """The list of the paths that ``transfer`` has written.

    For example:

        done = fm.transfer("plate", "png", source_backend="disk", target_backend="disk")
        for path, fields in done.lost.items():
            print(path, "has lost", ", ".join(fields))
    """

    lost: dict[str, tuple[str, ...]]
    """For each path of a target, the metadata that it could not hold, such as ("scale",)."""
    skipped: dict[str, str]
    """For each path of a source that was not copied, the reason."""

    def __init__(
        self,
        paths: Iterable[str] = (),
        *,
        lost: Mapping[str, tuple[str, ...]] | None = None,
        skipped: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(paths)
        self.lost, self.skipped = dict(lost or {}), dict(skipped or {})

    def __repr__(self) -> str:
        parts = [super().__repr__()]
        parts += [f"{n}={getattr(self, n)!r}" for n in ("lost", "skipped") if getattr(self, n)]
        return f"Transferred({', '.join(parts)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One call of ``FileManager.transfer``, with its options and its result."""

    source: DataSource
    target: DataSink
    verify: Verify | None
    if_exists: IfExists | None
    on_unknown: OnUnknown
    dry_run: bool
    alone: bool | None
    options: Document
    """The options of ``save`` of the target."""
    result: Transferred = field(default_factory=Transferred, init=False)

    def run(
        self, source: Path, target: Path, *, pattern: str | None, progress: Progress
    ) -> Transferred:
        """Copy the file or folder at ``source``. Raises ``BatchError`` for a folder."""
        self._check()
        check_pattern(pattern)
        is_folder = "is_dir" in self.source.capabilities and self.source.is_dir(source)
        if not is_folder:
            if pattern is not None:
                fault = f"pattern= needs a folder, but {os.fspath(source)!r} is not one"
                raise InvalidOptionError("pattern", pattern, "None", fault)
            with progress_reporter(progress, 1, "transfer") as report:
                goal = join("", os.fspath(target))
                self._transfer(os.fspath(source), goal, alone=bool(self.alone))
                report()
            return self.result
        files = self.source.list_files(source, pattern=pattern, recursive=True)
        skip = len(join(source, "")) if os.fspath(source) not in ("", ".") else 0
        targets = [join(target, file[skip:]) for file in files]
        run_batch(
            self.target.name,
            "transfer",
            files,
            lambda i: self._transfer(files[i], targets[i], alone=self.alone is not False),
            progress=progress,
        )
        return self.result

    # ── checks ───────────────────────────────────────────────────────────────────────────

    def _check(self) -> None:
        """Raise for options that are wrong for every file, before anything is read."""
        if self.if_exists is not None:
            check_if_exists(self.if_exists)
            self.options["if_exists"] = self.if_exists
        owner = f"save() of backend {self.target.name!r}"
        check_options(type(self.target).save, self.options, owner)
        if "format" in self.options and isinstance(self.target, FileBackend):
            fault = "format= is for save and load: transfer() chooses formats by suffixes"
            raise InvalidOptionError("format", self.options["format"], "None", fault)
        if self.on_unknown not in get_args(OnUnknown):
            raise InvalidOptionError("on_unknown", self.on_unknown, "'error', 'skip' or 'copy'")
        if self.verify == "values":
            if "load" not in self.target.capabilities:
                reason = "it only writes"
                raise UnsupportedOperationError(self.target.name, "verify='values'", reason)
        elif self.verify == "bytes":
            self._check_bytes()
        elif self.verify is not None:
            raise InvalidOptionError("verify", self.verify, "'values', 'bytes' or None")

    def _check_bytes(self) -> None:
        for backend in (self.source, self.target):
            if not isinstance(backend, FileBackend):
                reason = "it does not store each value as one file: use verify='values'"
                raise UnsupportedOperationError(backend.name, "verify='bytes'", reason)
        # Other options are for encoding a value, and here nothing is encoded.
        for option in self.options.keys() - {"if_exists", "durable"}:
            fault = f"{option}= needs a value, but verify='bytes' copies the stored bytes"
            raise InvalidOptionError(option, self.options[option], "None", fault)

    def _is_unknown(self, source: str, target: str) -> bool:
        """Return whether no installed format has the suffix of one of the files.

        Raises ``UnsupportedFormatError`` if ``on_unknown`` does not say what to do with it.
        """
        ends = ((self.source, source, "load"), (self.target, target, "save"))
        files = [(end, path, to) for end, path, to in ends if isinstance(end, FileBackend)]
        try:
            for end, path, operation in files:
                end._format_at(path, operation)
        except UnsupportedFormatError as error:
            # Only stores of files have bytes to copy, and a copy keeps its suffix.
            can_copy = len(files) == 2 and find_suffix(source) == find_suffix(target)
            if self.on_unknown == "skip" or (self.on_unknown == "copy" and can_copy):
                return True
            error.remedy = "pass on_unknown='skip'"
            if can_copy:
                error.remedy += ", or 'copy' to copy its bytes"
            elif self.on_unknown == "copy":
                needs = "needs two backends that store files, and a target with the same suffix"
                error.remedy += f", because on_unknown='copy' {needs}"
            raise
        return False

    def _may_write(self, target: str) -> bool:
        """Return whether to write the target. Nothing is loaded. Raises ``AlreadyExistsError``."""
        if self.if_exists not in ("skip", "error") or not self._exists(target):
            return True
        if self.if_exists == "error":
            raise AlreadyExistsError(self.target.name, target, "transfer to")
        # A killed save may have left the target incomplete. A later save would repair it first.
        if not self.dry_run:
            self.target._complete(target)
        return False

    def _exists(self, path: str) -> bool:
        # Not exists(): it is true for a folder, for which save raises, and false for a dead link.
        able = self.target.capabilities
        looks = [name for name in ("is_file", "is_symlink") if name in able]
        return any(getattr(self.target, name)(path) for name in looks)

    # ── one file ─────────────────────────────────────────────────────────────────────────

    def _transfer(self, source: str, target: str, *, alone: bool) -> None:
        is_unknown = self._is_unknown(source, target)
        if is_unknown and self.on_unknown == "skip":
            self.result.skipped[source] = "no installed format has its suffix"
            return
        if not self._may_write(target):
            self.result.skipped[source] = "the target exists"
            return
        if self.dry_run and "info" in self.source.capabilities:
            describe = self.source.info_alone if alone else self.source.info
            describe(source)  # raises for a file that is missing or damaged
        if is_unknown:
            self._copy_bytes(source, target)
        elif self.verify == "bytes":
            self._check_same_format(source, target)
            self._copy_bytes(source, target)
        elif not self.dry_run:
            self._transfer_value(source, target, alone)
        self.result.append(target)

    def _transfer_value(self, source: str, target: str, alone: bool) -> None:
        # ``transfer`` of a folder also copies the other files of a set. If each were copied with
        # the pixels of the whole set, n files would become n copies of it.
        with carry(self.source, source, alone=alone) as value:
            lost = save_carried(self.target, value, target, self.options)
            if lost:
                self.result.lost[target] = lost
            if self.verify is not None:
                self._compare(value, source, target)

    def _compare(self, value: Value, source: str, target: str) -> None:
        """Raise ``DamagedDataError`` unless the target has the pixels of ``value``."""
        from .model.equality import difference

        assert isinstance(self.target, DataSource)
        with carry(self.target, target) as stored:
            fault = difference(stored, value)
        if fault:
            raise self._differs(fault, source, target)

    def _check_same_format(self, source: str, target: str) -> None:
        origin, goal = self.source, self.target
        assert isinstance(origin, FileBackend)
        assert isinstance(goal, FileBackend)
        if not goal._format_at(target, "save").includes(origin._format_at(source, "load")):
            fault = (
                f"verify='bytes' copies files as they are, but {target!r} has another format "
                f"than {source!r}: use verify='values'"
            )
            raise InvalidOptionError("verify", "bytes", "'values'", fault)

    def _copy_bytes(self, source: str, target: str) -> None:
        """Copy the stored bytes, and compare them if ``verify`` is set."""
        origin, goal = self.source, self.target
        assert isinstance(origin, FileBackend)
        assert isinstance(goal, FileBackend)
        if self.dry_run:
            return
        durable = self.options.get("durable", goal.store.durable)
        exists = self.if_exists or "replace"
        goal._copy_file(source, check_new(target), exists, durable, origin=origin)
        if self.verify is not None and not goal._has_bytes_of(target, source, origin):
            raise self._differs("the bytes differ", source, target)

    def _differs(self, fault: str, source: str, target: str) -> DamagedDataError:
        origin = f"{source!r} of backend {self.source.name!r}"
        reason = f"it is not equal to its source, {origin}: {fault}"
        return DamagedDataError(reason, path=target, backend=self.target.name)
