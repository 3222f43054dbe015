//! A small certificate authority for trials and tests. Must never be used where a real CA exists: its
//! key lies in a file.

use crate::KeyError;
use zeroize::Zeroizing;

/// A trial CA, held in memory.
pub struct TrialCa {
    #[allow(dead_code)]
    cert_pem: String,
}

/// A certificate and its private key, PEM.
pub struct IssuedCertificate {
    /// The certificate.
    pub cert_pem: String,
    /// The PKCS #8 private key.
    pub key_pem: Zeroizing<String>,
}

/// A certificate signing request and its private key, PEM.
pub struct CertificateRequest {
    /// The request (PKCS #10).
    pub csr_pem: String,
    /// The PKCS #8 private key.
    pub key_pem: Zeroizing<String>,
}

impl TrialCa {
    /// A new CA for a consortium (its name is the SPIFFE trust domain).
    pub fn create(_consortium: &str) -> Result<Self, KeyError> {
        todo!()
    }
    /// The CA again, from its PEM files.
    pub fn from_pem(_cert_pem: &str, _key_pem: &str) -> Result<Self, KeyError> {
        todo!()
    }
    /// The CA's certificate.
    pub fn cert_pem(&self) -> &str {
        todo!()
    }
    /// The CA's private key.
    pub fn key_pem(&self) -> Zeroizing<String> {
        todo!()
    }
    /// A server certificate for DNS names and IP addresses and one SPIFFE URI.
    pub fn issue_server(
        &self,
        _names: &[String],
        _spiffe: &str,
        _days: u32,
    ) -> Result<IssuedCertificate, KeyError> {
        todo!()
    }
    /// A client certificate for the key of a request; its only name is `spiffe`.
    pub fn issue_client_from_csr(
        &self,
        _csr_pem: &str,
        _spiffe: &str,
        _days: u32,
    ) -> Result<String, KeyError> {
        todo!()
    }
    /// A revocation list, valid until `next_update_ns`.
    pub fn crl(
        &self,
        _revoked_serials: &[Vec<u8>],
        _number: u64,
        _next_update_ns: u64,
    ) -> Result<String, KeyError> {
        todo!()
    }
}

/// A key and a signing request for a SPIFFE identity: what a partner runs.
pub fn make_csr(_spiffe: &str) -> Result<CertificateRequest, KeyError> {
    todo!()
}

/// The serial number of a PEM certificate, for a revocation list.
pub fn serial_of(_cert_pem: &str) -> Result<Vec<u8>, KeyError> {
    todo!()
}
