"""The system calls that nothing in a sandbox gets, as a classic BPF program (Linux ``seccomp(2)``, x86-64).

A deny list: programs of any language must run, and what is named here is either a way out of a sandbox that the
kernel had flaws in, or a way to look into other processes. Numbers are those of ``arch/x86/entry/syscalls``.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

_AUDIT_ARCH_X86_64: Final = 0xC000003E
_X32_BIT: Final = 0x4000_0000
_RET_ALLOW: Final = 0x7FFF_0000
_RET_KILL_PROCESS: Final = 0x8000_0000
_RET_ERRNO: Final = 0x0005_0000

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JEQ: Final = 0x15
_JGE: Final = 0x35
_JSET: Final = 0x45
_RET: Final = 0x06

_OFFSET_NR: Final = 0  # struct seccomp_data
_OFFSET_ARCH: Final = 4
_OFFSET_ARG0: Final = 16
_OFFSET_ARG1: Final = 24

DENIED: Final = {
    # other processes
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_getfd": 438,
    "process_madvise": 440, "move_pages": 279, "migrate_pages": 256, "perf_event_open": 298, "lookup_dcookie": 212,
    # mounts, roots, namespaces
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "open_tree_attr": 467, "unshare": 272,
    "setns": 308, "name_to_handle_at": 303, "open_by_handle_at": 304, "fanotify_init": 300,
    # kernel
    "bpf": 321, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "userfaultfd": 323,
    "keyctl": 250, "add_key": 248, "request_key": 249, "kexec_load": 246, "kexec_file_load": 320, "init_module": 175,
    "finit_module": 313, "delete_module": 176, "create_module": 174, "get_kernel_syms": 177, "query_module": 178,
    "syslog": 103, "modify_ldt": 154, "uselib": 134, "ustat": 136, "sysfs": 139, "_sysctl": 156, "nfsservctl": 180,
    "vmsplice": 278,
    # the machine
    "reboot": 169, "swapon": 167, "swapoff": 168, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
    "acct": 163, "quotactl": 179, "quotactl_fd": 443, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159,
    "clock_adjtime": 305, "vhangup": 153,
}  # fmt: skip

_CLONE: Final = 56
_CLONE3: Final = 435
_IOCTL: Final = 16
# CLONE_NEWTIME | NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
_NAMESPACE_FLAGS: Final = (
    0x80 | 0x20000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000
)
_TERMINAL_INJECTION: Final = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX


def program() -> bytes:
    """The filter as ``struct sock_filter[]``, as ``bwrap --seccomp`` reads it."""
    deny = _ret(_RET_ERRNO | errno.EPERM)
    absent = _ret(_RET_ERRNO | errno.ENOSYS)
    steps = [
        _op(_LOAD, _OFFSET_ARCH),
        _op(_JEQ, _AUDIT_ARCH_X86_64, 1, 0),
        _ret(_RET_KILL_PROCESS),
        _op(_LOAD, _OFFSET_NR),
        _op(_JGE, _X32_BIT, 0, 1),
        absent,
        _op(_JEQ, _CLONE3, 0, 1),
        absent,  # its flags are behind a pointer; C libraries fall back to clone
        _op(_JEQ, _CLONE, 0, 4),
        _op(_LOAD, _OFFSET_ARG0),
        _op(_JSET, _NAMESPACE_FLAGS, 0, 1),
        deny,
        _ret(_RET_ALLOW),
        _op(_JEQ, _IOCTL, 0, 3 + len(_TERMINAL_INJECTION)),
        _op(_LOAD, _OFFSET_ARG1),
        *(_op(_JEQ, request, len(_TERMINAL_INJECTION) - i, 0) for i, request in enumerate(_TERMINAL_INJECTION)),
        _ret(_RET_ALLOW),
        deny,
    ]
    for number in sorted(DENIED.values()):
        steps += [_op(_JEQ, number, 0, 1), deny]
    return b"".join([*steps, _ret(_RET_ALLOW)])


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _ret(value: int) -> bytes:
    return _op(_RET, value)
