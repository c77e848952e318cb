"""What a process that runs somebody's answer may do: compute. No files, no network, no other processes, little memory.

`enter` is called in that process before the answer is loaded, and cannot be undone. On Linux it needs neither root nor
further packages: limits (setrlimit) for time and memory, and a filter of system calls (seccomp) that lets through what
computing needs and refuses all others. Other systems have the limits at most; `missing` says so in a sentence.
"""

import ctypes
import os
import platform
import struct
import sys
from contextlib import suppress

# Name: its number on x86-64 and on AArch64; None where that machine has no such call.
ALLOWED = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "lseek": (8, 62),
    "close": (3, 57), "fstat": (5, 80), "fcntl": (72, 25), "poll": (7, None), "ppoll": (271, 73),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "sched_yield": (24, 124), "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169),
    "times": (100, 153), "getrusage": (98, 165), "sysinfo": (99, 179), "uname": (63, 160), "getcwd": (79, 17),
    "getpid": (39, 172), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293),
    "membarrier": (324, 283), "sched_getaffinity": (204, 123), "getrandom": (318, 278),
    "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
READING = {  # only with `reading`
    "stat": (4, None), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291), "access": (21, None),
    "faccessat": (269, 48), "faccessat2": (439, 439), "getdents64": (217, 61), "readlink": (89, None),
    "readlinkat": (267, 78),
}  # fmt: skip
OPENAT, CLONE, CLONE3 = (257, 56), (56, 220), (435, 435)
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
THREAD = 0x00010000  # the flag of clone that makes a thread, not a process
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 1, 38, 22, 2


def enter(seconds, memory, reading=False):
    """Give up what an answer does not need; return whether the filter of system calls holds.

    Parameters
    ----------
    seconds : float
        Processor time; beyond it the system ends the process.
    memory : int
        Bytes that it may take beyond what it has.
    reading : bool
        Whether files may be opened for reading.
    """
    _limit(seconds, memory)
    if not sys.platform.startswith("linux") or platform.machine() not in ARCHITECTURES:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    program = _program(platform.machine(), reading)
    instructions = ctypes.create_string_buffer(b"".join(program), 8 * len(program))
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(instructions)), 16)
    libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
    return (
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        and libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.addressof(fprog), 0, 0) == 0
    )


def missing():
    """A sentence that says what this system cannot deny to an answer; empty where everything holds. It is tried."""
    if not hasattr(os, "fork"):
        return "this system limits answers in time only: they can read and write files, use the network, start programs"
    reader, writer = os.pipe()
    if not (child := os.fork()):
        with suppress(BaseException):
            held = enter(10, 1 << 30) and not any(map(_works, (os.fork, lambda: os.open(os.devnull, os.O_RDONLY))))
            os.write(writer, b"1" if held else b"0")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        held = answer.read() == b"1"
    os.waitpid(child, 0)
    if held:
        return ""
    return "this system limits answers in time and memory only: they can read and write files, and use the network"


def _works(call):
    try:
        made = call()
    except OSError:
        return False
    if call is os.fork and made == 0:
        os._exit(0)
    return True


def _limit(seconds, memory):
    with suppress(ImportError):  # Windows has no such module
        import resource

        filtered = sys.platform.startswith("linux") and platform.machine() in ARCHITECTURES
        limits = {"CPU": int(seconds) + 1, "CORE": 0, "FSIZE": 0, "AS": _taken() + memory}
        if not filtered:  # threads count, too, and numerical libraries want a few
            limits["NPROC"] = 0
        for name, limit in limits.items():
            with suppress(OSError, ValueError, AttributeError):  # each as far as the system has it
                hard = limit + 1 if name == "CPU" else limit  # at the hard one it is killed, and nobody knows why
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, hard))


def limit_memory(memory):
    """Let this process and those that it starts take so many bytes more, each, and no others."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_taken() + memory, _taken() + memory))


def _taken():
    """Bytes of address space that this process has."""
    with suppress(OSError):
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 1 << 40


def _program(machine, reading):
    """The filter, in the instructions of seccomp's machine: code, where to jump if so and if not, and an operand."""
    arch, place = ARCHITECTURES[machine]
    calls = ALLOWED | (READING if reading else {})
    numbers = [both[place] for both in calls.values() if both[place] is not None]

    def do(code, operand, so=0, otherwise=0):
        return struct.pack("HBBI", code, so, otherwise, operand)

    load, equal, at_least, bits, end = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, absent = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # EPERM and ENOSYS
    program = [
        do(load, 4),  # the architecture
        do(equal, arch, so=1),
        do(end, 0x80000000),  # another one: the end
        do(load, 0),  # the number of the call
        do(at_least, 0x40000000, otherwise=1),  # a second numbering, on x86-64
        do(end, refuse),
        do(equal, CLONE3[place], otherwise=1),  # its flags cannot be seen; the C library then takes clone
        do(end, absent),
        do(equal, CLONE[place], otherwise=4),
        do(load, 16),  # the first argument
        do(bits, THREAD, so=1),
        do(end, refuse),
        do(end, allow),
    ]
    if reading:
        program += [
            do(equal, OPENAT[place], otherwise=4),
            do(load, 32),  # the third argument
            do(bits, WRITING, otherwise=1),
            do(end, refuse),
            do(end, allow),
        ]
    for number in numbers:
        program += [do(equal, number, otherwise=1), do(end, allow)]
    return [*program, do(end, refuse)]
