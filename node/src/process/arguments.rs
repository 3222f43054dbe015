//! The command line of a role process: `como-node role NAME --sandbox MODE [--drop-to UID:GID]`. Must
//! never carry a secret: anybody on the machine reads it.

use super::{Ids, Role, SandboxMode};

/// What a role process learns from its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleArguments {
    /// Which role.
    pub role: Role,
    /// How strict its sandbox is.
    pub mode: SandboxMode,
    /// Started as root, to become this once its source is open.
    pub drop_to: Option<Ids>,
}

impl RoleArguments {
    /// Arguments after `como-node role`, as [`RoleArguments::parse`] reads them.
    pub fn to_args(self) -> Vec<String> {
        let mut args = vec![
            self.role.name().to_owned(),
            "--sandbox".to_owned(),
            self.mode.name().to_owned(),
        ];
        if let Some(ids) = self.drop_to {
            args.push("--drop-to".to_owned());
            args.push(format!("{}:{}", ids.uid, ids.gid));
        }
        args
    }

    /// Reads the arguments after `como-node role`; the error is a sentence for people.
    pub fn parse<S: AsRef<str>>(args: &[S]) -> Result<Self, String> {
        let mut args = args.iter().map(AsRef::as_ref);
        let role = args.next().ok_or("a role is missing")?.parse()?;
        let mut parsed = Self {
            role,
            mode: SandboxMode::Strict,
            drop_to: None,
        };
        while let Some(option) = args.next() {
            let value = args
                .next()
                .ok_or_else(|| format!("the value of {option} is missing"))?;
            match option {
                "--sandbox" => parsed.mode = value.parse()?,
                "--drop-to" => parsed.drop_to = Some(parse_ids(value)?),
                _ => return Err(format!("a role has no option {option}")),
            }
        }
        Ok(parsed)
    }
}

fn parse_ids(text: &str) -> Result<Ids, String> {
    let wrong = || format!("`{text}` is not UID:GID, both above 0");
    let (uid, gid) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id != 0 && *id != u32::MAX);
    Ok(Ids {
        uid: number(uid).ok_or_else(wrong)?,
        gid: number(gid).ok_or_else(wrong)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for role in Role::ALL {
            for drop_to in [
                None,
                Some(Ids {
                    uid: 64_701,
                    gid: 64_700,
                }),
            ] {
                let arguments = RoleArguments {
                    role,
                    mode: SandboxMode::BestEffort,
                    drop_to,
                };
                assert_eq!(RoleArguments::parse(&arguments.to_args()), Ok(arguments));
            }
        }
    }

    #[test]
    fn nobody_becomes_root_and_typos_are_named() {
        for (args, words) in [
            (vec!["capture", "--drop-to", "0:0"], "above 0"),
            (vec!["capture", "--drop-to", "1"], "UID:GID"),
            (vec!["captor"], "no role `captor`"),
            (vec!["capture", "--sandbox"], "value of --sandbox"),
            (vec!["capture", "--key", "x"], "no option --key"),
            (vec![], "missing"),
        ] {
            assert!(
                RoleArguments::parse(&args).unwrap_err().contains(words),
                "{args:?}"
            );
        }
    }
}
