"""YAML in which labels stay text: `007`, `1_2`, `no`, `1:30` and dates are strings.

PyYAML reads YAML 1.1, which turns them into numbers, truth values and dates. Settings that are
numbers are still read from such text.
"""

from __future__ import annotations

import re

import yaml

__all__ = ["load_yaml"]


class _Loader(yaml.SafeLoader):
    """A safe loader that knows null, true, false, and numbers in plain decimal notation."""


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


def load_yaml(text: str) -> object:
    """Read one YAML document.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    return yaml.load(text, Loader=_Loader)
