"""Classes that look like a library's exceptions to a rule, for libraries that the tests do not install.

The rules know classes by `__module__` and `__qualname__` and instances by their attributes; a look-alike has the same.
"""

from __future__ import annotations

from typing import Any

__all__ = ("lookalike",)


def lookalike(path: str, *bases: type[BaseException], **attrs: Any) -> type[BaseException]:
    """An exception class whose module and qualified name are those of `path`, with `attrs` as class attributes.

    `path` is `"pkg.mod.Class"`; a nested class is `"pkg.mod:Outer.Class"`. `bases` default to `Exception`.

        PoolTimeout = lookalike("psycopg_pool.PoolTimeout", lookalike("psycopg.OperationalError"), sqlstate=None)
    """
    if ":" in path:
        module, _, qualname = path.partition(":")
    else:
        module, _, qualname = path.rpartition(".")
    namespace = {**attrs, "__module__": module, "__qualname__": qualname}
    return type(qualname.rpartition(".")[2], bases or (Exception,), namespace)
