"""The interpreter of preloadedPython(): has a script started by python_host.py, and ends as it does."""
import os
import sys

SOCKET, REAL = ${SOCKET}, ${REAL}
flags, argv = [], sys.argv[1:]
while argv and argv[0] in ("-B", "-u"):
    flags.append(argv.pop(0))
if not argv or not argv[0].endswith(".py"):
    # By its first argument Python finds its packages, and scripts find this file again.
    os.execv(REAL, [sys.argv[0], *sys.argv[1:]])

import json
import resource
import socket

host = socket.socket(socket.AF_UNIX)
host.connect(SOCKET)
order = json.dumps({
    "flags": flags,
    "argv": argv,
    "executable": sys.argv[0],
    "cwd": os.getcwd(),
    "env": dict(os.environ),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "data": resource.getrlimit(resource.RLIMIT_DATA),
}).encode()
socket.send_fds(host, [b"%8d" % len(order)], [0, 1, 2])
host.sendall(order)
status = int(host.recv(16) or 9)
if os.WIFSIGNALED(status):
    os.kill(os.getpid(), os.WTERMSIG(status))
os._exit(os.WEXITSTATUS(status))
