//! A certificate authority that also issues what an authority never should.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::query::AuthorityParameters;

static SERIAL: AtomicU64 = AtomicU64::new(1000);

pub struct Authority {
    pub domain: String,
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A client's certificate and key.
#[derive(Clone)]
pub struct Card {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Arc<PrivateKeyDer<'static>>,
    pub serial: u64,
}

impl Card {
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Self {
        Card {
            chain: CertificateDer::pem_slice_iter(cert_pem.as_bytes())
                .map(Result::unwrap)
                .collect(),
            key: Arc::new(PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap()),
            serial: 0,
        }
    }
}

impl Authority {
    pub fn new(domain: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{domain} CA"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            domain: domain.to_string(),
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// What the node pins: this authority, with no revocation list.
    pub fn pinned(&self) -> AuthorityParameters {
        self.pinned_with("")
    }

    pub fn pinned_with(&self, revocations: &str) -> AuthorityParameters {
        AuthorityParameters {
            domain: self.domain.clone(),
            certificate_pem: self.pem.clone(),
            revocations_pem: revocations.to_string(),
        }
    }

    /// A revocation list that is in date until `until_year`.
    pub fn crl(&self, revoked: &[&Card], until_year: i32) -> String {
        let revoked_certs = revoked.iter().map(|card| RevokedCertParams {
            serial_number: SerialNumber::from(card.serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until_year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A client certificate as it should be.
    pub fn client(&self, path: &str) -> Card {
        self.card(&[&format!("spiffe://{}/{path}", self.domain)], |_| {})
    }

    /// A certificate with these URIs, and whatever `change` does to it.
    pub fn card(&self, uris: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Card {
        let (certificate, key, serial) = self.issue(uris, ExtendedKeyUsagePurpose::ClientAuth, change);
        Card {
            chain: vec![certificate.der().clone()],
            key: Arc::new(PrivateKeyDer::try_from(key.serialize_der()).unwrap()),
            serial,
        }
    }

    /// The node's own certificate and key, PEM.
    pub fn server(&self) -> (String, String) {
        let (certificate, key, _) = self.issue(&[], ExtendedKeyUsagePurpose::ServerAuth, |params| {
            params
                .subject_alt_names
                .push(SanType::DnsName("localhost".try_into().unwrap()));
        });
        (certificate.pem(), key.serialize_pem())
    }

    fn issue(
        &self,
        uris: &[&str],
        usage: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (rcgen::Certificate, KeyPair, u64) {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "spiffe://lab.example/upenn/alice");
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        params.extended_key_usages = vec![usage];
        params.subject_alt_names = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()))
            .collect();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate, key, serial)
    }
}
