"""YAML in which labels stay text: `007`, `1_2`, `no`, `1:30` and dates are strings.

PyYAML reads YAML 1.1, which turns them into numbers, truth values and dates. Settings that are
numbers are still read from such text.

What a text means is bounded: aliases that make it grow beyond `_MOST_NODES` values, aliases that
contain themselves, whole numbers beyond 64 bits and repeated names are errors.
"""

from __future__ import annotations

import re

import yaml

__all__ = ["load_yaml"]

_MOST_NODES = 100_000
_LARGEST_INTEGER = 2**63
_LONGEST_SHOWN = 60


class _Loader(yaml.SafeLoader):
    """A safe loader that knows null, true, false, and numbers in plain decimal notation."""

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document, and check what it would grow to before anything is made of it."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _grown(node, {}, set()) > _MOST_NODES:
            raise yaml.YAMLError(f"its aliases repeat more than {_MOST_NODES} values")
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return a whole number of at most 64 bits."""
        text = str(self.construct_scalar(node))
        found = int(super().construct_yaml_int(node)) if len(text) <= _LONGEST_SHOWN else None
        if found is None or not -_LARGEST_INTEGER <= found < _LARGEST_INTEGER:
            raise yaml.YAMLError(f"{text[:_LONGEST_SHOWN]}: a whole number of more than 64 bits")
        return found


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|nan)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _grown(node: yaml.Node, known: dict[int, int], inside: set[int]) -> int:
    """Return how many nodes a node stands for with every alias written out.

    Args:
        node: of a composed document, in which aliases are shared nodes.
        known: gets the number of each node by its identity.
        inside: identities of the nodes that this one lies in.

    Raises:
        yaml.YAMLError: the node contains itself, or a mapping has a name twice.
    """
    if id(node) in inside:
        raise yaml.YAMLError("an alias contains itself")
    if id(node) not in known:
        within = inside | {id(node)}
        known[id(node)] = 1 + sum(_grown(part, known, within) for part in _parts(node))
    return known[id(node)]


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    names: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if (key.tag, key.value) in names:
            raise yaml.YAMLError(f"{key.value[:_LONGEST_SHOWN]!r} is there twice,{key.start_mark}")
        names.add((key.tag, key.value))
    return [part for pair in node.value for part in pair]


def load_yaml(text: str) -> object:
    """Read one YAML document.

    Raises:
        yaml.YAMLError: the text is not YAML, or it is not bounded as the module says.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        # PyYAML's constructors of explicit tags, such as `!!int x`, raise Python's own errors.
        raise yaml.YAMLError(f"a value does not fit its tag ({error})") from error
