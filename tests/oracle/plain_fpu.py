#!/usr/bin/python3
"""Runs a program whose `ptrace` knows no extended FPU state: plain_fpu.py PROGRAM ARGUMENT...

The User Mode kernel keeps its processes' extended state in a buffer of fixed size, and hands that
back whole. Where the CPU has more of it than the buffer holds (AMX, 8 KiB), the host refuses and
the guest's first program dies with "ptrace set fp regs failed, errno = 14". Told at its start that
there is no such state, the kernel saves the plain FPU registers instead. Wider ones do not outlive
a page fault then, so the guest's C library is told to do without: `GUEST`, for its command line.
"""
import ctypes
import os
import struct
import sys

SYS_PTRACE = 101  # x86-64
GETREGSET, NT_X86_XSTATE = 0x4204, 0x202
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06  # classic BPF (linux/filter.h)
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 22  # EINVAL
NUMBER, FIRST, THIRD = 0, 16, 32  # offsets in struct seccomp_data

WIDE = ("AVX512F", "AVX512VL", "AVX512BW", "AVX2", "AVX", "XSAVEC", "XSAVE")
# What the kernel does not know it hands to its first program as environment.
GUEST = ["GLIBC_TUNABLES=glibc.cpu.hwcaps=" + ",".join("-" + name for name in WIDE)]


def is_needed():
    """Whether the CPU has more state than the User Mode kernel has room for."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        return "amx_tile" in f.read().split()


def refuse_extended_state():
    """Lets `ptrace(PTRACE_GETREGSET, …, NT_X86_XSTATE, …)` fail from here on."""
    filters = [(LOAD, 0, 0, NUMBER), (JUMP_EQUAL, 0, 5, SYS_PTRACE),
               (LOAD, 0, 0, FIRST), (JUMP_EQUAL, 0, 3, GETREGSET),
               (LOAD, 0, 0, THIRD), (JUMP_EQUAL, 0, 1, NT_X86_XSTATE),
               (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *one) for one in filters))
    program = ctypes.create_string_buffer(
        struct.pack("<HxxxxxxQ", len(filters), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
                 (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "prctl: " + os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    refuse_extended_state()
    os.execvp(sys.argv[1], sys.argv[1:])
