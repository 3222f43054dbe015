//! What comes from the network: each ask gets exactly one answer, now or when its work is done.

use std::os::fd::OwnedFd;

use como_capnp::wire_capnp as wire;
use como_keys::signing::VerifyingKey;

use super::answers::{Refusal, Reply};
use super::audit::Event;
use super::children::ChildId;
use super::requests::{self, Request};
use super::{Supervisor, now_ns};
use crate::wire::{down, text};

/// Where an answer goes: the query process, and its number for the ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskId {
    pub query: ChildId,
    pub number: u64,
}

/// What becomes of an ask.
pub(super) enum Outcome {
    /// Answered now.
    Reply(Reply),
    /// Answered by somebody who keeps the [`AskId`].
    Later,
}

impl Supervisor {
    /// Takes one ask of the query process.
    pub(super) fn ask(&mut self, from: ChildId, ask: wire::ask::Reader<'_>) -> capnp::Result<()> {
        use wire::ask::Which;
        let id = AskId {
            query: from,
            number: ask.get_id(),
        };
        let asker = text(ask.get_asker())?;
        match ask.which()? {
            Which::Request(signed) => {
                let outcome = self.request(id, &asker, ask.get_not_after_ns(), signed?);
                match outcome {
                    Ok(Outcome::Reply(reply)) => self.answer(id, &reply),
                    Ok(Outcome::Later) => {}
                    Err(refusal) => self.refuse(id, &asker, &refusal),
                }
            }
            Which::State(query) => {
                let query = query?.to_str()?;
                let reply = self
                    .registered(&asker)
                    .and_then(|()| self.job_state(&asker, query))
                    .unwrap_or_else(|r| r.reply());
                self.answer(id, &reply);
            }
            Which::Result(query) => self.answer_result(id, &asker, query?.to_str()?),
            Which::Status(()) => {
                let reply = self
                    .registered(&asker)
                    .map_or_else(|r| r.reply(), |()| self.status_reply(&asker));
                self.answer(id, &reply);
            }
            Which::Catalog(()) => {
                let reply = self
                    .registered(&asker)
                    .map_or_else(|r| r.reply(), |()| self.catalog_reply(&asker));
                self.answer(id, &reply);
            }
            Which::Metrics(()) => {
                let metrics = self.metrics();
                self.answer_bytes(id, 200, metrics.as_bytes(), None, "");
            }
            Which::Node(()) => {
                let reply = self.node_reply();
                self.answer(id, &reply);
            }
        }
        Ok(())
    }

    /// `until_ns`: when the certificate expires that the asker came with.
    fn request(&mut self, id: AskId, asker: &str, until_ns: u64, signed: &[u8]) -> Result<Outcome, Refusal> {
        let registry = &self.registry;
        let keys = |asker: &str| request_keys(registry, asker);
        let node = self.config.node.name.as_str();
        let request = requests::authenticate(signed, asker, node, keys, now_ns(), &mut self.nonces)?;
        self.registered(asker)?;
        self.prolong_wishes(asker, until_ns);
        let reply = match request {
            Request::SubmitModule(file) => return self.submit_module(id, asker, file),
            Request::StartModule(name, arguments) => self.start_module(asker, &name, &arguments, until_ns)?,
            Request::SteerModule(name, steer) => self.steer_module(asker, &name, steer)?,
            Request::ListModules => self.modules_reply(asker)?,
            Request::RevokeModule(name) => self.revoke_module(asker, &name)?,
            Request::Query(asked) => return self.ask_query(id, asker, *asked),
            Request::Trace(asked) => self.ask_trace(asker, *asked)?,
            Request::QueryState(query) => self.job_state(asker, &query)?,
            Request::Cancel(query) => self.cancel(asker, &query)?,
            Request::Catalog => self.catalog_reply(asker),
            Request::Status => self.status_reply(asker),
        };
        Ok(Outcome::Reply(reply))
    }

    /// Whether this node answers somebody at all, also about what was asked and computed before: access
    /// that is withdrawn is withdrawn at once.
    fn registered(&self, asker: &str) -> Result<(), Refusal> {
        match self.registry.developer(asker) {
            Some((_, developer)) if !developer.revoked => Ok(()),
            _ => self.served(asker),
        }
    }

    /// The same for data: only partners may have any.
    pub(super) fn served(&self, asker: &str) -> Result<(), Refusal> {
        match self.registry.partner(asker) {
            Some((_, partner)) if partner.suspended && !partner.revoked => Err(Refusal::Denied {
                rule: "You are suspended on this node; ask its operator.".into(),
                policies: vec!["guard-suspended".into()],
            }),
            Some((_, partner)) if !partner.revoked => Ok(()),
            _ => Err(Refusal::Unknown(format!(
                "{asker} is not (or no longer) served by this node"
            ))),
        }
    }

    /// Refuses an ask; the audit log has the refusal even where no policy was asked.
    pub(super) fn refuse(&mut self, id: AskId, asker: &str, refusal: &Refusal) {
        if !matches!(refusal, Refusal::Denied { .. }) {
            // A refused filter is quoted in its refusal: hosts do not belong into the log.
            let detail = if matches!(refusal, Refusal::BadFilter(_)) {
                ""
            } else {
                refusal.detail()
            };
            self.log(&Event::Refused {
                asker,
                kind: refusal.kind(),
                detail,
            });
        }
        self.answer(id, &refusal.reply());
    }

    /// Sends an answer of JSON.
    pub(super) fn answer(&mut self, id: AskId, reply: &Reply) {
        let body = serde_json::to_vec(&reply.body).unwrap_or_default();
        self.answer_bytes(id, reply.status, &body, None, "");
    }

    /// Sends an answer, perhaps with a dataset.
    pub(super) fn answer_bytes(
        &mut self,
        id: AskId,
        status: u16,
        body: &[u8],
        file: Option<OwnedFd>,
        etag: &str,
    ) {
        let message = down(|down| {
            let mut answer = down.init_answer();
            answer.set_id(id.number);
            answer.set_status(status);
            answer.set_body(body);
            answer.set_file(file.is_some());
            answer.set_etag(etag);
        });
        self.children
            .send_with(id.query, message, file.into_iter().collect());
    }
}

/// Keys that may sign requests of this SPIFFE id; none where it is unknown or revoked.
fn request_keys(registry: &crate::registry::Registry, asker: &str) -> Vec<VerifyingKey> {
    let partner = registry
        .partner(asker)
        .filter(|(_, p)| !p.revoked)
        .map(|(_, p)| p.request_key.as_str());
    let developer = registry
        .developer(asker)
        .filter(|(_, d)| !d.revoked)
        .map(|(_, d)| d.request_key.as_str());
    partner
        .into_iter()
        .chain(developer)
        .filter_map(|hex| VerifyingKey::from_hex(hex).ok())
        .collect()
}
