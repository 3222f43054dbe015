//! The system calls that roles are denied, one row each with the reason. Data only: [`super::seccomp`]
//! makes a filter of it.
//!
//! A list of denials, not of permissions: what a Rust program and its allocator call changes with every
//! release of either, and a role that dies of a new harmless call is a hole in the trace. Landlock, the
//! user id and the absence of descriptors bound what the permitted calls reach.

use libc::c_long;

use super::Role;

/// When a call is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Whatever its arguments.
    Always,
    /// The argument has all bits of the mask.
    Has(u8, u64),
    /// The argument lacks the bits of the mask.
    Lacks(u8, u64),
    /// The argument is the value.
    Is(u8, u64),
    /// The argument's masked bits are the value: mask, value.
    Masked(u8, u64, u64),
    /// The argument is neither of the values.
    IsNeither(u8, u64, u64),
    /// The argument (a pointer) is not null.
    NotNull(u8),
    /// The argument is another process than oneself.
    OtherProcess(u8),
}

/// One denied call.
#[derive(Clone, Copy, Debug)]
pub struct Denial {
    /// Its name in the kernel.
    pub name: &'static str,
    /// Its number on this architecture.
    pub number: c_long,
    /// On which arguments.
    pub when: When,
    /// Why.
    pub reason: &'static str,
}

macro_rules! denials {
    ($($reason:literal: $($call:ident $(($when:expr))?),+ ;)+) => {
        &[$($(Denial {
            name: stringify!($call),
            number: libc::$call,
            when: denials!(@when $($when)?),
            reason: $reason,
        },)+)+]
    };
    (@when) => { When::Always };
    (@when $when:expr) => { $when };
}

const PROT_EXEC: u64 = libc::PROT_EXEC as u64;
const CLONE_THREAD: u64 = libc::CLONE_THREAD as u64;
const FASTOPEN: u64 = libc::MSG_FASTOPEN as u64;
const INET: u64 = libc::AF_INET as u64;
const INET6: u64 = libc::AF_INET6 as u64;
const UNIX: u64 = libc::AF_UNIX as u64;
/// Bits of socket()'s second argument that are the type, not flags (`SOCK_TYPE_MASK` in the kernel).
const TYPE_MASK: u64 = 0xf;

/// Denied to every role.
const EVERY_ROLE: &[Denial] = denials! {
    "no role starts a program":
        SYS_execve, SYS_execveat;
    "no role starts a process; threads are allowed":
        SYS_clone(When::Lacks(0, CLONE_THREAD));
    "guests are interpreted: nothing ever becomes executable":
        SYS_mmap(When::Has(2, PROT_EXEC)), SYS_mprotect(When::Has(2, PROT_EXEC)),
        SYS_pkey_mprotect(When::Has(2, PROT_EXEC)), SYS_personality;
    "no role looks into another process":
        SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_process_madvise, SYS_kcmp,
        SYS_pidfd_open, SYS_pidfd_getfd;
    "no role signals another process":
        SYS_kill(When::OtherProcess(0)), SYS_tgkill(When::OtherProcess(0)), SYS_tkill,
        SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_pidfd_send_signal;
    "large, young kernel surfaces that no role needs":
        SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup, SYS_io_uring_enter,
        SYS_io_uring_register;
    "namespaces and mounts would change what the other rules mean":
        SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_move_mount,
        SYS_open_tree, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_mount_setattr,
        SYS_mknodat, SYS_fanotify_init;
    "handles open files past every path rule":
        SYS_name_to_handle_at, SYS_open_by_handle_at;
    "the machine's administration":
        SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot, SYS_swapon,
        SYS_swapoff, SYS_acct, SYS_quotactl, SYS_quotactl_fd, SYS_syslog, SYS_settimeofday,
        SYS_clock_settime, SYS_clock_adjtime, SYS_adjtimex, SYS_sethostname, SYS_setdomainname,
        SYS_vhangup;
    "keys of the kernel belong to other programs":
        SYS_add_key, SYS_request_key, SYS_keyctl;
    "a role has taken its user and gives no privilege back to itself":
        SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid,
        SYS_setgroups, SYS_setfsuid, SYS_setfsgid, SYS_capset;
    "limits stay as they were set":
        SYS_setrlimit, SYS_prlimit64(When::NotNull(2));
    "shared memory and queues reach other processes":
        SYS_shmget, SYS_shmat, SYS_shmctl, SYS_msgget, SYS_semget, SYS_mq_open;
    "typing into the operator's terminal, should the log be one":
        SYS_ioctl(When::Is(1, libc::TIOCSTI)), SYS_ioctl(When::Is(1, libc::TIOCLINUX));
    "Landlock does not cover attributes: modes, owners, times":
        SYS_fchmod, SYS_fchmodat, SYS_fchmodat2, SYS_fchown, SYS_fchownat, SYS_utimensat,
        SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_removexattr, SYS_lremovexattr,
        SYS_fremovexattr;
    "Landlock covers this only from Linux 6.2":
        SYS_truncate;
    "no role calls out":
        SYS_connect, SYS_sendto(When::Has(3, FASTOPEN)), SYS_sendmsg(When::Has(2, FASTOPEN)),
        SYS_sendmmsg(When::Has(3, FASTOPEN));
};

/// Calls of the first Unixes that newer architectures do without.
#[cfg(target_arch = "x86_64")]
const EVERY_ROLE_OLD: &[Denial] = denials! {
    "no role starts a process":
        SYS_fork, SYS_vfork;
    "the machine's administration":
        SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_uselib, SYS_kexec_file_load;
    "namespaces and mounts would change what the other rules mean":
        SYS_mknod;
    "Landlock does not cover attributes: modes, owners, times":
        SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat;
};
/// Calls of the first Unixes that newer architectures do without.
#[cfg(not(target_arch = "x86_64"))]
const EVERY_ROLE_OLD: &[Denial] = &[];

/// Denied to all roles but query.
const OFFLINE: &[Denial] = denials! {
    "its links were made by the supervisor; it has no network":
        SYS_socket, SYS_socketpair, SYS_bind, SYS_listen, SYS_accept, SYS_accept4;
};

/// Denied to query: it listens, on TCP, and nothing else.
const ONLINE: &[Denial] = denials! {
    "TCP over IP only":
        SYS_socket(When::IsNeither(0, INET, INET6)),
        SYS_socket(When::Masked(1, TYPE_MASK, libc::SOCK_DGRAM as u64)),
        SYS_socket(When::Masked(1, TYPE_MASK, libc::SOCK_RAW as u64)),
        SYS_socket(When::Masked(1, TYPE_MASK, libc::SOCK_RDM as u64)),
        SYS_socket(When::Masked(1, TYPE_MASK, libc::SOCK_SEQPACKET as u64)),
        SYS_socket(When::Masked(1, TYPE_MASK, SOCK_PACKET));
    "pairs only within the process, for the runtime's signals":
        SYS_socketpair(When::IsNeither(0, UNIX, UNIX));
};
/// The obsolete packet socket type, still a way to raw frames.
const SOCK_PACKET: u64 = 10;

/// All denials of a role.
pub fn denials_for(role: Role) -> Vec<Denial> {
    let network = match role {
        Role::Query => ONLINE,
        Role::Capture | Role::Export | Role::Storage | Role::Reader | Role::Runner => OFFLINE,
    };
    [EVERY_ROLE, EVERY_ROLE_OLD, network].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always(role: Role, number: c_long) -> bool {
        denials_for(role)
            .iter()
            .any(|denial| denial.number == number && denial.when == When::Always)
    }

    #[test]
    fn only_query_makes_sockets_and_nobody_calls_out_or_starts_programs() {
        for role in Role::ALL {
            assert_eq!(always(role, libc::SYS_socket), role != Role::Query, "{role}");
            for number in [
                libc::SYS_connect,
                libc::SYS_execve,
                libc::SYS_execveat,
                libc::SYS_ptrace,
                libc::SYS_bpf,
                libc::SYS_io_uring_setup,
            ] {
                assert!(always(role, number), "{role}");
            }
        }
    }

    #[test]
    fn no_row_stands_twice() {
        for role in Role::ALL {
            let mut seen = std::collections::BTreeSet::new();
            for denial in denials_for(role) {
                assert!(
                    seen.insert(format!("{} {:?}", denial.name, denial.when)),
                    "{}",
                    denial.name
                );
            }
        }
    }
}
