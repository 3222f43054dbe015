//! Makes seccomp filters of a table of denials and installs them. Must never decide what is denied.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::syscalls::{Denial, When};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// On x86-64 the kernel may also take calls of the x32 ABI: the same numbers with this bit, and a few
/// of its own. A list of denials that knew nothing of them would be none.
#[cfg(target_arch = "x86_64")]
const X32_BIT: i64 = 0x4000_0000;
/// Calls whose x32 numbers are not the native ones (execve and ptrace among them): all are denied.
#[cfg(target_arch = "x86_64")]
const X32_OWN: std::ops::RangeInclusive<i64> = 512..=547;

/// Installs the filters for this thread and all that it starts. Needs `no_new_privs`.
pub fn install(denials: &[Denial]) -> Result<(), seccompiler::Error> {
    for (rules, errno) in [(rules(denials)?, libc::EPERM), (no_clone3(), libc::ENOSYS)] {
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(errno as u32),
            std::env::consts::ARCH.try_into()?,
        )?;
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

/// clone3 keeps its flags in memory, where no filter can look. Told that it does not exist, the C
/// library starts threads by clone instead.
fn no_clone3() -> Rules {
    let mut rules = Rules::from([(libc::SYS_clone3, Vec::new())]);
    add_x32(&mut rules);
    rules
}

fn rules(denials: &[Denial]) -> Result<Rules, seccompiler::Error> {
    let mut rules = Rules::new();
    let mut whole = Vec::new();
    for denial in denials {
        let of_call = rules.entry(denial.number).or_default();
        match conditions(denial.when)? {
            Some(conditions) => of_call.push(SeccompRule::new(conditions)?),
            None => whole.push(denial.number),
        }
    }
    // No rule at all means: whatever the arguments.
    for number in whole {
        rules.insert(number, Vec::new());
    }
    add_x32(&mut rules);
    Ok(rules)
}

#[cfg(target_arch = "x86_64")]
fn add_x32(rules: &mut Rules) {
    let native: Vec<i64> = rules.keys().copied().collect();
    for number in native.into_iter().chain(X32_OWN) {
        // Denied whatever the arguments: nobody here speaks x32.
        rules.insert(number | X32_BIT, Vec::new());
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn add_x32(_rules: &mut Rules) {}

/// All must hold for the call to be denied; `None`: always.
fn conditions(when: When) -> Result<Option<Vec<SeccompCondition>>, seccompiler::Error> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let one = SeccompCondition::new;
    Ok(Some(match when {
        When::Always => return Ok(None),
        When::Has(arg, mask) => vec![one(arg, Dword, MaskedEq(mask), mask)?],
        When::Lacks(arg, mask) => vec![one(arg, Dword, MaskedEq(mask), 0)?],
        When::Is(arg, value) => vec![one(arg, Dword, Eq, value)?],
        When::Masked(arg, mask, value) => vec![one(arg, Dword, MaskedEq(mask), value)?],
        When::IsNeither(arg, a, b) => vec![one(arg, Dword, Ne, a)?, one(arg, Dword, Ne, b)?],
        When::NotNull(arg) => vec![one(arg, Qword, Ne, 0)?],
        When::OtherProcess(arg) => vec![one(arg, Dword, Ne, u64::from(std::process::id()))?],
    }))
}

#[cfg(test)]
mod tests {
    use super::super::{Role, syscalls::denials_for};
    use super::*;

    #[test]
    fn every_roles_table_compiles_and_conditions_give_way_to_a_whole_denial() {
        for role in Role::ALL {
            let rules = rules(&denials_for(role)).unwrap();
            assert!(rules[&libc::SYS_execve].is_empty());
            assert!(!rules[&libc::SYS_clone].is_empty(), "threads must start");
            assert_eq!(rules[&libc::SYS_socket].is_empty(), role != Role::Query);
            let filter = SeccompFilter::new(
                rules,
                SeccompAction::Allow,
                SeccompAction::Errno(libc::EPERM as u32),
                std::env::consts::ARCH.try_into().unwrap(),
            );
            BpfProgram::try_from(filter.unwrap()).unwrap();
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn x32_is_no_way_around() {
        let rules = rules(&denials_for(Role::Query)).unwrap();
        assert!(rules[&(libc::SYS_socket | X32_BIT)].is_empty());
        assert!(rules[&(520 | X32_BIT)].is_empty(), "x32's own execve");
    }
}
