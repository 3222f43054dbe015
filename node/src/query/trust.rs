//! Whom this node lets in: one verifier per pinned authority, so that an authority can speak for its own
//! trust domain only. Must never trust a name that the authority of that very domain has not signed.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use super::error::QueryError;
use super::identity::{SpiffeId, is_trust_domain};

/// One pinned authority, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityParameters {
    /// The SPIFFE trust domain that it may speak for.
    pub domain: String,
    /// Its certificates, PEM.
    pub certificate_pem: String,
    /// Its revocation lists, PEM; empty: it revokes nothing.
    pub revocations_pem: String,
}

/// The authorities in force.
#[derive(Debug)]
pub struct Trust {
    authorities: Vec<Authority>,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Authority {
    domain: String,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// Reads the authorities; one that cannot be used refuses the whole list.
    pub fn load(list: &[AuthorityParameters], provider: &Arc<CryptoProvider>) -> Result<Self, QueryError> {
        if list.is_empty() {
            return Err(QueryError::NoAuthority);
        }
        let mut hints = Vec::new();
        let mut authorities = Vec::with_capacity(list.len());
        for entry in list {
            let verifier = verifier(entry, provider).map_err(|why| QueryError::Authority {
                domain: entry.domain.clone(),
                why,
            })?;
            hints.extend_from_slice(verifier.root_hint_subjects());
            authorities.push(Authority {
                domain: entry.domain.clone(),
                verifier,
            });
        }
        Ok(Trust {
            authorities,
            hints,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Who the chain (end entity first) speaks for at `now`: everything that the handshake checks except
    /// possession of the key, so that it can be asked again for every request.
    pub fn identify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<SpiffeId, rustls::Error> {
        let (end_entity, intermediates) = chain
            .split_first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        let id = SpiffeId::of_certificate(end_entity).map_err(refused)?;
        // Two authorities of one domain: an old and a new one, while a consortium changes over.
        let mut result = Err(refused("its trust domain is not one that this node trusts"));
        for authority in self.authorities.iter().filter(|a| a.domain == id.trust_domain()) {
            result = authority
                .verifier
                .verify_client_cert(end_entity, intermediates, now)
                .map(|_| ());
            if result.is_ok() {
                break;
            }
        }
        result.map(|()| id)
    }
}

/// The verifier of one authority, with its own roots and nobody else's.
fn verifier(
    entry: &AuthorityParameters,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    if !is_trust_domain(&entry.domain) {
        return Err("it is not a trust domain name (lower-case letters, digits, `.`, `-`, `_`)".to_string());
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(entry.certificate_pem.as_bytes()) {
        let certificate = certificate.map_err(|e| format!("its certificate is not PEM: {e}"))?;
        roots
            .add(certificate)
            .map_err(|e| format!("its certificate is not a CA's: {e}"))?;
    }
    if roots.is_empty() {
        return Err("its certificate file holds no certificate".to_string());
    }
    let crls = CertificateRevocationListDer::pem_slice_iter(entry.revocations_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("its revocation list is not PEM: {e}"))?;
    if crls.is_empty() && !entry.revocations_pem.trim().is_empty() {
        return Err("its revocation list file holds no revocation list".to_string());
    }
    // The whole chain is checked, an unknown status refuses, and so does a list past its next update:
    // rustls accepts expired lists unless told otherwise.
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .with_crls(crls)
        .enforce_revocation_expiration()
        .build()
        .map_err(|e| format!("its certificate or revocation list cannot be used: {e}"))
}

/// The reason why a certificate that is formally sound names nobody.
#[derive(Debug)]
struct NotAnIdentity(&'static str);

impl std::fmt::Display for NotAnIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotAnIdentity {}

fn refused(why: &'static str) -> rustls::Error {
    let other = rustls::OtherError(Arc::new(NotAnIdentity(why)));
    rustls::Error::InvalidCertificate(CertificateError::Other(other))
}

impl ClientCertVerifier for Trust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity)
            .chain(intermediates)
            .cloned()
            .collect();
        self.identify(&chain, now)
            .map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
