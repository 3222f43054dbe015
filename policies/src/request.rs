//! An [`Ask`] as Cedar's request and entities, validated against the schema. Must never fill in a fact that
//! the caller did not give in a way that permits more; an ask that contradicts itself is refused.

use crate::{
    AccessLevel, Action, Ask, DeveloperFacts, ModuleFacts, Principal, Resource, SystemMode, TraceFacts,
};
use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression as Value,
    Schema,
};
use std::collections::{HashMap, HashSet};
use std::str::FromStr;

const NS_PER_SECOND: u64 = 1_000_000_000;
const MINUTES_PER_DAY: u64 = 24 * 60;

pub(crate) struct Prepared {
    pub request: Request,
    pub entities: Entities,
}

/// The reason of a refusal is for the operator.
pub(crate) fn prepare(ask: &Ask<'_>, mode: SystemMode, schema: &Schema) -> Result<Prepared, String> {
    consistent(ask)?;
    let mut entities = Vec::new();
    let principal = principal_entities(ask.principal, &mut entities)?;
    let resource = resource_entities(ask, &mut entities)?;
    let action = uid("Action", ask.action.name())?;
    let context = Context::from_pairs(context(ask, mode)?).map_err(|error| error.to_string())?;
    let request = Request::new(principal, action, resource, context, Some(schema))
        .map_err(|error| format!("the request does not fit the schema: {error}"))?;
    let entities = Entities::from_entities(entities, Some(schema))
        .map_err(|error| format!("the facts do not fit the schema: {error}"))?;
    Ok(Prepared { request, entities })
}

/// The same fact given twice must be the same: else the decision would be about something else than is done.
fn consistent(ask: &Ask<'_>) -> Result<(), String> {
    match ask.resource {
        Resource::Trace(trace) => {
            if ask.level.is_some_and(|level| level != trace.level) {
                return Err("the ask names another level than its trace resource".to_owned());
            }
            if ask.window.is_some_and(|window| window != trace.window) {
                return Err("the ask names another window than its trace resource".to_owned());
            }
        }
        Resource::Module(module) => {
            if let Some(principal) = developer_facts(ask.principal)
                && principal.id == module.developer.id
                && principal != module.developer
            {
                return Err("the ask gives its developer two sets of facts".to_owned());
            }
        }
        Resource::Node => {}
    }
    Ok(())
}

fn developer_facts(principal: &Principal) -> Option<DeveloperFacts> {
    match principal {
        Principal::Developer {
            id,
            ceiling,
            output_ceiling,
            key_revoked,
            ..
        } => Some(DeveloperFacts {
            id: id.clone(),
            ceiling: *ceiling,
            output_ceiling: *output_ceiling,
            key_revoked: *key_revoked,
        }),
        _ => None,
    }
}

fn principal_entities(principal: &Principal, entities: &mut Vec<Entity>) -> Result<EntityUid, String> {
    match principal {
        Principal::Operator { id } => add(entities, "Operator", id, [], []),
        Principal::Developer {
            id,
            organisation,
            ceiling,
            output_ceiling,
            key_revoked,
        } => {
            let organisation = add(entities, "Organisation", organisation, [], [])?;
            add(
                entities,
                "Developer",
                id,
                developer_attributes(*ceiling, *output_ceiling, *key_revoked),
                [organisation],
            )
        }
        Principal::Partner {
            id,
            organisation,
            project,
            ceiling,
            may_plug_in,
            suspended,
            listed,
        } => {
            let organisation = add(entities, "Organisation", organisation, [], [])?;
            // A project belongs to its organisation: two organisations may use one name.
            let project_id = format!("{}/{project}", organisation.id().unescaped());
            let project = add(entities, "Project", &project_id, [], [organisation.clone()])?;
            let attributes = [
                ("ceiling", level(*ceiling)),
                ("mayPlugIn", Value::new_bool(*may_plug_in)),
                ("suspended", Value::new_bool(*suspended)),
                ("listed", Value::new_bool(*listed)),
            ];
            add(entities, "Partner", id, attributes, [organisation, project])
        }
    }
}

fn resource_entities(ask: &Ask<'_>, entities: &mut Vec<Entity>) -> Result<EntityUid, String> {
    match ask.resource {
        Resource::Node => add(entities, "Node", "this", [], []),
        Resource::Trace(trace) => add(entities, "Trace", "this", trace_attributes(trace), []),
        Resource::Module(module) => {
            let DeveloperFacts {
                id,
                ceiling,
                output_ceiling,
                key_revoked,
            } = &module.developer;
            let same = developer_facts(ask.principal).is_some_and(|principal| principal.id == *id);
            let developer = if same {
                uid("Developer", id)?
            } else {
                add(
                    entities,
                    "Developer",
                    id,
                    developer_attributes(*ceiling, *output_ceiling, *key_revoked),
                    [],
                )?
            };
            add(
                entities,
                "Module",
                &module.hash_hex,
                module_attributes(module, developer),
                [],
            )
        }
    }
}

fn developer_attributes(
    ceiling: AccessLevel,
    output_ceiling: AccessLevel,
    key_revoked: bool,
) -> [(&'static str, Value); 3] {
    [
        ("ceiling", level(ceiling)),
        ("outputCeiling", level(output_ceiling)),
        ("keyRevoked", Value::new_bool(key_revoked)),
    ]
}

fn module_attributes(module: &ModuleFacts, developer: EntityUid) -> [(&'static str, Value); 7] {
    [
        ("name", Value::new_string(module.name.clone())),
        ("developer", Value::new_entity_uid(developer)),
        ("level", level(module.level)),
        ("outputLevel", level(module.output_level)),
        ("installed", Value::new_bool(module.installed)),
        ("blacklisted", Value::new_bool(module.blacklisted)),
        ("endorsed", Value::new_bool(module.endorsed)),
    ]
}

fn trace_attributes(trace: &TraceFacts) -> [(&'static str, Value); 6] {
    [
        ("level", level(trace.level)),
        ("fromNs", long(trace.window.from_ns)),
        ("toNs", long(trace.window.to_ns)),
        ("coverageFromNs", long(trace.trace_coverage.from_ns)),
        ("coverageToNs", long(trace.trace_coverage.to_ns)),
        ("bytesEstimated", long(trace.bytes_estimated)),
    ]
}

fn context(ask: &Ask<'_>, mode: SystemMode) -> Result<Vec<(String, Value)>, String> {
    let implied = match ask.resource {
        Resource::Module(module) => module.output_level,
        Resource::Trace(trace) => trace.level,
        Resource::Node => AccessLevel::Aggregate,
    };
    let window = match ask.resource {
        Resource::Trace(trace) => Some(trace.window),
        _ => ask.window,
    };
    let (from_ns, to_ns) = window.map_or((0, 0), |window| (window.from_ns, window.to_ns));
    let minute_of_day = ask.now_ns / (60 * NS_PER_SECOND) % MINUTES_PER_DAY;
    Ok([
        ("mode", Value::new_entity_uid(uid("Mode", mode.name())?)),
        ("level", level(ask.level.unwrap_or(implied))),
        ("fromNs", long(from_ns)),
        ("toNs", long(to_ns)),
        ("windowSeconds", long((to_ns - from_ns).div_ceil(NS_PER_SECOND))),
        ("costBytes", long(ask.cost_bytes)),
        ("nowNs", long(ask.now_ns)),
        ("minuteOfDay", long(minute_of_day)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into())
}

fn level(level: AccessLevel) -> Value {
    Value::new_long(i64::from(level.as_u8()))
}

/// Cedar's numbers are i64. Larger ones become the largest: for a cost or a time that refuses more, not less.
fn long(number: u64) -> Value {
    Value::new_long(i64::try_from(number).unwrap_or(i64::MAX))
}

fn add<const A: usize, const P: usize>(
    entities: &mut Vec<Entity>,
    kind: &str,
    id: &str,
    attributes: [(&'static str, Value); A],
    parents: [EntityUid; P],
) -> Result<EntityUid, String> {
    let uid = uid(kind, id)?;
    let attributes: HashMap<_, _> = attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let entity =
        Entity::new(uid.clone(), attributes, HashSet::from(parents)).map_err(|error| error.to_string())?;
    entities.push(entity);
    Ok(uid)
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind = EntityTypeName::from_str(&format!("Como::{kind}")).map_err(|error| error.to_string())?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

impl Action {
    /// The action in a sentence: "permits you to ...".
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            Self::SubmitModule => "submit modules",
            Self::StartModule => "start this module",
            Self::StopModule => "stop this module",
            Self::PauseModule => "pause this module",
            Self::ResumeModule => "let this module go on",
            Self::QueryStatic => "have this module's results pushed",
            Self::QueryOnDemand => "run this module on demand",
            Self::QueryAdHoc => "ask ad-hoc queries",
            Self::DownloadTrace => "download the trace",
            Self::SendTo => "have datasets sent",
            Self::ReadRecords => "read this module's records",
            Self::Revoke => "withdraw this module",
            Self::Administer => "administer the node",
            Self::Status => "see the node's status",
        }
    }
}
