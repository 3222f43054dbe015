//! What the supervisor gives this role to begin with. The TLS key is in it: no Debug, wiped when dropped.

use std::net::{SocketAddr, TcpListener};

use como_capnp::wire_capnp::{query_start, trust};
use zeroize::Zeroizing;

use super::error::QueryError;
use super::trust::AuthorityParameters;

/// Everything that the query role starts with.
pub struct StartParameters {
    /// `[query] listen`: address and port.
    pub listen: String,
    /// The node's TLS certificate chain, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM.
    pub key_pem: Zeroizing<String>,
    /// Who may connect.
    pub authorities: Vec<AuthorityParameters>,
    /// The node's SPIFFE id, for the log.
    pub node: String,
    /// The listening socket, where it was bound before the sandbox; `None`: [`super::run`] binds.
    pub listener: Option<TcpListener>,
    /// `[metrics] listen`; empty: nobody is told.
    pub metrics: String,
    /// Its socket, where it was bound before the sandbox.
    pub metrics_listener: Option<TcpListener>,
}

impl StartParameters {
    /// Reads the supervisor's first message.
    pub fn read(start: query_start::Reader<'_>) -> Result<Self, QueryError> {
        Ok(StartParameters {
            listen: text(start.get_listen()?)?,
            certificate_pem: text(start.get_certificate()?)?,
            key_pem: Zeroizing::new(text(start.get_key()?)?),
            authorities: read_trust(start.get_trust()?)?,
            node: text(start.get_node()?)?,
            listener: None,
            metrics: text(start.get_metrics()?)?,
            metrics_listener: None,
        })
    }

    /// Binds the listening sockets now, so that a sandbox without `bind` can follow.
    pub fn bind(&mut self) -> Result<(), QueryError> {
        self.listener = Some(bind("query", &self.listen)?);
        if !self.metrics.is_empty() {
            self.metrics_listener = Some(bind("metrics", &self.metrics)?);
        }
        Ok(())
    }
}

/// Binds `listen` (`address:port`), which stands in this section of the configuration.
pub fn bind(section: &'static str, listen: &str) -> Result<TcpListener, QueryError> {
    let refused = |why: String| QueryError::Listen {
        section,
        listen: listen.to_string(),
        why,
    };
    let address: SocketAddr = listen
        .parse()
        .map_err(|_| refused("it is not address:port".to_string()))?;
    TcpListener::bind(address).map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => QueryError::PortInUse {
            section,
            listen: listen.to_string(),
        },
        _ => refused(e.to_string()),
    })
}

/// Reads a list of authorities.
pub(super) fn read_trust(trust: trust::Reader<'_>) -> Result<Vec<AuthorityParameters>, capnp::Error> {
    trust
        .get_authorities()?
        .iter()
        .map(|entry| {
            Ok(AuthorityParameters {
                domain: text(entry.get_domain()?)?,
                certificate_pem: text(entry.get_certificate()?)?,
                revocations_pem: text(entry.get_revocations()?)?,
            })
        })
        .collect()
}

fn text(reader: capnp::text::Reader<'_>) -> Result<String, capnp::Error> {
    Ok(reader.to_str()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_names_the_address_and_the_key_of_the_configuration() {
        let taken = bind("query", "127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap().to_string();
        let text = bind("query", &listen).unwrap_err().to_string();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.contains(&listen) && text.contains("[query] listen"),
            "{text}"
        );
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_two_lines() {
        for bad in ["", "localhost", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:0"] {
            let text = bind("query", bad).unwrap_err().to_string();
            assert_eq!(text.lines().count(), 2, "{text}");
        }
    }
}
