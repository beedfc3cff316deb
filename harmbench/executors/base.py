"""The protocol of what runs work, here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from harmbench.progress import Display

if TYPE_CHECKING:  # it would bring in scipy and nibabel
    from harmbench.task import Progress

__all__ = ["Died", "Executor"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Died:
    """What stands for the result of work whose process died, or took too long.

    Attributes:
        reason: why.
        late: whether it took too long.
    """

    reason: str
    late: bool = False


class Executor(Protocol):
    """Runs a function over items; items know nothing of each other.

    Attributes:
        remote: whether an item has to wait for a machine, so that small work is better done at once, or
            here.
    """

    remote: bool

    def run(
        self,
        work: Callable[[Item, Progress], Result],
        items: Sequence[Item],
        display: Display,
        line: Callable[[Item, Result | Died], str] | None = None,
        kin: Callable[[Item], object] | None = None,
    ) -> Iterator[tuple[Item, Result | Died]]:
        """Yield each item with its result, in the order of completion.

        An exception of `work` is raised here and ends the run; a process that was killed is a result,
        `Died`.

        Args:
            work: called with an item and a progress reporter; picklable.
            items: what to work on; picklable.
            display: shows progress.
            line: makes the line that is printed when an item is done.
            kin: what items have in common that may share a process, one after another; all may where
                `None`. What foreign code leaves in its process meets its own kin alone.
        """
        ...
