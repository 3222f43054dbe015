//! Loading and evaluating a policy set with Cedar. Must never permit what could not be evaluated: Cedar
//! skips a policy that errors, even a forbid, so any error is a denial here.

use crate::diagnostics::Source;
use crate::request::{self, Prepared};
use crate::{Ask, Decision, PolicyError, SystemMode};
use cedar_policy::{Authorizer, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::str::FromStr;

const SCHEMA: &str = include_str!("../como.cedarschema");
const GUARDS: &str = include_str!("../sets/guards.cedar");

/// Largest policy file, bytes.
pub const MAX_POLICY_FILE_BYTES: u64 = 1 << 20;

/// What the asker is told when evaluation failed; the reasons are the operator's.
const RULE_ERROR: &str =
    "The node's policy could not decide; its operator finds the reason in the audit log.";

/// A validated policy set, ready to decide. Shared between threads.
pub struct PolicyEngine {
    mode: SystemMode,
    schema: Schema,
    policies: PolicySet,
    authorizer: Authorizer,
    set_hash: String,
}

impl PolicyEngine {
    /// The complete policy set that ships for a mode.
    pub fn builtin(mode: SystemMode) -> Result<Self, PolicyError> {
        let (name, text) = match mode {
            SystemMode::Public => ("public.cedar", include_str!("../sets/public.cedar")),
            SystemMode::Restricted => ("restricted.cedar", include_str!("../sets/restricted.cedar")),
            SystemMode::Private => ("private.cedar", include_str!("../sets/private.cedar")),
        };
        Self::load(mode, &Source { name, text })
    }

    /// The operator's own policy set, checked strictly against the schema. The shipped guards are added
    /// to it. Every policy needs an `@id` of its own and a `@rule`, the text told to whoever it refuses.
    pub fn from_file(mode: SystemMode, path: &Path) -> Result<Self, PolicyError> {
        let failed = |source| PolicyError::File {
            path: path.to_owned(),
            source,
        };
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes > MAX_POLICY_FILE_BYTES {
            return Err(failed(std::io::Error::other(format!(
                "it has {bytes} bytes, more than {MAX_POLICY_FILE_BYTES}"
            ))));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::load(
            mode,
            &Source {
                name: &path.display().to_string(),
                text: &text,
            },
        )
    }

    fn load(mode: SystemMode, set: &Source<'_>) -> Result<Self, PolicyError> {
        let schema_source = Source {
            name: "como.cedarschema",
            text: SCHEMA,
        };
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| PolicyError::Policy {
            diagnostic: schema_source.render(&error),
        })?;
        let guards = Source {
            name: "guards.cedar",
            text: GUARDS,
        };

        let mut policies = PolicySet::new();
        for source in [&guards, set] {
            for policy in parse(source)? {
                // Validated one by one, so that each message points into its own file.
                validate(&policy, source, &schema)?;
                policies.add(policy.clone()).map_err(|_| PolicyError::Policy {
                    diagnostic: source.at(
                        source.offset_of(&policy),
                        &format!("a second policy has the id \"{}\"", policy.id()),
                    ),
                })?;
            }
        }
        let mut hash = Sha256::new();
        for text in [SCHEMA, GUARDS, set.text] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        let set_hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            mode,
            schema,
            policies,
            authorizer: Authorizer::new(),
            set_hash,
        })
    }

    /// Decides. Whatever cannot be evaluated, or contradicts itself, is denied.
    pub fn decide(&self, ask: &Ask<'_>) -> Decision {
        let Prepared { request, entities } = match request::prepare(ask, self.mode, &self.schema) {
            Ok(prepared) => prepared,
            Err(error) => {
                return Decision::Deny {
                    policies: vec![],
                    rule: RULE_ERROR.to_owned(),
                    errors: vec![error],
                };
            }
        };
        let response = self.authorizer.is_authorized(&request, &self.policies, &entities);
        let mut ids: Vec<String> = response.diagnostics().reason().map(PolicyId::to_string).collect();
        ids.sort_unstable();
        let errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
        if !errors.is_empty() {
            // Not the reasons: an asker must not learn which data makes a policy fail.
            return Decision::Deny {
                policies: ids,
                rule: RULE_ERROR.to_owned(),
                errors,
            };
        }
        match response.decision() {
            cedar_policy::Decision::Allow => Decision::Allow { policies: ids },
            cedar_policy::Decision::Deny => Decision::Deny {
                rule: self.rule(ask, &ids),
                policies: ids,
                errors,
            },
        }
    }

    /// The system mode that the set decides for.
    pub fn mode(&self) -> SystemMode {
        self.mode
    }

    /// SHA-256 of schema, guards and policies, hexadecimal: names the set in audit log and datasets.
    pub fn set_hash(&self) -> &str {
        &self.set_hash
    }

    /// The texts of the policies that refused, or that none permitted.
    fn rule(&self, ask: &Ask<'_>, ids: &[String]) -> String {
        if ids.is_empty() {
            return format!(
                "Nothing in this node's {} policy permits you to {}.",
                self.mode,
                ask.action.phrase()
            );
        }
        let mut texts: Vec<&str> = ids
            .iter()
            .filter_map(|id| self.policies.annotation(&PolicyId::new(id), "rule"))
            .collect();
        texts.sort_unstable();
        texts.dedup();
        texts.join(" ")
    }
}

/// The policies of a source, each under its `@id`; refuses one without `@id` or `@rule`, and templates.
fn parse(source: &Source<'_>) -> Result<Vec<Policy>, PolicyError> {
    let set = PolicySet::from_str(source.text).map_err(|error| PolicyError::Policy {
        diagnostic: source.render(&error),
    })?;
    let refused = |offset, why: &str| {
        Err(PolicyError::Policy {
            diagnostic: source.at(offset, why),
        })
    };
    if let Some(template) = set.templates().next() {
        return refused(
            source.text.find(&template.to_string()).unwrap_or(0),
            "templates are not supported",
        );
    }
    let mut policies = Vec::new();
    for policy in set.policies() {
        let annotation = |key| {
            policy
                .annotation(key)
                .map(str::trim)
                .filter(|text| !text.is_empty())
        };
        let Some(id) = annotation("id") else {
            return refused(
                source.offset_of(policy),
                "this policy has no @id(\"...\") to name it in the audit log",
            );
        };
        if annotation("rule").is_none() {
            return refused(
                source.offset_of(policy),
                "this policy has no @rule(\"...\") to tell to the asker",
            );
        }
        policies.push(policy.new_id(PolicyId::new(id)));
    }
    Ok(policies)
}

/// Strict validation; a warning (a condition that can never hold, say) refuses the set as well.
fn validate(policy: &Policy, source: &Source<'_>, schema: &Schema) -> Result<(), PolicyError> {
    let alone = PolicySet::from_policies([policy.clone()]).map_err(|error| PolicyError::Policy {
        diagnostic: source.render(&error),
    })?;
    let result = Validator::new(schema.clone()).validate(&alone, ValidationMode::Strict);
    let found: Vec<String> = result
        .validation_errors()
        .map(|error| source.render(error))
        .chain(result.validation_warnings().map(|warning| source.render(warning)))
        .collect();
    if found.is_empty() {
        Ok(())
    } else {
        Err(PolicyError::Policy {
            diagnostic: found.join("\n"),
        })
    }
}
