//! Orders of the operator: what they do to a running node, and what it answers. Must never tell more than who runs what, over
//! which window, and how far it is.

use como_keys::KeyError;
use como_keys::keyring::Keyring;
use como_keys::root::RootSecret;
use serde_json::{Value, json};

use super::Supervisor;
use crate::admin::{AdminError, DestroyOrder, Order, Outcome, forget_answers, take_orders};
use crate::config::Layout;

/// Carries out what was left for the next start: keys are destroyed; what an earlier run was told to stop ended with it.
pub(super) fn take_at_start(
    layout: &Layout,
    root: &RootSecret,
    keyring: &mut Keyring,
) -> Result<(), AdminError> {
    forget_answers(layout)?;
    take_orders(layout, |order| match order {
        Order::Destroy(order) => destroy(layout, root, keyring, order),
        Order::List | Order::StopRun(_) | Order::CancelQuery(_) => Ok(refused(
            "the node has started anew meanwhile",
            "look what runs now, and say it again",
        )),
    })
}

fn destroy(
    layout: &Layout,
    root: &RootSecret,
    keyring: &mut Keyring,
    order: DestroyOrder,
) -> Result<Outcome, KeyError> {
    keyring.destroy_epoch(order.epoch, order.what());
    keyring.save(&layout.keyring(), root)?;
    Ok(Outcome::Done(Value::Null))
}

pub(super) fn refused(what: impl Into<String>, fix: impl Into<String>) -> Outcome {
    Outcome::Refused {
        what: what.into(),
        fix: fix.into(),
    }
}

impl Supervisor {
    /// Carries out the orders that lie there.
    pub(super) fn take_orders(&mut self) -> Result<(), AdminError> {
        let layout = self.layout.clone();
        take_orders(&layout, |order| match order {
            Order::Destroy(order) => {
                let done = destroy(&self.layout, &self.root, &mut self.keyring, order)?;
                self.end_holders(order);
                Ok(done)
            }
            Order::List => Ok(Outcome::Done(json!({
                "runs": self.listed_runs(),
                "queries": self.jobs.listed(),
            }))),
            Order::StopRun(run) => Ok(self.stop_run_by_order(run)),
            Order::CancelQuery(id) => Ok(self.cancel_by_order(&id)),
        })
    }

    fn listed_runs(&self) -> Vec<Value> {
        let runs = self.live.iter().map(|(id, run)| {
            let arguments = run.what.arguments.iter();
            let arguments: Vec<String> = arguments.map(|(name, value)| format!("{name}={value}")).collect();
            let wanted_by = match run.window {
                None => self.wanted_by(&run.what),
                Some(_) => self
                    .jobs
                    .of_run(id)
                    .map(|query| format!("query {query}"))
                    .into_iter()
                    .collect(),
            };
            json!({
                "instance": id,
                "module": run.name,
                "level": run.export.level,
                "audience": run.what.audience,
                "arguments": arguments.join(" "),
                "wanted_by": wanted_by,
                "packets": run.usage().packets,
                "fuel": run.usage().fuel,
            })
        });
        runs.collect()
    }
}
