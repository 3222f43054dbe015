//! The query role: the only process with the network. It authenticates clients by mutual TLS, relays
//! their signed requests to the supervisor, and streams sealed datasets out.
//!
//! Holds the network, the node's TLS key, sealed datasets and request metadata. Must never hold packets,
//! views, guests, a sealing or signing key: whoever takes this process over reads no packet and speaks
//! for nobody. `tokio`, `hyper` and `rustls` live in this folder only.
//!
//! | path | method | question to the supervisor |
//! |---|---|---|
//! | `/v1/requests` | POST, one `SignedRequest`, `application/x-capnp` | `request` |
//! | `/v1/queries/{id}` | GET | `state` |
//! | `/v1/queries/{id}/result` | GET, with `Range`, `If-Range` | `result`: a descriptor, streamed |
//! | `/v1/status`, `/v1/catalog`, `/v1/node` | GET | the same |
//!
//! The operator's monitoring asks another socket, on a loopback address and without a name: `metrics`.
//!
//! Errors are RFC 9457 problem details; their `type` is in [`problem`]. Every limit is in [`limits`].

mod admission;
mod body;
mod error;
mod identity;
pub mod limits;
mod metrics;
mod port;
pub mod problem;
mod range;
mod routes;
mod server;
mod start;
mod tls;
mod transfer;
mod trust;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::mpsc;

pub use error::QueryError;
pub use identity::SpiffeId;
pub use limits::Limits;
pub use port::{Command, NoReply, PortWriter, Question, Reply, SupervisorPort};
pub use server::serve;
pub use start::{StartParameters, bind};
pub use tls::Tls;
pub use trust::AuthorityParameters;

use crate::link::{LinkReceiver, LinkSender};

/// Threads of the network side: encryption of results is what takes time.
const WORKERS: usize = 2;
/// Threads that read sealed datasets from disk.
const FILE_READERS: usize = 8;

/// Runs the role until the supervisor says stop (drained: `Ok`) or goes away.
///
/// The first message of the link has been read (it became `start`), the sandbox is in force and `ready`
/// was said. This role reads from now on, and says `stopped` itself.
pub fn run(
    control_sender: LinkSender,
    control_receiver: LinkReceiver,
    mut start: StartParameters,
) -> Result<(), QueryError> {
    let no_runtime = |source| QueryError::System {
        what: "the network runtime",
        source,
    };
    let tls = Tls::new(&start.certificate_pem, &start.key_pem, &start.authorities)?;
    let listener = match start.listener.take() {
        Some(listener) => listener,
        None => bind("query", &start.listen)?,
    };
    listener.set_nonblocking(true).map_err(no_runtime)?;
    let for_metrics = start.metrics_listener.take();
    if let Some(listener) = &for_metrics {
        listener.set_nonblocking(true).map_err(no_runtime)?;
    }
    let limits = Limits::default();
    let (port, writer, commands) = SupervisorPort::start(control_sender, control_receiver, &limits)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(FILE_READERS)
        .thread_name("query")
        .enable_io()
        .enable_time()
        .build()
        .map_err(no_runtime)?;
    let address = listener.local_addr().map_err(no_runtime)?;
    tracing::info!(%address, node = %start.node, "listening");
    drop(start);
    let ended = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(no_runtime)?;
        let for_metrics = for_metrics
            .map(tokio::net::TcpListener::from_std)
            .transpose()
            .map_err(no_runtime)?
            .map(|listener| tokio::spawn(metrics::serve(listener, port.clone())));
        let ended = operate(listener, Arc::new(tls), port.clone(), limits, commands).await;
        if let Some(serving) = for_metrics {
            // Its clone of the port must not outlive this one: the link's writer ends with the last.
            serving.abort();
            let _ = serving.await;
        }
        Ok::<_, QueryError>(ended)
    });
    // Blocking reads that hang must not keep a stopped role alive.
    runtime.shutdown_background();
    match ended? {
        Ended::Stopped => {
            port.close(writer);
            Ok(())
        }
        Ended::Gone(error) => error.map_or(Ok(()), Err),
    }
}

/// Why the role ended.
enum Ended {
    Stopped,
    Gone(Option<QueryError>),
}

/// Serves while carrying out the supervisor's commands.
async fn operate(
    listener: tokio::net::TcpListener,
    tls: Arc<Tls>,
    port: SupervisorPort,
    limits: Limits,
    mut commands: mpsc::Receiver<Command>,
) -> Ended {
    let mut ended = Ended::Gone(None);
    let stop = async {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Trust(authorities) => match tls.reload(&authorities) {
                    Ok(()) => tracing::info!(authorities = authorities.len(), "trust reloaded"),
                    // The old list stays in force, and the operator hears of it.
                    Err(error) => port.report(&error),
                },
                Command::Stop => {
                    ended = Ended::Stopped;
                    break;
                }
                Command::Gone(error) => {
                    ended = Ended::Gone(error);
                    break;
                }
            }
        }
    };
    if !serve(listener, tls.clone(), port.clone(), limits, stop).await {
        tracing::warn!("answers were cut at the end of the drain");
    }
    ended
}
