//! The priority of a role's process, as its row of the role table says. Must be given before the role starts a
//! thread: each thread has a priority of its own, which it takes over from the one that starts it.

use rustix::io::Errno;
use rustix::process::{Pid, setpriority_process};

use super::Role;

/// Gives a role that was just started its priority. Where the supervisor may not raise one, the role keeps that of the
/// supervisor: the others then still go after it.
pub fn prioritise(role: Role, pid: u32) {
    let nice = role.row().nice;
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    match setpriority_process(Some(process), nice) {
        Ok(()) => {}
        Err(Errno::ACCESS | Errno::PERM) if nice < 0 => {
            tracing::debug!(
                role = role.name(),
                "runs without priority: that takes CAP_SYS_NICE"
            );
        }
        Err(error) => tracing::warn!(role = role.name(), "no priority of its own: {error}"),
    }
}

/// For the operator's tools that read the trace beside a running node: they go after it, as readers do.
pub fn go_after_the_node() {
    if let Err(error) = setpriority_process(None, Role::Reader.row().nice) {
        tracing::warn!("no priority below the node's: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn a_role_that_reads_the_past_goes_after_all_others() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        prioritise(Role::Reader, child.id());
        let pid = Pid::from_raw(child.id() as i32);
        let nice = getpriority_process(pid);
        let _ = child.kill();
        let _ = child.wait();
        assert_eq!(nice, Ok(Role::Reader.row().nice));
    }
}
