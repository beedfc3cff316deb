"""A working, fully typed adapter to start from."""

from __future__ import annotations

import keyword
from pathlib import Path

from harmbench.errors import MethodError
from harmbench.storage import write_text

__all__ = ["new_method"]

_ADAPTER = '''"""{title}: describe in one sentence what it does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import Self

from harmbench import Method, Pair, Settings, Task, Volume
from harmbench.errors import MethodError

_FILE = "coefficients.json"


class {cls}Settings(Settings):
    """Settings of {name}: checked before a run starts and recorded with its results."""

    degree: int = Field(1, ge=1, le=5, description="degree of the intensity polynomial")


class {cls}(Method[{cls}Settings]):
    """Map intensities by one polynomial, fitted to the training pairs by least squares."""

    Config = {cls}Settings
    title = "{title}"
    reference = "cite the paper that the method comes from"

    def __init__(self, config: {cls}Settings | None = None) -> None:
        super().__init__(config)
        self.coefficients: NDArray[np.float64] | None = None

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
        """Fit the polynomial to brain voxels of the training subjects, one in a hundred."""
        sources, targets = [], []
        for done, pair in enumerate(pairs, start=1):
            brain = (pair.source.data > 0) & (pair.target.data > 0)
            sources.append(pair.source.data[brain][::100])
            targets.append(pair.target.data[brain][::100])
            task.progress("fit", done, len(pairs))
        source, target = np.concatenate(sources), np.concatenate(targets)
        self.coefficients = np.polyfit(source, target, self.config.degree)

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Apply the polynomial inside the brain; the background stays 0."""
        mapped = np.clip(np.polyval(self._fitted(), source.data), 0, 1)
        return source.with_data(mapped * (source.data > 0))

    def save(self, folder: Path) -> None:
        """Write the coefficients."""
        (folder / _FILE).write_text(json.dumps(self._fitted().tolist()))

    @classmethod
    def load(cls, folder: Path, config: {cls}Settings | None = None) -> Self:
        """Read the coefficients."""
        method = cls(config)
        method.coefficients = np.array(json.loads((folder / _FILE).read_text()))
        return method

    def _fitted(self) -> NDArray[np.float64]:
        if self.coefficients is None:
            raise MethodError("{name} was not fitted: call fit, or load a saved model")
        return self.coefficients
'''

_TEST = '''"""The shared contract test, on {name}."""

from pathlib import Path

from harmbench import check_method, load_method


def test_contract() -> None:
    adapter = Path(__file__).with_name("{name}.py")
    checks = check_method(load_method(f"{{adapter}}:{cls}"))
    assert not [check for check in checks if not check.passed]
'''


_CORRECTION = '''"""{title}: describe in one sentence what it does."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from harmbench import Settings, VolumeCorrection
from harmbench.errors import MethodError
from harmbench.volume_correction import Covariates, Volumes, checked_pairs, checked_volumes


class {cls}Settings(Settings):
    """Settings of {name}: checked before a run starts and recorded with its results."""

    share: float = Field(1.0, ge=0, le=1, description="share of the difference that is corrected")


class {cls}(VolumeCorrection[{cls}Settings]):
    """Add a share of the median difference between the two scanners to each tissue's volume."""

    Config = {cls}Settings
    title = "{title}"
    reference = "cite the paper that the correction comes from"

    def __init__(self, config: {cls}Settings | None = None) -> None:
        super().__init__(config)
        self.difference: Volumes | None = None

    def fit(self, source: Volumes, target: Volumes, covariates: Covariates | None = None) -> None:
        """Take the median difference of each tissue over the training subjects, in mm3."""
        one, two = checked_pairs(source, target, self.least_subjects)
        self.difference = np.asarray(np.median(two - one, axis=0), dtype=np.float64)

    def correct(self, volumes: Volumes, covariates: Covariates | None = None) -> Volumes:
        """Add it; a volume is never below 0."""
        if self.difference is None:
            raise MethodError("{name} was not fitted: call fit")
        array = checked_volumes(volumes, "volumes", self.difference.size)
        return np.maximum(array + self.config.share * self.difference, 0)
'''

_CORRECTION_TEST = '''"""The shared contract test of volume corrections, on {name}."""

from pathlib import Path

from harmbench import check_correction, load_correction


def test_contract() -> None:
    adapter = Path(__file__).with_name("{name}.py")
    checks = check_correction(load_correction(f"{{adapter}}:{cls}"))
    assert not [check for check in checks if not check.passed]
'''


def new_method(name: str, folder: Path, *, volumes: bool = False) -> tuple[Path, Path, str]:
    """Write a working adapter and its test.

    Args:
        name: a Python identifier in lower case, such as `my_method`.
        folder: where the two files go.
        volumes: whether it is a volume correction, instead of a method that maps images.

    Returns:
        The adapter's file, the test's file, and the class's name.

    Raises:
        MethodError: the name is not a valid identifier, or a file is there already.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise MethodError(f"'{name}': a method's name is a lower-case Python name, as in my_method")
    words = [word for word in name.split("_") if word]
    cls = "".join(word.capitalize() for word in words)
    title = " ".join(words).capitalize()
    adapter, test = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in (adapter, test):
        if path.exists():
            raise MethodError(f"{path} is there already; choose another name or --folder")
    code, its_test = (_CORRECTION, _CORRECTION_TEST) if volumes else (_ADAPTER, _TEST)
    write_text(adapter, code.format(name=name, cls=cls, title=title))
    write_text(test, its_test.format(name=name, cls=cls))
    return adapter, test, cls
