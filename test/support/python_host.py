"""Imports modules once and starts scripts with them: python python_host.py SOCKET MODULE...

Each connection is of a python_launcher.py, which stands for the process of the script: it ends as the script does, and the script
ends with it. Ends with its own standard input.
"""
import atexit
import gc
import importlib
import io
import json
import os
import random
import resource
import runpy
import selectors
import signal
import socket
import sys
import threading

HEADER = 8
path, *modules = sys.argv[1:]


def serve():
    """Returns only in the process of a script, with what its launcher told and the streams that it is given."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    for source in (listener, 0, woken):
        selector.register(source, selectors.EVENT_READ)
    launchers = {}
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj == 0:
                for child in launchers.values():
                    end(child)
                os._exit(0)
            elif key.fileobj is listener:
                launcher, _ = listener.accept()
                order, streams = received(launcher)
                if order is None:
                    launcher.close()
                    continue
                child = os.fork()
                # In both: whichever comes first, the group is there when it is to be ended.
                os.setpgid(child, child)
                if child == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    selector.close()
                    for each in (listener, launcher, *launchers):
                        each.close()
                    os.close(woken)
                    os.close(waker)
                    return order, streams
                for stream in streams:
                    os.close(stream)
                launchers[launcher] = child
                selector.register(launcher, selectors.EVENT_READ)
            elif key.fileobj == woken:
                os.read(woken, 4096)
                for launcher, child in list(launchers.items()):
                    ended, status = os.waitpid(child, os.WNOHANG)
                    if ended:
                        end(child)
                        forget(selector, launchers, launcher)
                        tell(launcher, status)
            elif key.fileobj in launchers:
                # The launcher was killed: nothing comes from one that waits.
                child = launchers[key.fileobj]
                end(child)
                os.waitpid(child, 0)
                forget(selector, launchers, key.fileobj)
                key.fileobj.close()


def received(launcher):
    try:
        size, streams, _, _ = socket.recv_fds(launcher, HEADER, 3)
        with launcher.makefile("rb") as source:
            return json.loads(source.read(int(size))), streams
    except (OSError, ValueError):
        return None, []


def forget(selector, launchers, launcher):
    selector.unregister(launcher)
    del launchers[launcher]


def tell(launcher, status):
    try:
        launcher.sendall(b"%d" % status)
    except OSError:
        pass
    launcher.close()


def end(child):
    """With all that it started: it leads a group."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass


def become(order, streams):
    """Makes this process what a new interpreter would be."""
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    sys.stdin = open(0, closefd=False)
    unbuffered = "-u" in order["flags"] or "PYTHONUNBUFFERED" in order["env"]
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(target, "wb", 0 if unbuffered else -1, closefd=False), "utf-8", errors, write_through=unbuffered or target == 2)
        for target, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    resource.setrlimit(resource.RLIMIT_CORE, order["core"])
    resource.setrlimit(resource.RLIMIT_DATA, order["data"])
    sys.dont_write_bytecode = "-B" in order["flags"] or "PYTHONDONTWRITEBYTECODE" in order["env"]
    sys.argv = order["argv"]
    sys.executable = order["executable"]
    given = os.environ.get("PYTHONPATH", "")
    sys.path[:0] = [os.path.dirname(os.path.abspath(sys.argv[0])), *(given.split(os.pathsep) if given else [])]
    importlib.invalidate_caches()
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(threads))


# This file's folder is none of a script's.
del sys.path[0]
for module in modules:
    importlib.import_module(module)
gc.collect()
gc.freeze()
become(*serve())
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
    status = 0
except SystemExit as ended:
    status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    if status and not isinstance(ended.code, int):
        print(ended.code, file=sys.stderr)
except BaseException:
    sys.excepthook(*sys.exc_info())
    status = 1
# What an interpreter does at its end, but for taking all modules apart, which would first copy them into this process.
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)
