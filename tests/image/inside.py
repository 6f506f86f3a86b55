"""Programs of the image, run as an engine would with --read-only, --cap-drop ALL and no-new-privileges.

buildah has no such run. So the container's root is bound to a folder and that mount made read-only, in a mount
namespace of its own, which the kernel enforces as it does for an engine; /tmp is a tmpfs, state and configuration are
bound; and setpriv, within, gives up the user, every capability and every way to more. Network and processes are this
machine's.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

USER = 10001
_PATH = "/opt/kmwatch/bin:/usr/local/bin:/usr/bin:/bin"
_MOUNTS = """
mount --bind {root} {place} && mount -o remount,bind,ro {place}
mount -t proc -o ro proc {place}/proc
mount --rbind /dev {place}/dev
mount -t tmpfs -o size=64m,mode=1777 tmpfs {place}/tmp
mount --bind {state} {place}/var/lib/kmwatch
mount --bind {config} {place}/etc/kmwatch && mount -o remount,bind,ro {place}/etc/kmwatch
"""
_DROP = ("--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--no-new-privs", "--bounding-set=-all")


class Inside:
    """A container's root that programs can be run in.

    Args:
        root: the container's root folder.
        folder: ours: it gets `state` and `config`, which the programs see where the image has them.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.state, self.config = root, folder / "state", folder / "config"
        self._place = folder / "root"
        for path in (self._place, self.state, self.config):
            path.mkdir()
        folder.chmod(0o755)
        self.state.chmod(0o700)
        os.chown(self.state, USER, USER)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a program; its process is the one that is returned."""
        mounts = _MOUNTS.format(root=self.root, place=self._place, state=self.state, config=self.config)
        clean = ["env", "-i", f"PATH={_PATH}", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"]
        inner = ["chroot", str(self._place), "setpriv", *_DROP, *clean, *command]
        script = f"set -e\n{mounts}cd /\nexec {shlex.join(inner)}"
        outer = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        return subprocess.Popen(outer, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *command: str) -> tuple[int, str]:
        """Run a program to its end; its exit code and what it said."""
        process = self.start(*command)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said
