"""``FileOperations``: the operations of ``FileManager`` on names, files and folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .routing import Router, let_calls_omit_backend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .abc.backend import Path
    from .values import Info, Option

__all__ = ["FileOperations"]


@let_calls_omit_backend
class FileOperations(Router):
    """Look at, list, delete, copy, move and link files of any backend."""

    def info(self, path: Path, backend: str) -> Info:
        """Describe a file or a folder without loading it.

        For example:

            info = fm.info("cells.tif", "disk")
            print(info.shape, info.dtype, info.image.scale)

        Args:
            path: A file, a folder or a link.
            backend: Name of the backend.

        Returns:
            The kind, the size in bytes, and as far as the format knows it the shape, the dtype and
            the metadata.

        Raises:
            NotFoundError: The path does not exist.
            DamagedDataError: The header of the file is damaged.
        """
        info: Info = self._run("info", backend, path)
        return info

    def exists(self, path: Path, backend: str) -> bool:
        """Return whether a file or a folder exists.

        A link whose target is missing does not exist. For example:

            if not fm.exists("plate/A01.tif", "disk"):
                fm.save(image, "plate/A01.tif", "disk")
        """
        return bool(self._run("exists", backend, path))

    def is_file(self, path: Path, backend: str) -> bool:
        """Return whether ``path`` is a file, or a link to one.

        For example, after a save:

            fm.is_file("plate/A01.tif", "disk")  # True
            fm.is_file("plate", "disk")  # False
        """
        return bool(self._run("is_file", backend, path))

    def is_dir(self, path: Path, backend: str) -> bool:
        """Return whether ``path`` is a folder, or a link to one.

        For example, after a save:

            fm.is_dir("plate", "disk")  # True
            fm.is_dir("plate/A01.tif", "disk")  # False
        """
        return bool(self._run("is_dir", backend, path))

    def is_symlink(self, path: Path, backend: str) -> bool:
        """Return whether ``path`` itself is a symbolic link, also one without a target.

        For example:

            fm.create_symlink("plate/A01.tif", "first.tif", "disk")
            fm.is_symlink("first.tif", "disk")  # True
        """
        return bool(self._run("is_symlink", backend, path))

    # ── lists ────────────────────────────────────────────────────────────────────────────

    def list_files(
        self,
        directory: Path,
        backend: str,
        *,
        pattern: str | None = None,
        suffixes: Iterable[str] | None = None,
        recursive: bool = False,
    ) -> list[str]:
        """Return the paths of the files in a folder, in natural order (z2 before z10).

        For example:

            paths = fm.list_files("plate", "disk", pattern="*_w1.tif")
            images = fm.load_batch(paths, "disk")

        Args:
            directory: The folder.
            backend: Name of the backend.
            pattern: A shell pattern for the name of a file, such as "*_w1.tif".
            suffixes: Only files with one of these, such as [".tif", ".tiff"]. Case is ignored.
            recursive: Whether to list the folders inside as well. Links to folders are left out.

        Raises:
            NotFoundError: The folder does not exist.
            NotADirectoryInPathError: The path is a file.
        """
        files: list[str] = self._run(
            "list_files",
            backend,
            directory,
            pattern=pattern,
            suffixes=suffixes,
            recursive=recursive,
        )
        return files

    def list_image_files(
        self,
        directory: Path,
        backend: str,
        *,
        pattern: str | None = None,
        recursive: bool = False,
    ) -> list[str]:
        """Return the paths of the TIFF, PNG and JPEG files in a folder, as ``list_files`` does.

        For example:

            for path in fm.list_image_files("plate", "disk", recursive=True):
                print(path)
        """
        files: list[str] = self._run(
            "list_image_files", backend, directory, pattern=pattern, recursive=recursive
        )
        return files

    def list_dir(self, directory: Path, backend: str) -> list[str]:
        """Return the names of the files and folders in a folder, in natural order.

        For example:

            fm.list_dir("plate", "disk")  # ["A01.tif", "A02.tif", "masks"]
        """
        names: list[str] = self._run("list_dir", backend, directory)
        return names

    def find_file_recursive(self, directory: Path, name: str, backend: str) -> str | None:
        """Return the path of the first file with this name in a folder or below it, or ``None``.

        For example:

            path = fm.find_file_recursive("run", "settings.json", "disk")
            settings = fm.load(path, "disk")
        """
        found: str | None = self._run("find_file_recursive", backend, directory, name)
        return found

    def collect_dirs_and_files(
        self, directory: Path, backend: str, *, recursive: bool = True
    ) -> tuple[list[str], list[str]]:
        """Return the paths of all folders, and those of all files, below a folder.

        For example:

            folders, files = fm.collect_dirs_and_files("run", "disk")
            print(len(folders), "folders,", len(files), "files")
        """
        found: tuple[list[str], list[str]] = self._run(
            "collect_dirs_and_files", backend, directory, recursive=recursive
        )
        return found

    # ── changes ──────────────────────────────────────────────────────────────────────────

    def ensure_directory(self, path: Path, backend: str) -> None:
        """Create a folder and its missing parents. An existing folder is not an error.

        You do not need it before ``save``, which creates folders itself. For example:

            fm.ensure_directory("run/masks", "disk")
        """
        self._run("ensure_directory", backend, path)

    def delete(self, path: Path, backend: str, *, recursive: bool = False) -> None:
        """Delete a file, an empty folder, or a link (never its target).

        For example:

            fm.delete("plate/A01.tif", "disk")
            fm.delete("plate", "disk", recursive=True)

        Args:
            path: The file, folder or link.
            backend: Name of the backend.
            recursive: Whether to delete a folder with everything in it.

        Raises:
            NotFoundError: The path does not exist.
            DirectoryNotEmptyError: The folder is not empty, and ``recursive`` is false.
        """
        self._run("delete", backend, path, recursive=recursive)

    def delete_all(self, path: Path, backend: str) -> None:
        """Delete a file, or a folder with everything in it.

        For example:

            fm.delete_all("plate", "disk")
        """
        self._run("delete_all", backend, path)

    def copy(self, source: Path, target: Path, backend: str, **options: Option) -> None:
        """Copy a file or a folder within one backend.

        ``transfer`` copies from one backend to another. For example:

            fm.copy("plate", "backup/plate", "disk")
            fm.copy("a.tif", "b.tif", "disk", if_exists="error")

        Args:
            source: The file or folder.
            target: The path of the copy itself, not of a folder to put it in.
            backend: Name of the backend.
            **options: ``if_exists`` as for ``save``.

        Raises:
            NotFoundError: The source does not exist.
            AlreadyExistsError: The target exists, and ``if_exists`` does not allow to replace it.
        """
        self._run("copy", backend, source, target, **options)

    def move(self, source: Path, target: Path, backend: str, **options: Option) -> None:
        """Move or rename a file or a folder within one backend. Options are those of ``copy``.

        For example:

            fm.move("plate", "done/plate", "disk")
        """
        self._run("move", backend, source, target, **options)

    def create_symlink(
        self, source: Path, link: Path, backend: str, *, overwrite: bool = False
    ) -> None:
        """Create a symbolic link at ``link`` that leads to ``source``.

        For example:

            fm.create_symlink("plate/A01.tif", "first.tif", "disk")

        Args:
            source: An existing file or folder.
            link: The path of the new link.
            backend: Name of the backend.
            overwrite: Whether to replace a link or a file at ``link``. Folders are never replaced.

        Raises:
            NotFoundError: ``source`` does not exist.
            AlreadyExistsError: Something exists at ``link``.
        """
        self._run("create_symlink", backend, source, link, overwrite=overwrite)

    def mirror_directory_with_symlinks(
        self,
        source: Path,
        target: Path,
        backend: str,
        *,
        recursive: bool = True,
        overwrite: bool = False,
    ) -> int:
        """Create the folders of ``source`` below ``target``, with a link for each file.

        For example:

            fm.mirror_directory_with_symlinks("plate", "work/plate", "disk")

        Returns:
            The number of links.
        """
        count: int = self._run(
            "mirror_directory_with_symlinks",
            backend,
            source,
            target,
            recursive=recursive,
            overwrite=overwrite,
        )
        return count
