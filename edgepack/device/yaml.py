# SPDX-License-Identifier: Apache-2.0
"""The file of a device profile, before its keys are looked at."""

from pathlib import Path

from edgepack.errors import ProfileError
from edgepack.strict_yaml import Document, Fault, FileKind, StrictYamlError, parse_yaml, read_yaml

_PROFILE = FileKind("device profile", max_bytes=64 * 1024)
_ANSWERS = {
    Fault.SYNTAX: ("EP-302", "edgepack devices new NAME --from rpi4 writes a valid one"),
    Fault.FEATURE: ("EP-303", "write the values out"),
    Fault.REPEATED: ("EP-304", "keep one of the two"),
}


def read_document(path: Path) -> Document:
    """Read a profile's file.

    Raises:
        ProfileError: EP-301 unreadable, EP-302 not YAML, not UTF-8, too large or not a mapping, EP-303 anchors, tags
            or deep nesting, EP-304 a key twice.
    """
    try:
        return read_yaml(path, _PROFILE)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ProfileError(
            "EP-301", f"cannot read the device profile {path}: {reason}", hint="edgepack devices list shows the names"
        ) from error
    except StrictYamlError as error:
        raise _profile_error(error) from None


def parse_document(raw: bytes, label: str) -> Document:
    """Parse the bytes of a profile; ``label`` names it in messages. Raises as ``read_document``."""
    try:
        return parse_yaml(raw, label, _PROFILE)
    except StrictYamlError as error:
        raise _profile_error(error) from None


def _profile_error(error: StrictYamlError) -> ProfileError:
    code, hint = _ANSWERS[error.fault]
    return ProfileError(code, str(error), hint=hint)
