"""Paths among the settings of a data set: relative to a configuration's folder, or absolute."""

from __future__ import annotations

from pathlib import Path

from harmbench.cohorts.data import DataSettings

__all__ = ["from_folder", "with_absolute_paths"]

_BIDS_PATHS = ("filter_file", "exclude_list")


def from_folder(
    settings: object, folder: Path, names_of_paths: tuple[str, ...] = ("path",)
) -> None:
    """Make relative paths relative to a folder, in place; `~` is the user's home.

    Args:
        settings: plain values of a part of the settings, such as `DataSettings`, as a file has them;
            anything else is left alone.
        folder: of that file.
        names_of_paths: which values are paths, beside those of `bids`.
    """
    if not isinstance(settings, dict):
        return
    bids = settings.get("bids")
    for values, names in ((settings, names_of_paths), (bids, _BIDS_PATHS)):
        if isinstance(values, dict):
            for name in names:
                if values.get(name):
                    values[name] = folder / _from_home(str(values[name]))


def _from_home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # the home of a user who is not known
        return Path(path)


def with_absolute_paths(data: DataSettings) -> DataSettings:
    """Return the settings with absolute paths, so that any folder finds the files."""
    own = {name: getattr(data.bids, name) for name in _BIDS_PATHS}
    bids = {name: path.expanduser().absolute() for name, path in own.items() if path is not None}
    changes: dict[str, object] = {"bids": data.bids.model_copy(update=bids)}
    if data.path is not None:
        changes["path"] = data.path.expanduser().absolute()
    return data.model_copy(update=changes)
