"""Checks of a class in its source, without importing it.

``polystore plugins`` shows which plugins work. Importing all of them would take seconds, and run
their code. The source shows the common mistakes: a missing class, a missing method, an ``__init__``
with parameters that have no value. If the source alone is not enough (a decorator, a metaclass, a
base class of another package), nothing is reported. The class itself is checked when it is used,
and by ``polystore doctor``.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, TypeAlias

from .specs import Fault, advise_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.machinery import ModuleSpec

    from ..values import PluginKind

__all__ = ["Sources", "module_exists"]

Verdict: TypeAlias = tuple["Fault | None", list[str]]
"""The mistake, and the options that a backend needs."""

UNKNOWN: Verdict = (None, [])

CONTRACTS: dict[str, tuple[PluginKind, tuple[str, ...]]] = {
    "DataSource": ("backend", ("load",)),
    "DataSink": ("backend", ("save",)),
    "StorageBackend": ("backend", ("load", "save")),
    "FileBackend": ("backend", ()),
    "Format": ("format", ("load", "name", "save")),
    "Framework": ("framework", ("from_numpy", "name", "to_numpy")),
}
"""The classes of polystore, each with the names that a subclass must define."""

DYNAMIC = {"exec", "globals", "locals", "setattr", "vars", "modules", "__getattr__"}
"""A module that uses one of these may have names that its source does not show."""


def module_exists(module: str) -> bool:
    """Return whether a module exists. Its packages are imported only if that is necessary."""
    try:
        return _find(module) is not None or importlib.util.find_spec(module) is not None
    except KeyboardInterrupt:
        raise
    except BaseException:  # a package may raise anything when it is imported, even SystemExit
        return False


def _find(module: str) -> ModuleSpec | None:
    """Find a module in the folders of its packages, without importing the packages."""
    if module in sys.modules:
        return sys.modules[module].__spec__
    name, *inner = module.split(".")
    spec = importlib.util.find_spec(name)
    for part in inner:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec


class _UnknownError(Exception):
    """The source alone is not enough for a verdict."""


@dataclass
class _Module:
    name: str
    is_package: bool
    file: str
    tree: ast.Module
    bound: dict[str, list[ast.AST]] = field(default_factory=dict)

    def is_dynamic(self) -> bool:
        """Return whether the module may have names that its source does not show."""
        return "*" in self.bound or not DYNAMIC.isdisjoint(_names_in(self.tree))


@dataclass
class _Class:
    """A class with the members of its bases in the same package."""

    contracts: set[str]
    """The classes of polystore that it inherits."""
    members: dict[str, tuple[ast.AST, str]]
    """Each name that it defines, with the node and the file."""


class Sources:
    """The modules that were read, because many formats are in one package."""

    def __init__(self) -> None:
        self._modules: dict[str, _Module] = {}

    def check(self, kind: PluginKind, target: str) -> Verdict:
        """Return the first mistake in the class ``target`` ("package.module:Class")."""
        module, _, name = target.partition(":")
        if not module_exists(module):
            return Fault(f"{target}: module {module} does not exist"), []
        try:
            return self._check(kind, module, name)
        except SyntaxError as error:
            return Fault(f"SyntaxError: {error.msg}", f"{error.filename}:{error.lineno}"), []
        # Python imports more than this code can read, for example modules in a zip archive.
        except (_UnknownError, OSError, ValueError, RecursionError):
            return UNKNOWN

    def _check(self, kind: PluginKind, module: str, name: str) -> Verdict:
        home, node = self._lookup(module, name)
        if node is None:
            return Fault(f"{home.name} has no class {name}", home.file), []
        place = f"{home.file}:{getattr(node, 'lineno', 1)}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.decorator_list:
                return UNKNOWN
            return Fault(f"{module}:{name} is a function, not a class", place), []
        if not isinstance(node, ast.ClassDef):
            return UNKNOWN
        found = self._read_class(home, node)
        reason = _contract_fault(kind, found)
        if reason:
            return Fault(f"{name} {reason}", place), []
        return _init_fault(kind, name, found)

    def _read_class(self, module: _Module, node: ast.ClassDef) -> _Class:
        # A decorator or a metaclass can add any member.
        if node.decorator_list or node.keywords:
            raise _UnknownError
        bound: dict[str, list[ast.AST]] = {}
        _bind(node.body, bound)
        members = {name: (nodes[-1], module.file) for name, nodes in bound.items()}
        contracts: set[str] = set()
        for base in node.bases:
            inherited = self._read_base(module, base)
            contracts |= inherited.contracts
            members = {**inherited.members, **members}
        return _Class(contracts, members)

    def _read_base(self, module: _Module, base: ast.expr) -> _Class:
        # A base class as text: "Format", "polystore.Format", or something like "make()[0]".
        parts = ast.unparse(base).split(".")
        if parts == ["object"] and "object" not in module.bound:
            return _Class(set(), {})
        imported = module.bound.get(parts[0], [])
        if len(imported) != 1 or not parts[-1].isidentifier():
            raise _UnknownError
        origin = _origin(module, imported[0], parts[0])
        if origin in ("abc", "abc.ABC") and parts[-1] == "ABC":
            return _Class(set(), {})
        if origin.partition(".")[0] in ("polystore", "polystore_core"):
            last = origin.rpartition(".")[2] if len(parts) == 1 else parts[-1]
            if last in CONTRACTS:
                return _Class({last}, {})
        if len(parts) > 1:
            raise _UnknownError
        home, node = self._lookup(module.name, parts[0])
        if not isinstance(node, ast.ClassDef):
            raise _UnknownError
        return self._read_class(home, node)

    def _lookup(self, module: str, name: str) -> tuple[_Module, ast.AST | None]:
        """Return the module and the node that define ``name``, following imports in a package."""
        home = self._read(module)
        nodes = home.bound.get(name, [])
        # A name that is bound twice, as in both branches of an ``if``, has no certain value.
        if len(nodes) > 1 or (not nodes and home.is_dynamic()):
            raise _UnknownError
        if not nodes:
            return home, None
        if isinstance(nodes[0], ast.ImportFrom):
            origin, _, attribute = _origin(home, nodes[0], name).rpartition(".")
            # The source of other packages is not read: it may be large, and is not the author's.
            if origin.partition(".")[0] != module.partition(".")[0]:
                raise _UnknownError
            return self._lookup(origin, attribute)
        return home, nodes[0]

    def _read(self, module: str) -> _Module:
        if module not in self._modules:
            spec = _find(module)
            if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
                raise _UnknownError
            with open(spec.origin, "rb") as file:
                tree = ast.parse(file.read(), spec.origin)
            is_package = spec.submodule_search_locations is not None
            read = self._modules[module] = _Module(module, is_package, spec.origin, tree)
            _bind(tree.body, read.bound)
        return self._modules[module]


# ── names in a body ──────────────────────────────────────────────────────────────────────


def _bind(body: Iterable[ast.AST], bound: dict[str, list[ast.AST]]) -> None:
    """Add each name that statements bind, also inside ``if``, ``try`` and ``with``."""
    for node in body:
        for name in _bound_by(node):
            bound.setdefault(name, []).append(node)
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _bind((child for child in ast.iter_child_nodes(node) if _has_body(child)), bound)


def _has_body(node: ast.AST) -> bool:
    return isinstance(node, ast.stmt | ast.excepthandler | ast.match_case)


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            whole = isinstance(node, ast.ImportFrom)
            yield alias.asname or (alias.name if whole else alias.name.partition(".")[0])
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.For | ast.AsyncFor):
        # An annotation without a value, such as ``name: str``, binds nothing.
        if isinstance(node, ast.AnnAssign) and node.value is None:
            return
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
    elif isinstance(node, ast.With | ast.AsyncWith):
        for item in node.items:
            if item.optional_vars is not None:
                names = ast.walk(item.optional_vars)
                yield from (n.id for n in names if isinstance(n, ast.Name))


def _names_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.FunctionDef):
            yield node.name


def _origin(module: _Module, node: ast.AST, name: str) -> str:
    """Return the full name of an imported name, or of a name of the module itself."""
    if isinstance(node, ast.Import):
        names = {alias.asname: alias.name for alias in node.names}
        return names.get(name, name)
    if not isinstance(node, ast.ImportFrom):
        return f"{module.name}.{name}"
    attribute = next(a.name for a in node.names if (a.asname or a.name) == name)
    package = module.name.split(".")
    if node.level:
        # In ``__init__.py`` the first dot is the package itself. In a module it is the parent.
        kept = len(package) - node.level + module.is_package
        package = package[:kept] + ([node.module] if node.module else [])
        return ".".join((*package, attribute))
    return f"{node.module}.{attribute}"


# ── checks ───────────────────────────────────────────────────────────────────────────────


def _contract_fault(kind: PluginKind, found: _Class) -> str:
    fitting = [name for name in sorted(found.contracts) if CONTRACTS[name][0] == kind]
    if not fitting:
        roots = "DataSource or DataSink" if kind == "backend" else kind.capitalize()
        return f"is not a subclass of {roots}"
    needed = {member for name in fitting for member in CONTRACTS[name][1]}
    abstract = {name for name, (node, _) in found.members.items() if _is_abstract(node)}
    missing = sorted((needed - set(found.members)) | abstract)
    return f"does not implement {' and '.join(missing)}" if missing else ""


def _is_abstract(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(d).rpartition(".")[2].startswith("abstract") for d in decorators)


def _init_fault(kind: PluginKind, name: str, found: _Class) -> Verdict:
    init, file = found.members.get("__init__", (None, ""))
    if not isinstance(init, ast.FunctionDef) or init.decorator_list:
        return UNKNOWN
    if "__new__" in found.members:
        return UNKNOWN
    arguments = init.args
    positional = [*arguments.posonlyargs, *arguments.args][1:]
    filled = len(arguments.defaults)
    needed = [a.arg for a in positional[: max(0, len(positional) - filled)]]
    options = [
        argument.arg
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    ]
    # Only backends get options, from registry.add. Formats and frameworks are created without.
    if kind != "backend":
        needed, options = needed + options, []
    if not needed:
        return None, options
    advice = advise_arguments(kind, needed)
    return Fault(f"{name}.__init__ {advice}", f"{file}:{init.lineno}"), []
