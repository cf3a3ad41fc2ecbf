"""What a hostile job tries; run inside a box by test_escape.py. Prints one JSON object: attempt -> whether it
worked."""

# ruff: noqa: SIM105, SIM115, B023 - each attempt runs at once and may leave what it opened
import ctypes
import json
import os
import socket
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)
given = json.loads(sys.argv[1])
worked = {}


def attempt(name):
    def deco(work):
        try:
            worked[name] = bool(work())
        except BaseException:
            worked[name] = False

    return deco


def can_write(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.close(fd)
    return True


@attempt("read a 0700 file of the server")
def _():
    return open(given["secret"]).read()


@attempt("read the server's environment")
def _():
    return (
        open(f"/proc/{given['pid']}/environ", "rb").read()
        and "RUNYARD_CANARY" in open(f"/proc/{given['pid']}/environ").read()
    )


@attempt("find the server's environment in any process")
def _():
    found = False
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found = found or b"RUNYARD_CANARY" in open(f"/proc/{pid}/environ", "rb").read()
        except OSError:
            pass
    return found


@attempt("signal the server")
def _():
    os.kill(given["pid"], 0)
    return True


@attempt("ptrace")
def _():
    child = os.fork()
    if child == 0:
        os.pause() if hasattr(os, "pause") else __import__("signal").pause()
    result = libc.ptrace(16, child, 0, 0)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return result == 0


@attempt("list other processes")
def _():
    mine = {b"init", b"python3", os.path.basename(sys.executable).encode(), b"sh"}
    names = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            names.add(open(f"/proc/{pid}/comm", "rb").read().strip())
        except OSError:
            pass  # it ended meanwhile
    return names - mine


@attempt("mount")
def _():
    os.mkdir("mounted")  # in a folder of its own: this must be harmless where it works
    return libc.mount(b"none", b"mounted", b"tmpfs", 0, None) == 0


@attempt("new user namespace by unshare")
def _():
    return libc.unshare(0x10000000) == 0


@attempt("new user namespace by clone")
def _():
    pid = libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid > 0


@attempt("new user namespace by clone3")
def _():
    args = (ctypes.c_uint64 * 11)()
    args[0], args[4] = 0x10000000, 17
    pid = libc.syscall(435, ctypes.byref(args), 88)
    if pid == 0:
        os._exit(0)
    return pid > 0


@attempt("new network namespace")
def _():
    return libc.unshare(0x40000000) == 0


for path in (
    "/proc/sys/kernel/core_pattern",
    "/usr/evil",
    "/etc/evil",
    "/evil",
    "/etc/passwd",
    "/sys/evil",
    "/proc/sysrq-trigger",
):

    @attempt(f"write {path}")
    def _():
        return can_write(path)


@attempt("TCP to the server on loopback")
def _():
    with socket.create_connection(("127.0.0.1", given["port"]), 2):
        return True


for address in given["addresses"]:

    @attempt(f"TCP to the host at {address}")
    def _():
        with socket.create_connection((address, given["port"]), 2):
            return True


@attempt("abstract unix socket of the host")
def _():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\0" + given["abstract"])
        return True


@attempt("vsock to the hypervisor")
def _():
    socket.socket(40, socket.SOCK_STREAM)
    return True


@attempt("add_key")
def _():
    return libc.syscall(248, b"user", b"x", b"y", 1, -3) >= 0


@attempt("io_uring")
def _():
    return libc.syscall(425, 8, ctypes.create_string_buffer(120)) >= 0


@attempt("bpf")
def _():
    return libc.syscall(321, 0, ctypes.create_string_buffer(128), 128) >= 0


@attempt("userfaultfd")
def _():
    return libc.syscall(323, 1) >= 0


@attempt("perf_event_open")
def _():
    return libc.syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0) >= 0


@attempt("read the kernel log")
def _():
    return libc.syscall(103, 3, ctypes.create_string_buffer(100), 100) > 0


@attempt("32-bit system calls")
def _():
    return libc.syscall(0x40000000 + 39) > 0


@attempt("mknod a disk")
def _():
    os.mknod("/builds/disk", 0o60600, os.makedev(8, 0))
    return True


@attempt("raw socket")
def _():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    return True


@attempt("setuid 0")
def _():
    os.setuid(0)
    return True


@attempt("push terminal input")
def _():
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSTI, b"x")
    return True


@attempt("gain by a setuid program")
def _():
    for path in ("/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd", "/usr/bin/sudo"):
        if os.path.exists(path) and os.stat(path).st_mode & 0o4000:
            status = open("/proc/self/status").read()
            return "NoNewPrivs:\t0" in status
    return False


@attempt("any capability")
def _():
    lines = [
        x
        for x in open("/proc/self/status")
        if x.startswith(("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"))
    ]
    return any(int(x.split()[1], 16) for x in lines)


@attempt("an open descriptor of ours")
def _():
    return [
        fd
        for fd in os.listdir("/proc/self/fd")
        if int(fd) > 2 and "/proc" not in os.readlink(f"/proc/self/fd/{fd}")
    ]


@attempt("the runner's folders")
def _():
    return os.listdir(given["work"])


@attempt("see a secret in a command line")
def _():
    return any(
        os.environ["X"].encode() in open(f"/proc/{p}/cmdline", "rb").read()
        for p in os.listdir("/proc")
        if p.isdigit()
    )


@attempt("leave by a link in the workspace")
def _():
    os.symlink("/proc/1/root/etc/shadow", "link")
    return open("link").read()


@attempt("control groups")
def _():
    return (
        subprocess.run(
            ["sh", "-c", "mkdir /sys/fs/cgroup/memory/evil || mkdir /sys/fs/cgroup/evil"], stderr=-3
        ).returncode
        == 0
    )


print(json.dumps(worked))
