"""Runs a command at a terminal: what comes on standard input is typed there, and what is shown there is written out."""
import os
import pty
import sys


def main():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.argv[1], sys.argv[1:])
    if os.fork() == 0:
        while typed := os.read(0, 4096):
            os.write(terminal, typed)
        os._exit(0)
    while True:
        try:
            shown = os.read(terminal, 4096)
        except OSError:
            break
        if not shown:
            break
        os.write(1, shown)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


main()
