//! Decisions of the shipped policy sets, and of files. Here: the typical principals and resources.

mod files;
mod guards;
mod refusals;
mod tables;

use como_policies::{
    AccessLevel, Action, Ask, Decision, DeveloperFacts, ModuleFacts, PolicyEngine, Principal, Resource,
    SystemMode, TraceFacts, Window,
};
use std::io::Write;

const DAY_NS: u64 = 86_400_000_000_000;

fn operator() -> Principal {
    Principal::Operator {
        id: "spiffe://example.org/site/operator".into(),
    }
}

fn developer(ceiling: AccessLevel) -> DeveloperFacts {
    DeveloperFacts {
        id: "spiffe://example.org/university/dora".into(),
        ceiling,
        output_ceiling: ceiling,
        key_revoked: false,
    }
}

fn developer_principal(facts: &DeveloperFacts) -> Principal {
    Principal::Developer {
        id: facts.id.clone(),
        organisation: "university".into(),
        ceiling: facts.ceiling,
        output_ceiling: facts.output_ceiling,
        key_revoked: facts.key_revoked,
    }
}

/// A partner: whether it is listed and may plug in.
fn partner(ceiling: AccessLevel, listed: bool, may_plug_in: bool) -> Principal {
    Principal::Partner {
        id: "spiffe://example.org/institute/paula".into(),
        organisation: "institute".into(),
        project: "scans".into(),
        ceiling,
        may_plug_in,
        suspended: false,
        listed,
    }
}

fn module() -> ModuleFacts {
    ModuleFacts {
        name: "traffic".into(),
        hash_hex: "00ff".into(),
        developer: developer(AccessLevel::Payload),
        level: AccessLevel::Anonymized,
        output_level: AccessLevel::Anonymized,
        installed: true,
        blacklisted: false,
        endorsed: false,
    }
}

fn trace(level: AccessLevel) -> Resource {
    Resource::Trace(TraceFacts {
        level,
        window: Window::new(DAY_NS, DAY_NS + 60_000_000_000).unwrap(),
        trace_coverage: Window::new(0, 2 * DAY_NS).unwrap(),
        bytes_estimated: 1 << 20,
    })
}

fn decide(engine: &PolicyEngine, principal: &Principal, action: Action, resource: &Resource) -> Decision {
    engine.decide(&Ask {
        principal,
        action,
        resource,
        level: None,
        window: None,
        cost_bytes: 1 << 20,
        now_ns: 3 * DAY_NS,
    })
}

/// Who forbade it; panics where it was permitted or an error decided.
fn refusers(decision: Decision) -> Vec<String> {
    match decision {
        Decision::Deny {
            policies,
            rule,
            errors,
        } => {
            assert!(errors.is_empty(), "{errors:?}");
            assert!(!rule.is_empty());
            policies
        }
        Decision::Allow { policies } => panic!("permitted by {policies:?}"),
    }
}

fn engine(mode: SystemMode) -> PolicyEngine {
    PolicyEngine::builtin(mode).unwrap_or_else(|error| panic!("{mode}: {error}"))
}

/// The resource that an action is about.
fn resource_of(action: Action, module: &ModuleFacts) -> Resource {
    match action {
        Action::QueryAdHoc | Action::DownloadTrace => trace(AccessLevel::Anonymized),
        Action::Administer | Action::Status => Resource::Node,
        _ => Resource::Module(module.clone()),
    }
}

fn engine_from(mode: SystemMode, text: &str) -> Result<PolicyEngine, String> {
    let mut file = tempfile::Builder::new().suffix(".cedar").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    PolicyEngine::from_file(mode, file.path()).map_err(|error| error.to_string())
}
