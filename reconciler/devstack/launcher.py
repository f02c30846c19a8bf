"""Becomes a server process that the kernel kills when the process that asked for it dies.

Run as a script, by path, in an isolated interpreter: `launcher.py PARENT_PID USER|- COMMAND...`. It drops
root if a user is named, ties its life to its parent's, then replaces itself by the command, so the process
id the parent knows is the server's.

Why a program and not `preexec_fn`: a fork that goes on running Python in a process with threads (pymongo
starts several) may deadlock, and newer Pythons warn of it. Why the privileges are dropped here and not by
`subprocess`: an unprivileged user often cannot reach the interpreter itself (a virtual environment below
/root), while this process is already running it.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>
NO_USER = "-"


def drop_privileges(user: str) -> None:
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def die_with_parent(parent_pid: int) -> None:
    # After the change of user, which clears the setting; it survives the exec. Elsewhere than on Linux a
    # clean stop has to do.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the line above: then nobody would ever send the signal.
    if os.getppid() != parent_pid:
        sys.exit("the process that asked for this server is gone")


def main(arguments: list[str]) -> None:
    parent_pid, user, *command = arguments
    if user != NO_USER:
        drop_privileges(user)
    die_with_parent(int(parent_pid))
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted: the pid must be the server's


if __name__ == "__main__":
    main(sys.argv[1:])
