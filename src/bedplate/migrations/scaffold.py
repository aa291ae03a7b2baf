"""The first `bedplate migrate new` of a system: its alembic.ini, env.py and template are written.

They are ordinary Alembic files, the system's own from then on; nothing is ever overwritten.
"""

import os
from pathlib import Path

from bedplate.migrations.revisions import INI

# `alembic` finds what it needs from the folder of this file, in whatever folder it is called.
_INI = """\
# Alembic's settings. No URL here: env.py takes it from the environment, or from the running
# embedded stack.
[alembic]
script_location = %(here)s
prepend_sys_path = %(here)s/{root}
path_separator = os
file_template = %%(rev)s_%%(slug)s
timezone = UTC
"""
_ENV = '''\
"""What Alembic runs: the layer's own, on the metadata of {name}."""

from bedplate.migrations import env

from {module} import {imported}

env.run(system.metadata, system="{name}")
'''
_TEMPLATE = '''\
"""${message}."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision: str = ${repr(up_revision)}
down_revision: str | Sequence[str] | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}


def upgrade() -> None:
    """${message}."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Undo it."""
    ${downgrades if downgrades else "pass"}
'''


def scaffold(folder: Path, *, root: Path, name: str, target: str) -> list[Path]:
    """Write what is missing in a system's migrations folder. Returns the files written.

    `target` is the system's line in pyproject.toml, "package.module:attribute".
    """
    module, _, attribute = target.partition(":")
    imported = "system" if attribute in ("", "system") else f"{attribute} as system"
    contents = {
        # Relative: the file is the repository's, and a colleague's folders have other names.
        folder / INI: _INI.format(root=os.path.relpath(root, folder)),
        folder / "env.py": _ENV.format(name=name, module=module, imported=imported),
        folder / "script.py.mako": _TEMPLATE,
    }
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    missing = [path for path in contents if not path.exists()]
    for path in missing:
        path.write_text(contents[path], encoding="utf-8")
    return missing
