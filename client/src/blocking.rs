//! The client for programs that are not asynchronous: `como` itself, and tests.
//!
//! Owns a runtime of one thread; must never add behaviour of its own.

use std::future::Future;
use std::path::Path;

use crate::answer::{Catalog, Explained, QueryState};
use crate::client::{self, Event};
use crate::error::{ClientError, Result};
use crate::keys::Bundle;
use crate::profile::Profile;
use crate::request::{self, Ask};

/// A node, as one principal sees it; every call blocks.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    client: client::Client,
}

impl Client {
    /// See [`client::Client::new`].
    pub fn new(bundle: &Bundle, profile: &Profile) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ClientError::File {
            path: "the event loop".into(),
            doing: "started",
            source: error,
            fix: "check the limits on open files (`ulimit -n`)",
        })?;
        Ok(Self {
            client: client::Client::new(bundle, profile)?,
            runtime,
        })
    }

    /// See [`client::Client::ask`].
    pub fn ask(&self, ask: &Ask) -> Result<serde_json::Value> {
        self.runtime.block_on(self.client.ask(ask))
    }

    /// See [`client::Client::query`].
    pub fn query(&self, query: request::Query) -> Result<QueryState> {
        self.runtime.block_on(self.client.query(query))
    }

    /// See [`client::Client::trace`].
    pub fn trace(&self, trace: request::Trace) -> Result<QueryState> {
        self.runtime.block_on(self.client.trace(trace))
    }

    /// See [`client::Client::explain`].
    pub fn explain(&self, ask: &Ask) -> Result<Explained> {
        self.runtime.block_on(self.client.explain(ask))
    }

    /// See [`client::Client::submit`].
    pub fn submit(&self, module: Vec<u8>) -> Result<serde_json::Value> {
        self.runtime.block_on(self.client.submit(module))
    }

    /// See [`client::Client::state`].
    pub fn state(&self, id: &str) -> Result<QueryState> {
        self.runtime.block_on(self.client.state(id))
    }

    /// See [`client::Client::status`].
    pub fn status(&self) -> Result<serde_json::Value> {
        self.runtime.block_on(self.client.status())
    }

    /// See [`client::Client::catalog`].
    pub fn catalog(&self) -> Result<Catalog> {
        self.runtime.block_on(self.client.catalog())
    }

    /// See [`client::Client::wait`]; Ctrl-C ends it with [`ClientError::Interrupted`].
    pub fn wait(&self, id: &str, on_event: &mut dyn FnMut(Event<'_>)) -> Result<QueryState> {
        self.runtime
            .block_on(interruptible(id, self.client.wait(id, on_event)))
    }

    /// See [`client::Client::download`]; Ctrl-C ends it with [`ClientError::Interrupted`].
    pub fn download(&self, id: &str, out: &Path, on_event: &mut dyn FnMut(Event<'_>)) -> Result<u64> {
        self.runtime
            .block_on(interruptible(id, self.client.download(id, out, on_event)))
    }
}

async fn interruptible<T>(id: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(ClientError::Interrupted {
            fix: format!("query {id} goes on at the node: `como fetch {id} -o FILE` gets it, `como cancel {id}` stops it"),
        }),
    }
}
