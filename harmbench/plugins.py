"""How methods and segmenters are found: installed under a name, or as a class in a file."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from zlib import crc32

from harmbench.errors import (
    HarmbenchError,
    MethodError,
    SegmentationError,
    UnavailableError,
    suggest,
)
from harmbench.guard import method_call

__all__ = ["METHODS", "SEGMENTERS", "VOLUME_CORRECTIONS", "PluginGroup", "Reference"]

_Place = tuple[str, int, int, int]
# Of an entry of `sys.path`: its text, device, inode, and the time of its last change in ns; zeros without it.


@dataclass(frozen=True, slots=True)
class Reference:
    """Which method or segmenter to use: an installed name, or `path/to/file.py:Class`.

    Attributes:
        name: the installed name, or the name of the class in `file`.
        file: the Python file of a class that is not installed; `None` for an installed name.
    """

    name: str
    file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as users write it. Every text is one: an unknown name fails on loading."""
        file, colon, name = text.rpartition(":")
        return cls(name, Path(file)) if colon and file.endswith(".py") else cls(text)

    def __str__(self) -> str:
        return self.name if self.file is None else f"{self.file}:{self.name}"

    def absolute(self) -> Reference:
        """Return the same reference, valid in any working directory."""
        return self if self.file is None else replace(self, file=self.file.expanduser().resolve())

    def without_folder(self) -> Reference:
        """Return the reference without the folder of its file, which belongs to one machine."""
        return self if self.file is None else replace(self, file=Path(self.file.name))


@dataclass(frozen=True, slots=True)
class PluginGroup:
    """One kind of plugin: the methods, or the segmenters.

    Attributes:
        entry_points: group of the entry points under which packages register their own.
        noun: what one of them is called in messages.
        expected: what its class has to be, for messages.
        error: raised for one that cannot be used.
    """

    entry_points: str
    noun: str
    expected: str
    error: type[HarmbenchError]

    def installed(self) -> dict[str, EntryPoint]:
        """Return the installed ones by name, without importing them."""
        return dict(_found(entry_points, self.entry_points, _search_path()))

    def load(self, reference: Reference, fits: Callable[[type], bool]) -> type:
        """Import a class.

        Args:
            reference: which one.
            fits: whether a class is of this group.

        Raises:
            HarmbenchError: as `error`: the name is unknown, the file or class is missing, the import
                fails, or the class does not fit.
            UnavailableError: software that the class needs is not installed.
        """
        if reference.file is not None:
            return self._from_file(reference, reference.file, fits)
        installed = self.installed()
        name = reference.name
        if name not in installed:
            raise self.error(
                f"unknown {self.noun} '{name}'; {suggest(name, installed)}; or FILE.py:CLASS"
            )
        try:
            with method_call():
                found: Any = installed[name].load()
        except UnavailableError as error:
            raise UnavailableError(f"{self.noun} '{name}' cannot be used: {error}") from error
        except Exception as error:
            text = f"{self.noun} '{name}' cannot be imported: {_words(error)}"
            raise self.error(text) from error
        if not (inspect.isclass(found) and fits(found)):
            raise self.error(f"{self.noun} '{name}' is {found!r}, not {self.expected}")
        return found

    def module(self, reference: Reference) -> str:
        """Return the name of a class's module; the class must have been loaded."""
        if reference.file is not None:
            return _module_name(reference.file)
        return self.installed()[reference.name].module

    def _from_file(self, reference: Reference, file: Path, fits: Callable[[type], bool]) -> type:
        module = self._imported(reference, file)
        classes = {
            name: value
            for name, value in vars(module).items()
            if inspect.isclass(value) and fits(value)
        }
        if not classes:
            raise self.error(f"{file} defines no {self.expected.removeprefix('a ')}")
        if reference.name not in classes:
            hint = suggest(reference.name, classes)
            raise self.error(f"{file}: no {self.noun} '{reference.name}'; {hint}")
        return classes[reference.name]

    def _imported(self, reference: Reference, file: Path) -> ModuleType:
        if not file.is_file():
            raise self.error(f"{self.noun} '{reference}': no such file {file}")
        name = _module_name(file)
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, file.resolve())
        if spec is None or spec.loader is None:
            raise self.error(f"{self.noun} '{reference}': {file} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        # Registered before it runs: dataclasses and pydantic look their module up while it does.
        sys.modules[name] = module
        try:
            with method_call():
                spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if not isinstance(error, Exception):
                raise
            text = f"{self.noun} '{reference}': importing {file} failed: {_words(error)}"
            raise self.error(text) from error
        return module


class _FindsEntryPoints(Protocol):
    """`importlib.metadata.entry_points`."""

    def __call__(self, *, group: str) -> EntryPoints: ...


@lru_cache(maxsize=64)
def _found(
    find: _FindsEntryPoints,
    group: str,
    search_path: tuple[_Place, ...],  # noqa: ARG001 - a key
) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name.

    `importlib.metadata` reads the metadata of every installed package at each call, and every cell of a run
    asks several times. So the answer is kept for as long as `search_path` is the same.
    """
    return {point.name: point for point in find(group=group)}


def _search_path() -> tuple[_Place, ...]:
    """Return where packages are looked for, in a form that changes when one is installed or removed."""
    return tuple(_place(entry) for entry in sys.path)


def _place(entry: str) -> _Place:
    try:
        found = Path(entry).stat()
    except OSError:
        return entry, 0, 0, 0
    return entry, found.st_dev, found.st_ino, found.st_mtime_ns


def _module_name(file: Path) -> str:
    path = file.resolve()
    return f"harmbench_file_{path.stem}_{crc32(str(path).encode()):x}"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


METHODS = PluginGroup(
    "harmbench.methods", "method", "a subclass of harmbench.method.Method", MethodError
)
"""Harmonization methods; see `harmbench.discovery`."""

VOLUME_CORRECTIONS = PluginGroup(
    "harmbench.volume_corrections",
    "volume correction",
    "a subclass of harmbench.volume_correction.VolumeCorrection",
    MethodError,
)
"""Corrections of tissue volumes. They have a group of their own: what a name maps, images or volumes, is
known without an import, and who reads the group of methods meets no class without `harmonize`."""

SEGMENTERS = PluginGroup(
    "harmbench.segmenters",
    "segmenter",
    "a class with the attributes of harmbench.segmentation.SegmenterClass",
    SegmentationError,
)
"""Tissue segmenters; see `harmbench.segmentation`."""
