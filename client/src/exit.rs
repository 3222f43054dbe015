//! The exit codes of `como`: one table for the help text, the man page and docs/cli.md.
//!
//! Owns the numbers; must never change one that was released.

/// How a run of `como` ended. The number is the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something on this machine failed: a disk, a file that cannot be written.
    Local = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The node's policy refuses it.
    Refused = 3,
    /// An input file is missing, malformed or of the wrong kind.
    BadInput = 4,
    /// The node cannot be reached, or TLS failed.
    Unreachable = 5,
    /// A signature, hash or seal does not hold.
    Verification = 6,
    /// The node cannot do it as asked: unknown module, bad filter, window beyond the trace.
    Rejected = 7,
    /// The node took it on and failed, or is overloaded.
    NodeFailed = 8,
    /// Your keys or node profiles are missing or open to others.
    Keys = 9,
    /// Interrupted with Ctrl-C.
    Interrupted = 130,
}

/// The table as `como --help` prints it.
pub const TABLE: &str = "\
Exit codes:
    0  done
    1  something on this machine failed
    2  wrong command line
    3  refused by the node's policy
    4  bad input file
    5  node unreachable, or TLS failed
    6  verification failed: a signature, hash or seal does not hold
    7  the node cannot do it as asked: unknown module, bad filter, empty window
    8  the node took it on and failed, or is overloaded
    9  your keys or node profiles are missing or unsafe
  130  interrupted; a query goes on at the node, `como fetch` resumes";

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_code() {
        let codes: Vec<u8> = TABLE
            .lines()
            .skip(1)
            .map(|line| line[..5].trim().parse().unwrap())
            .collect();
        use Exit::*;
        let all = [
            Ok,
            Local,
            Usage,
            Refused,
            BadInput,
            Unreachable,
            Verification,
            Rejected,
            NodeFailed,
            Keys,
            Interrupted,
        ];
        assert_eq!(codes, all.map(|exit| exit as u8));
    }
}
