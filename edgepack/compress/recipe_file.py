# SPDX-License-Identifier: Apache-2.0
"""Read a recipe that a person wrote: strict YAML, every problem with its line and what is allowed there."""

from pathlib import Path

from pydantic import ValidationError

from edgepack.compress.recipe import Recipe
from edgepack.errors import UsageError
from edgepack.registry import nearest
from edgepack.strict_yaml import Document, FileKind, StrictYamlError, Where, allowed_keys, dotted, read_yaml

_KIND = FileKind("recipe", max_bytes=1 << 20)
_HINT = "edgepack steps lists the steps, edgepack steps NAME the options of one, with an example"


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in the file at ``path``.

    Raises:
        UsageError: It cannot be read (EP-010); no plain YAML, an unknown step, option or order, a value that an
            option cannot have (EP-011): every problem with file and line.
    """
    try:
        document = read_yaml(path, _KIND)
        return Recipe.model_validate(document.content)
    except OSError as error:
        raise UsageError("EP-010", f"cannot read the recipe {path}: {error.strerror}", hint="check the path") from error
    except StrictYamlError as error:
        raise UsageError("EP-011", str(error), hint=_HINT) from error
    except ValidationError as error:
        raise UsageError("EP-011", _problems(document, error), hint=_HINT) from error


def _problems(document: Document, error: ValidationError) -> str:
    found = []
    for detail in error.errors(include_url=False):
        where: Where = tuple(detail["loc"])
        line = document.line(where)
        if detail["type"] == "extra_forbidden":
            known = allowed_keys(Recipe, where[:-1])
            what = f"has the unknown key {dotted(where)!r}; {nearest(str(where[-1]), known)}"
        elif detail["type"] == "missing":
            what = f"lacks {dotted(where)}"
        elif detail["type"] == "tuple_type":
            what = f"{dotted(where)} needs a list, as in [{{kind: prune, macs: 0.75}}, {{kind: distill}}]"
        else:
            what = f"{dotted(where) + ': ' if where else ''}{detail['msg'].removeprefix('Value error, ')}"
        found.append((line, f"{document.label}:{line}: {what}"))
    return "\n".join(dict.fromkeys(text for _, text in sorted(found)))
