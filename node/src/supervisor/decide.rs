//! Policy decisions: who the asker is, what the policy answers, and that the answer is logged.

use como_keys::aead::DataKey;
use como_policies::{
    AccessLevel, Action, Ask, Decision, ModuleFacts, Principal, Resource, TraceFacts, Window,
};

use super::answers::Refusal;
use super::audit::Event;
use super::modules::Installed;
use super::requests::Arguments;
use super::{Supervisor, now_ns};

/// What a decision is about, beside asker, action and resource.
#[derive(Clone, Copy, Default)]
pub(super) struct Circumstances<'a> {
    pub level: Option<AccessLevel>,
    pub window: Option<Window>,
    pub cost_bytes: u64,
    pub query: Option<&'a str>,
    pub filter: &'a str,
}

impl Supervisor {
    /// Who asks, as a partner; only partners may have data.
    pub(super) fn partner(&self, asker: &str) -> Result<Principal, Refusal> {
        match self.registry.partner(asker) {
            Some((_, partner)) => Ok(partner.principal()),
            None => Err(Refusal::Unknown(format!("{asker} is not a partner of this node"))),
        }
    }

    /// Who asks, as a developer where it is one, else as a partner.
    pub(super) fn developer_or_partner(&self, asker: &str) -> Result<Principal, Refusal> {
        match self.registry.developer(asker) {
            Some((_, developer)) => Ok(developer.principal()),
            None => self.partner(asker),
        }
    }

    /// Asks the policy and logs its answer.
    pub(super) fn decide(
        &mut self,
        principal: &Principal,
        action: Action,
        resource: &Resource,
        about: Circumstances<'_>,
    ) -> Result<(), Refusal> {
        let ask = Ask {
            principal,
            action,
            resource,
            level: about.level,
            window: about.window,
            cost_bytes: about.cost_bytes,
            now_ns: now_ns(),
        };
        let decision = self.policy.decide(&ask);
        let filter_sealed = (!about.filter.is_empty()).then(|| self.seal_for_operator(about.filter));
        let (name, policy) = (resource_name(resource), self.policy.set_hash().to_owned());
        self.log(&Event::Decided {
            asker: principal.id(),
            action: action.name(),
            resource: &name,
            level: about.level.map(AccessLevel::name),
            from_ns: about.window.map(|w| w.from_ns),
            to_ns: about.window.map(|w| w.to_ns),
            cost_bytes: about.cost_bytes,
            policy: &policy,
            decision: &decision,
            query: about.query,
            filter_sealed,
        });
        match decision {
            Decision::Allow { .. } => Ok(()),
            Decision::Deny { policies, rule, .. } => Err(Refusal::Denied { rule, policies }),
        }
    }

    /// What the policy would answer now; nothing is done by it, and nothing logged.
    pub(super) fn would_allow(
        &self,
        principal: &Principal,
        action: Action,
        resource: &Resource,
        level: AccessLevel,
    ) -> bool {
        let ask = Ask {
            principal,
            action,
            resource,
            level: Some(level),
            window: None,
            cost_bytes: 0,
            now_ns: now_ns(),
        };
        self.policy.decide(&ask).is_allow()
    }

    /// Filter texts name hosts: in the log only the operator, who holds the keyring, can read them.
    /// 16 hex digits of nonce, then ciphertext.
    fn seal_for_operator(&self, filter: &str) -> String {
        let key = DataKey::from_bytes(self.keyring.node_signing.expose()).derive("audit filter", 0);
        let number = u64::from_le_bytes(como_keys::random());
        let mut text = filter.as_bytes().to_vec();
        key.cipher().seal(number, true, b"", &mut text);
        format!("{number:016x}{}", hex::encode(&text))
    }

    /// What the policy is told of a module, run with these arguments.
    pub(super) fn module_facts(
        &self,
        module: &Installed,
        arguments: &Arguments,
        installed: bool,
    ) -> ModuleFacts {
        let manifest = &module.manifest;
        let hash_hex = hex::encode(manifest.wasm_sha256);
        // Arguments that do not fit the module are not what the operator endorsed.
        let endorsed = module.resolved(arguments).is_ok_and(|arguments| {
            self.registry
                .endorsement(&hash_hex, &arguments)
                .is_some_and(|e| e.output_level <= manifest.output_level)
        });
        let developer = self.registry.developer(&manifest.developer);
        ModuleFacts {
            name: manifest.name.clone(),
            hash_hex,
            developer: developer.map_or_else(|| unknown_developer(&manifest.developer), |(_, d)| d.facts()),
            level: manifest.level,
            output_level: manifest.output_level,
            installed,
            blacklisted: module.state.blacklisted || module.state.revoked,
            endorsed,
        }
    }

    /// What the policy is told of the trace.
    pub(super) fn trace_facts(&self, level: AccessLevel, window: Window, bytes: u64) -> TraceFacts {
        let coverage = self.catalog.coverage().unwrap_or(window);
        TraceFacts {
            level,
            window,
            trace_coverage: coverage,
            bytes_estimated: bytes,
        }
    }

    /// Policy or registry changed: what runs is decided anew.
    pub(super) fn decide_again(&mut self) {
        self.settle_all();
        self.decide_jobs_again();
    }
}

/// A developer that was removed from the registry has no rights left.
fn unknown_developer(id: &str) -> como_policies::DeveloperFacts {
    como_policies::DeveloperFacts {
        id: id.to_owned(),
        ceiling: AccessLevel::Aggregate,
        output_ceiling: AccessLevel::Aggregate,
        key_revoked: true,
    }
}

fn resource_name(resource: &Resource) -> String {
    match resource {
        Resource::Module(facts) => format!("module {} {}", facts.name, facts.hash_hex),
        Resource::Trace(_) => "trace".to_owned(),
        Resource::Node => "node".to_owned(),
    }
}
