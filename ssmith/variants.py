"""Several models in one file: which tensors they share, and under which name the others are stored.

Pure functions on names and arrays; ``ssmith.bundle`` reads and writes with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from ssmith.errors import InputError
from ssmith.ops import Float32

Renamed = dict[str, str]  # name in the variant → name in the file, where they differ


def pack(
    main: Mapping[str, Float32], variants: Mapping[str, Mapping[str, Float32]]
) -> tuple[dict[str, Float32], list[Renamed]]:
    """All tensors of one file, equal ones once.

    Args:
        main: the main model's tensors; they keep their names.
        variants: prefix of new names → a variant's tensors.

    Returns:
        The file's tensors, and for each variant where to find those it does not share by name.
    """
    stored = dict(main)
    by_content = {_content(array): name for name, array in reversed(sorted(main.items()))}
    renamed = []
    for prefix, tensors in variants.items():
        names: Renamed = {}
        for name, array in sorted(tensors.items()):
            content = _content(array)
            if name in main and _content(main[name]) == content:
                continue
            if content not in by_content:
                new = f"{prefix}.{name}"
                while new in stored:
                    new += "_"
                stored[new] = array
                by_content[content] = new
            if by_content[content] != name:
                names[name] = by_content[content]
        renamed.append(names)
    return stored, renamed


def unpack(
    stored: Mapping[str, Float32], main: Iterable[str], variants: Sequence[tuple[set[str], Renamed]]
) -> tuple[dict[str, Float32], list[dict[str, Float32]]]:
    """The tensors of each model of a file; the arrays are shared, not copied.

    Args:
        stored: the file's tensors.
        main: the names that the main model reads.
        variants: the names that each variant reads, and where some of them are stored.

    Raises:
        InputError: a tensor is missing, belongs to no model, or a name is mapped that nobody reads.
    """
    read = set[str]()

    def pick(wanted: Iterable[str], renamed: Renamed) -> dict[str, Float32]:
        found = {}
        for name in sorted(wanted):
            place = renamed.get(name, name)
            if place not in stored:
                raise InputError(f"tensor {place!r} is named but not in the file")
            read.add(place)
            found[name] = stored[place]
        return found

    first = pick(main, {})
    others = []
    for wanted, renamed in variants:
        if unread := sorted(set(renamed) - wanted):
            raise InputError(f"a variant says where tensor {unread[0]!r} is, but none of its ops reads it")
        others.append(pick(wanted, renamed))
    if extra := sorted(set(stored) - read):
        raise InputError(f"tensor {extra[0]!r} belongs to no op; remove it")
    return first, others


def _content(array: Float32) -> tuple[tuple[int, ...], bytes]:
    """What makes two tensors the same one: shape and bits, as a digest."""
    return array.shape, hashlib.sha256(array.tobytes()).digest()
