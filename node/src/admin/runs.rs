//! `module list|stop` and `query list|cancel`: what runs in a running node, of whomever, and the end of one of them. Must never
//! tell what a module or a query found.

use como_keys::KeyError;
use rustix::process::Pid;
use serde::Deserialize;
use serde_json::Value;

use super::events::{AdminEvent, running_supervisor};
use super::orders::{self, Order};
use super::{AdminError, AdminNode};

/// What the supervisor tells of its runs.
#[derive(Debug, Deserialize)]
struct Listed {
    runs: Vec<ListedRun>,
    queries: Vec<ListedQuery>,
}

#[derive(Debug, Deserialize)]
struct ListedRun {
    instance: u64,
    module: String,
    level: String,
    audience: String,
    arguments: String,
    wanted_by: Vec<String>,
    packets: u64,
    fuel: u64,
}

#[derive(Debug, Deserialize)]
struct ListedQuery {
    id: String,
    what: String,
    state: String,
    asker: String,
    from_ns: u64,
    to_ns: u64,
    percent: u64,
}

/// Live runs of modules.
pub(super) fn runs(node: &AdminNode) -> Result<String, AdminError> {
    let mut lines = vec![format!(
        "{:>4} {:<32} {:<10} {:<16} {:>12} {:>16}  {:<20} WANTED BY",
        "RUN", "MODULE", "LEVEL", "AUDIENCE", "PACKETS", "FUEL", "ARGUMENTS"
    )];
    lines.extend(listed(node)?.runs.iter().map(|run| {
        let audience = if run.audience.is_empty() {
            "all"
        } else {
            &run.audience
        };
        format!(
            "{:>4} {:<32} {:<10} {audience:<16} {:>12} {:>16}  {:<20} {}",
            run.instance,
            run.module,
            run.level,
            run.packets,
            run.fuel,
            run.arguments,
            run.wanted_by.join(", ")
        )
    }));
    Ok(lines.join("\n"))
}

/// Queries that wait or run.
pub(super) fn queries(node: &AdminNode) -> Result<String, AdminError> {
    let mut lines = vec![format!(
        "{:<32} {:<20} {:<9} {:>4} {:<20} {:<20} ASKER",
        "QUERY", "WHAT", "STATE", "DONE", "FROM", "TO"
    )];
    lines.extend(listed(node)?.queries.iter().map(|query| {
        format!(
            "{:<32} {:<20} {:<9} {:>3}% {:<20} {:<20} {}",
            query.id,
            query.what,
            query.state,
            query.percent,
            super::trace::moment::shown(query.from_ns),
            super::trace::moment::shown(query.to_ns),
            query.asker
        )
    }));
    Ok(lines.join("\n"))
}

/// Ends one live run for all who want it.
pub(super) fn stop(node: &AdminNode, instance: u64) -> Result<String, AdminError> {
    let told = order(node, &Order::StopRun(instance))?;
    let module = told["module"].as_str().unwrap_or_default();
    let subject = format!("{module} {instance}");
    let detail = format!("run {instance} of {module} is stopped; whoever may can start it again");
    node.record(AdminEvent::new("module stop", &subject, "", detail.clone()))?;
    Ok(detail)
}

/// Ends one query of whomever.
pub(super) fn cancel(node: &AdminNode, query: &str) -> Result<String, AdminError> {
    let told = order(node, &Order::CancelQuery(query.to_owned()))?;
    let asker = told["asker"].as_str().unwrap_or_default();
    let detail = format!("query {query} of {asker} is cancelled");
    node.record(AdminEvent::new("query cancel", query, asker, detail.clone()))?;
    Ok(detail)
}

fn listed(node: &AdminNode) -> Result<Listed, AdminError> {
    let told = order(node, &Order::List)?;
    let listed = serde_json::from_value(told).map_err(|why| KeyError::Malformed {
        what: "the answer of the running node".to_owned(),
        why: why.to_string(),
        fix: "use one version of como-node for all",
    });
    Ok(listed?)
}

fn order(node: &AdminNode, order: &Order) -> Result<Value, AdminError> {
    let supervisor: Pid = running_supervisor(&node.layout).ok_or_else(|| {
        AdminError::refused(
            "no node runs here, so that nothing runs in it",
            "name its folder with --node, or start it with `como-node run`",
        )
    })?;
    orders::give(&node.layout, supervisor, order)
}
