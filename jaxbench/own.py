"""A user's own parts: tables that take more rows, and what names a part's code.

Whatever a user adds by name (an optimizer, a metric, a corruption, a dataset) is a row
of a `Table`. Its source is digested, and the digest goes into the names of the runs
that it makes: a function that was changed is not taken as done.
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Any, TypeVar

from jaxbench.errors import UserError, unknown_name

Row = TypeVar("Row")
_NAME = re.compile(r"[\w.-]+(:[\w.]+)?")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_VALUES = (bool, int, float, complex, str, bytes, tuple, list, dict, type(None))


_TABLES: list["Table[Any]"] = []


class Table(Mapping[str, Row]):
    """Rows by name. Nobody can change it but `add`, and that only adds.

    Args:
        kind: What a row is, for messages: "optimizer".
        rows: Those of the project.
    """

    def __init__(self, kind: str, rows: Mapping[str, Row]):
        self.kind = kind
        self._rows = dict(rows)
        self._own: dict[str, str] = {}
        _TABLES.append(self)

    def __getitem__(self, name: str) -> Row:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def own(self) -> Mapping[str, str]:
        """Names of the rows that a user added, to the digests of their sources."""
        return MappingProxyType(self._own)

    def is_new(self, name: str, source: Any) -> bool:
        """Whether `add` would add; False for the same part once more.

        Raises:
            UserError: If the name is none, or is taken by another part.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(
                f"{self.kind} is named {name!r}, wanted letters, digits, '_', '.' "
                "and '-'"
            )
        if name not in self._rows:
            return True
        if self._own.get(name) == source_digest(source):
            return False
        whose = "was registered with other code" if name in self._own else "exists"
        raise UserError(f"{self.kind} {name!r} {whose}; choose another name")

    def add(self, name: str, row: Row, source: Any) -> None:
        """Adds a user's row.

        Args:
            name: Of the row.
            row: The row.
            source: The function or class whose code the row stands for.

        Raises:
            UserError: If the name is none, or is taken by another part.
        """
        if self.is_new(name, source):
            self._rows[name] = row
            self._own[name] = source_digest(source)

    def digests(self, names: Any) -> dict[str, str]:
        """Digests of the sources of those of the names that a user added."""
        return {name: self._own[name] for name in names if name in self._own}

    def find(self, name: str, register: Callable[[str, Any], None]) -> None:
        """Registers the part that `module:attribute` names, if it is not a row yet.

        Args:
            name: Any name; without a colon nothing is done.
            register: Called with the name and the attribute.

        Raises:
            UserError: If the module or attribute is missing, or it does not fit.
        """
        if ":" in name and name not in self._rows:
            register(name, own_attribute(name, self.kind))


def own_parts() -> str:
    """What a user added to the tables of this process, with digests of the sources."""
    return ", ".join(
        f"{table.kind} {name} {digest}"
        for table in _TABLES
        for name, digest in table.own.items()
    )


def own_attribute(name: str, kind: str) -> Any:
    """What `module:attribute` names.

    Raises:
        UserError: If the module or attribute is missing.
    """
    module_name, _, attribute = name.partition(":")
    module = import_own(module_name, f"{kind} {name!r}", "module:attribute, with the")
    if not hasattr(module, attribute):
        known = [found for found in vars(module) if not found.startswith("_")]
        raise UserError(f"{kind} {name!r}: {unknown_name('name', attribute, known)}")
    return getattr(module, attribute)


def import_own(name: str, what: str = "imports", wanted: str = "a") -> ModuleType:
    """Imports a user's module, from the working directory or installed.

    Args:
        name: The module.
        what: What names it, for the message.
        wanted: What that was to be, for the message.

    Raises:
        UserError: If it cannot be imported, or raises an error of its own.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{what}: cannot import {name!r}: {error}; wanted {wanted} module in the "
            "working directory or installed"
        ) from error
    except UserError as error:
        raise UserError(f"{what}: {name!r} {error}") from error
    except Exception as error:
        raise UserError(
            f"{what}: importing {name!r} raises {type(error).__name__}: {error}"
        ) from error


def is_module(name: str) -> bool:
    """Whether a name is that of a module in the working directory or installed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def source_digest(part: Any) -> str:
    """A digest of a function's or class's source, and of its module's version.

    What it uses of its own module or of others of the user's (functions, classes,
    values, arrays, and a module of the user's as a whole) counts too, and so on.
    Installed packages do not count.

    Args:
        part: A function, a class, a `functools.partial`, or an object with a class.
    """
    seen: dict[str, str] = {}
    _gather(part, getattr(_unwrapped(part), "__module__", None), seen)
    text = "\0".join(f"{name}\0{source}" for name, source in sorted(seen.items()))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _unwrapped(part: Any) -> Any:
    while hasattr(part, "func") and not isinstance(part, type):
        part = part.func
    return inspect.unwrap(part) if callable(part) else part


def _gather(part: Any, home: str | None, seen: dict[str, str]) -> None:
    """Adds the sources of a part, and of what it uses of its own module."""
    if hasattr(part, "func") and not isinstance(part, type):  # functools.partial
        seen["partial"] = _text((part.args, sorted(part.keywords.items())))
        return _gather(part.func, home, seen)
    part = _unwrapped(part)
    if not inspect.isroutine(part) and not isinstance(part, type):
        seen[f"value {type(part).__qualname__}"] = _text(vars(part))
        part = type(part)
    # Names in other modules than the part's own may be the same.
    place = "" if part.__module__ == home else f"{part.__module__} "
    name = place + getattr(part, "__qualname__", repr(part))
    if name in seen:
        return None
    module = sys.modules.get(part.__module__ or "")
    seen[f"version {place}"] = str(getattr(module, "__version__", ""))
    seen[name] = _source(part)
    for used, value in _used(part).items():
        origin = getattr(value, "__module__", None)
        if callable(value) and (origin == home or _is_users(origin)):
            _gather(value, home, seen)
        elif isinstance(value, ModuleType) and _is_users(value.__name__):
            path = Path(value.__file__ or "")
            seen[f"module {value.__name__}"] = (
                path.read_text() if path.is_file() else ""
            )
        elif isinstance(value, _VALUES):
            seen[f"constant {name} {used}"] = _text(value)
        elif isinstance(value, set | frozenset):
            seen[f"constant {name} {used}"] = _text(sorted(map(repr, value)))
        elif hasattr(value, "tobytes"):  # An array, whose repr is cut short.
            seen[f"array {name} {used}"] = _content(value)
    return None


def _content(array: Any) -> str:
    """The type, shape and bytes of an array."""
    content = hashlib.blake2b(array.tobytes()).hexdigest()
    return f"{array.dtype} {array.shape} {content}"


def _is_users(name: str | None) -> bool:
    """Whether a module is a file of the user's and not of an installed package."""
    path = getattr(sys.modules.get(name or ""), "__file__", None)
    if path is None or str(name).partition(".")[0] in ("jaxbench", "model_zoo"):
        return False
    installed = [*site.getsitepackages(), *sysconfig.get_paths().values()]
    return not any(Path(path).is_relative_to(folder) for folder in installed)


def _names(code: CodeType) -> set[str]:
    """Global names of a function's code, and of the functions within it."""
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _used(part: Any) -> dict[str, Any]:
    """Global and enclosing variables that a function or a class's methods name."""
    methods = vars(part).values() if isinstance(part, type) else [part]
    found: dict[str, Any] = {}
    for method in map(inspect.unwrap, filter(inspect.isfunction, methods)):
        names = _names(method.__code__)
        found |= {n: v for n, v in method.__globals__.items() if n in names}
        found |= {k: v for k, v in inspect.getclosurevars(method).nonlocals.items()}
    return found


def _source(part: Any) -> str:
    try:
        return inspect.getsource(part)
    except (OSError, TypeError):
        # Typed into an interpreter, or not Python: its code, or its name alone.
        code = getattr(part, "__code__", None)
        return repr(part.__qualname__) if code is None else _text(_code(code))


def _code(code: Any) -> tuple:
    inner = (_code(c) if hasattr(c, "co_code") else c for c in code.co_consts)
    return (code.co_code, code.co_names, tuple(inner))


def _text(value: Any) -> str:
    return _ADDRESS.sub("", repr(value))
