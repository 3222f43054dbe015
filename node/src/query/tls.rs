//! The TLS side: TLS 1.3 only, aws-lc-rs with X25519MLKEM768 first, a client certificate always, no
//! session resumption. Holds the node's TLS key; must never hold any other.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use como_keys::pki::valid_until_der_ns;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio::sync::Notify;

use super::error::QueryError;
use super::identity::SpiffeId;
use super::trust::{AuthorityParameters, Trust};

/// The node's certificate and the authorities in force, which can be replaced while serving.
pub struct Tls {
    provider: Arc<CryptoProvider>,
    certificate: Arc<CertifiedKey>,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    /// Counts the reloads: what was checked under an older one is checked again.
    generation: u64,
    trust: Arc<Trust>,
    config: Arc<rustls::ServerConfig>,
}

impl Tls {
    /// The TLS side from PEM: the node's chain and key, and the authorities.
    pub fn new(
        certificate_pem: &str,
        key_pem: &str,
        authorities: &[AuthorityParameters],
    ) -> Result<Self, QueryError> {
        let provider = Arc::new(provider());
        let certificate = Arc::new(certificate(certificate_pem, key_pem, &provider)?);
        let trust = Arc::new(Trust::load(authorities, &provider)?);
        let config = config(&provider, &certificate, &trust)?;
        let current = RwLock::new(Current {
            generation: 0,
            trust,
            config,
        });
        Ok(Tls {
            provider,
            certificate,
            current,
        })
    }

    /// Puts new authorities and revocation lists in force, also for connections that are open. On error
    /// the old ones stay.
    pub fn reload(&self, authorities: &[AuthorityParameters]) -> Result<(), QueryError> {
        let trust = Arc::new(Trust::load(authorities, &self.provider)?);
        // A fresh configuration, never a clone of the old: a clone shares its session store, through
        // which a revoked client could resume.
        let config = config(&self.provider, &self.certificate, &trust)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current {
            generation: current.generation + 1,
            trust,
            config,
        };
        Ok(())
    }

    /// The configuration for the next handshake.
    pub fn config(&self) -> Arc<rustls::ServerConfig> {
        self.current().config
    }

    fn current(&self) -> Current {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The client of one connection, whose certificate is checked again as long as the connection lives.
pub struct Client {
    identity: SpiffeId,
    chain: Vec<CertificateDer<'static>>,
    /// When its certificate expires, ns since the Unix epoch.
    until_ns: u64,
    tls: Arc<Tls>,
    /// Generation and second of the last check that passed: certificates change by whole seconds.
    passed: Mutex<(u64, u64)>,
    abandoned: Notify,
}

impl Client {
    /// The client that just finished a handshake with this chain.
    pub fn new(tls: Arc<Tls>, chain: Vec<CertificateDer<'static>>) -> Result<Self, rustls::Error> {
        let now = UnixTime::now();
        let current = tls.current();
        let identity = current.trust.identify(&chain, now)?;
        let passed = Mutex::new((current.generation, now.as_secs()));
        let until_ns = chain
            .first()
            .and_then(|leaf| valid_until_der_ns(leaf))
            .unwrap_or(0);
        Ok(Client {
            identity,
            until_ns,
            chain,
            tls,
            passed,
            abandoned: Notify::new(),
        })
    }

    /// Who it is.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// When its certificate expires, ns since the Unix epoch.
    pub fn until_ns(&self) -> u64 {
        self.until_ns
    }

    /// Gives the connection up at once, with everything on it: its reader is too slow to be told.
    pub fn abandon(&self) {
        self.abandoned.notify_one();
    }

    /// Ready once the connection was given up.
    pub async fn abandoned(&self) {
        self.abandoned.notified().await;
    }

    /// Whether its certificate is still good: not expired, not revoked, its authority still pinned.
    pub fn still_good(&self, now: UnixTime) -> Result<(), rustls::Error> {
        let current = self.tls.current();
        let moment = (current.generation, now.as_secs());
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if *passed != moment {
            current.trust.identify(&self.chain, now)?;
            *passed = moment;
        }
        Ok(())
    }
}

/// aws-lc-rs by name (two providers in one build make the implicit choice ambiguous), the post-quantum
/// hybrid first.
fn provider() -> CryptoProvider {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    CryptoProvider {
        kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1],
        ..aws_lc_rs::default_provider()
    }
}

fn certificate(
    certificate_pem: &str,
    key_pem: &str,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, QueryError> {
    let bad = |why: String| QueryError::ServerCertificate(why);
    let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad(format!("the certificate is not PEM: {e}")))?;
    if chain.is_empty() {
        return Err(bad("the certificate file holds no certificate".to_string()));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|e| bad(format!("the key is not PEM: {e}")))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|e| bad(e.to_string()))
}

fn config(
    provider: &Arc<CryptoProvider>,
    certificate: &Arc<CertifiedKey>,
    trust: &Arc<Trust>,
) -> Result<Arc<rustls::ServerConfig>, QueryError> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| QueryError::ServerCertificate(e.to_string()))?
        .with_client_cert_verifier(trust.clone())
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.clone())));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
