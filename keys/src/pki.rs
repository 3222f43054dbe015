//! A small certificate authority for trials and tests, and the signing requests that partners make. Must
//! never be used where a real CA exists: its key lies in a file.
//!
//! Every certificate names exactly one SPIFFE URI; server certificates name hosts besides. Whatever else a
//! request asks for (other names, being a CA) is ignored: only its public key is taken.

use crate::KeyError;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// Validity of the trial CA, days.
pub const CA_DAYS: u32 = 3650;
/// Longest validity of a certificate, days.
pub const MAX_CERTIFICATE_DAYS: u32 = 825;
/// Certificates begin this long ago: clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(86_400);
/// Longest part of a SPIFFE name, bytes.
const MAX_NAME_PART_BYTES: usize = 63;
/// Longest request or certificate that is parsed, bytes of PEM.
pub const MAX_PEM_BYTES: usize = 64 << 10;

/// A trial CA, held in memory.
pub struct TrialCa {
    issuer: Issuer<'static, KeyPair>,
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
    pub fn create(consortium: &str) -> Result<Self, KeyError> {
        check_spiffe(&format!("spiffe://{consortium}/o/n"))?;
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = base_params(&format!("CoMo trial CA of {consortium}"), CA_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert_pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            cert_pem,
        })
    }

    /// The CA again, from its PEM files.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, KeyError> {
        let key = KeyPair::from_pem(key_pem).map_err(failed)?;
        if public_key_of(cert_pem)? != key.public_key_raw() {
            return Err(KeyError::Pki {
                why: "the CA's key does not belong to its certificate".to_owned(),
                fix: "restore both files from one copy",
            });
        }
        let issuer = Issuer::from_ca_cert_pem(cert_pem, key).map_err(failed)?;
        Ok(Self {
            issuer,
            cert_pem: cert_pem.to_owned(),
        })
    }

    /// The CA's certificate.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The CA's private key.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// A server certificate for DNS names and IP addresses and one SPIFFE URI. It may also act as a client,
    /// for `send-to` from node to node.
    pub fn issue_server(
        &self,
        names: &[String],
        spiffe: &str,
        days: u32,
    ) -> Result<IssuedCertificate, KeyError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = leaf_params(spiffe, days)?;
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
            });
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let cert_pem = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(IssuedCertificate {
            cert_pem,
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// A client certificate for the key of a request; its only name is `spiffe`.
    pub fn issue_client_from_csr(&self, csr_pem: &str, spiffe: &str, days: u32) -> Result<String, KeyError> {
        bounded(csr_pem)?;
        let csr = CertificateSigningRequestParams::from_pem(csr_pem).map_err(failed)?;
        let mut params = leaf_params(spiffe, days)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params
            .signed_by(&csr.public_key, &self.issuer)
            .map_err(failed)?
            .pem())
    }

    /// A revocation list of serial numbers (see [`serial_of`]), valid until `next_update_ns`; `number` must
    /// grow from list to list.
    pub fn crl(
        &self,
        revoked_serials: &[Vec<u8>],
        number: u64,
        next_update_ns: u64,
    ) -> Result<String, KeyError> {
        let now = SystemTime::now();
        let revoked_certs = revoked_serials
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: now.into(),
                reason_code: Some(RevocationReason::PrivilegeWithdrawn),
                invalidity_date: None,
            })
            .collect();
        let params = CertificateRevocationListParams {
            this_update: (now - CLOCK_SKEW).into(),
            next_update: (UNIX_EPOCH + Duration::from_nanos(next_update_ns)).into(),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params
            .signed_by(&self.issuer)
            .map_err(failed)?
            .pem()
            .map_err(failed)
    }
}

/// A key and a signing request for a SPIFFE identity: what a partner makes. The key never leaves the partner.
pub fn make_csr(spiffe: &str) -> Result<CertificateRequest, KeyError> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = leaf_params(spiffe, 1)?;
    for_request(&mut params);
    let csr_pem = params
        .serialize_request(&key)
        .and_then(|csr| csr.pem())
        .map_err(failed)?;
    Ok(CertificateRequest {
        csr_pem,
        key_pem: Zeroizing::new(key.serialize_pem()),
    })
}

/// The serial number of a PEM certificate, for a revocation list.
pub fn serial_of(cert_pem: &str) -> Result<Vec<u8>, KeyError> {
    with_certificate(cert_pem, |certificate| certificate.raw_serial().to_vec())
}

/// When a PEM certificate ends, ns since the Unix epoch.
pub fn valid_until_ns(cert_pem: &str) -> Result<u64, KeyError> {
    with_certificate(cert_pem, not_after_ns)
}

/// The same of a DER certificate, as a TLS handshake gives it; `None` where it does not read.
pub fn valid_until_der_ns(cert_der: &[u8]) -> Option<u64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(cert_der).ok()?;
    Some(not_after_ns(&certificate))
}

fn not_after_ns(certificate: &x509_parser::certificate::X509Certificate<'_>) -> u64 {
    let seconds = certificate.validity().not_after.timestamp();
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000)
}

fn public_key_of(cert_pem: &str) -> Result<Vec<u8>, KeyError> {
    with_certificate(cert_pem, |certificate| {
        certificate.public_key().subject_public_key.data.to_vec()
    })
}

fn with_certificate<T>(
    cert_pem: &str,
    read: impl FnOnce(&x509_parser::certificate::X509Certificate<'_>) -> T,
) -> Result<T, KeyError> {
    bounded(cert_pem)?;
    let malformed = || KeyError::Pki {
        why: "this is no X.509 certificate in PEM".to_owned(),
        fix: "pass the file that begins with -----BEGIN CERTIFICATE-----",
    };
    let (_, pem) = x509_parser::pem::parse_x509_pem(cert_pem.as_bytes()).map_err(|_| malformed())?;
    let certificate = pem.parse_x509().map_err(|_| malformed())?;
    Ok(read(&certificate))
}

/// Base64 is cheap to parse, but nobody needs a certificate of megabytes.
fn bounded(pem: &str) -> Result<(), KeyError> {
    if pem.len() <= MAX_PEM_BYTES {
        return Ok(());
    }
    Err(KeyError::Pki {
        why: format!("the PEM has {} bytes, the limit is {MAX_PEM_BYTES}", pem.len()),
        fix: "pass one certificate or request, not a bundle",
    })
}

fn base_params(common_name: &str, days: u32) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + DAY * days).into();
    params.serial_number = Some(random_serial());
    params.use_authority_key_identifier_extension = true;
    params
}

fn leaf_params(spiffe: &str, days: u32) -> Result<CertificateParams, KeyError> {
    check_spiffe(spiffe)?;
    if days == 0 || days > MAX_CERTIFICATE_DAYS {
        return Err(KeyError::Pki {
            why: format!("a certificate cannot be valid for {days} days"),
            fix: "choose 1 to 825 days",
        });
    }
    let name = spiffe.rsplit('/').next().unwrap_or(spiffe);
    let mut params = base_params(name, days);
    params
        .subject_alt_names
        .push(SanType::URI(spiffe.try_into().map_err(failed)?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    Ok(params)
}

/// Takes out what the issuer decides and a request cannot carry.
fn for_request(params: &mut CertificateParams) {
    params.serial_number = None;
    params.use_authority_key_identifier_extension = false;
}

/// Positive, 126 bits random, no leading zero byte: one encoding only (RFC 5280, 4.1.2.2).
fn random_serial() -> SerialNumber {
    let mut serial = crate::random::<16>();
    serial[0] = serial[0] & 0x3f | 0x40;
    SerialNumber::from_slice(&serial)
}

/// `spiffe://<consortium>/<organisation>/<name>`: letters, digits, `.`, `_`, `-`; the consortium, a trust
/// domain, has no capitals (SPIFFE-ID, section 2).
fn check_spiffe(spiffe: &str) -> Result<(), KeyError> {
    let fits = |part: &str, capitals: bool| {
        let allowed = |b: u8| {
            b.is_ascii_lowercase()
                || b.is_ascii_digit()
                || b"._-".contains(&b)
                || (capitals && b.is_ascii_uppercase())
        };
        (1..=MAX_NAME_PART_BYTES).contains(&part.len())
            && part != "."
            && part != ".."
            && part.bytes().all(allowed)
    };
    let mut parts = spiffe.strip_prefix("spiffe://").unwrap_or_default().split('/');
    if let (Some(consortium), Some(organisation), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
        && fits(consortium, false)
        && fits(organisation, true)
        && fits(name, true)
    {
        return Ok(());
    }
    Err(KeyError::Pki {
        why: format!("\"{spiffe}\" is no name of a consortium's member"),
        fix: "write spiffe://CONSORTIUM/ORGANISATION/NAME, each of letters, digits, dot, dash, underscore",
    })
}

fn failed(error: rcgen::Error) -> KeyError {
    KeyError::Pki {
        why: error.to_string(),
        fix: "check the names, and that the PEM files are whole",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::extensions::GeneralName;
    use x509_parser::prelude::FromDer;
    use x509_parser::revocation_list::CertificateRevocationList;

    const ALICE: &str = "spiffe://example.org/institute/alice";

    fn pem(text: &str) -> x509_parser::pem::Pem {
        x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap().1
    }

    fn names(cert_pem: &str) -> Vec<String> {
        let pem = pem(cert_pem);
        let certificate = pem.parse_x509().unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        names
            .value
            .general_names
            .iter()
            .map(|name| match name {
                GeneralName::URI(uri) => (*uri).to_owned(),
                GeneralName::DNSName(name) => (*name).to_owned(),
                GeneralName::IPAddress(bytes) => hex::encode(bytes),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn is_signed_by(cert_pem: &str, ca: &TrialCa) -> bool {
        let (leaf, root) = (pem(cert_pem), pem(ca.cert_pem()));
        let root = root.parse_x509().unwrap();
        let leaf = leaf.parse_x509().unwrap();
        leaf.verify_signature(Some(root.public_key())).is_ok() && leaf.validity().is_valid()
    }

    #[test]
    fn a_server_certificate_names_its_hosts_and_one_uri() {
        let ca = TrialCa::create("example.org").unwrap();
        let hosts = ["node.example.org", "127.0.0.1", "::1"].map(str::to_owned);
        let server = ca
            .issue_server(&hosts, "spiffe://example.org/site/node", 90)
            .unwrap();
        let v6 = "0".repeat(31) + "1";
        assert_eq!(
            names(&server.cert_pem),
            [
                "spiffe://example.org/site/node",
                "node.example.org",
                "7f000001",
                v6.as_str()
            ]
        );
        assert!(is_signed_by(&server.cert_pem, &ca));
        assert!(!is_signed_by(
            &server.cert_pem,
            &TrialCa::create("example.org").unwrap()
        ));
        let key = KeyPair::from_pem(&server.key_pem).unwrap();
        assert_eq!(public_key_of(&server.cert_pem).unwrap(), key.public_key_raw());
    }

    #[test]
    fn a_request_gives_its_key_only() {
        let ca = TrialCa::create("example.org").unwrap();
        // It asks to be another CA with a name of its own choice.
        let key = KeyPair::generate().unwrap();
        let mut greedy = base_params("root", 1);
        for_request(&mut greedy);
        greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        greedy.subject_alt_names.push(SanType::URI(
            "spiffe://example.org/site/operator".try_into().unwrap(),
        ));
        let csr_pem = greedy.serialize_request(&key).unwrap().pem().unwrap();
        let cert_pem = ca.issue_client_from_csr(&csr_pem, ALICE, 30).unwrap();
        assert_eq!(names(&cert_pem), [ALICE]);
        assert!(is_signed_by(&cert_pem, &ca));
        assert_eq!(public_key_of(&cert_pem).unwrap(), key.public_key_raw());
        let pem = pem(&cert_pem);
        let certificate = pem.parse_x509().unwrap();
        assert!(!certificate.is_ca());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
    }

    #[test]
    fn a_ca_comes_back_from_its_files() {
        let ca = TrialCa::create("example.org").unwrap();
        let again = TrialCa::from_pem(ca.cert_pem(), &ca.key_pem()).unwrap();
        let csr = make_csr(ALICE).unwrap();
        assert!(is_signed_by(
            &again.issue_client_from_csr(&csr.csr_pem, ALICE, 1).unwrap(),
            &ca
        ));
        let other = TrialCa::create("example.org").unwrap();
        assert!(
            TrialCa::from_pem(ca.cert_pem(), &other.key_pem()).is_err(),
            "mixed files"
        );
    }

    #[test]
    fn a_revocation_list_names_the_serial() {
        let ca = TrialCa::create("example.org").unwrap();
        let cert_pem = ca
            .issue_client_from_csr(&make_csr(ALICE).unwrap().csr_pem, ALICE, 1)
            .unwrap();
        let serial = serial_of(&cert_pem).unwrap();
        let tomorrow = (SystemTime::now() + DAY)
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64;
        let crl_pem = pem(&ca.crl(std::slice::from_ref(&serial), 7, tomorrow).unwrap());
        let (_, crl) = CertificateRevocationList::from_der(&crl_pem.contents).unwrap();
        let root = pem(ca.cert_pem());
        crl.verify_signature(root.parse_x509().unwrap().public_key())
            .unwrap();
        let revoked: Vec<_> = crl
            .iter_revoked_certificates()
            .map(|r| r.raw_serial().to_vec())
            .collect();
        assert_eq!(revoked, [serial]);
        assert!(ca.crl(&[], 8, 0).is_err(), "a list that is over before it begins");
    }

    #[test]
    fn bad_names_requests_and_times_are_refused() {
        let ca = TrialCa::create("example.org").unwrap();
        let csr = make_csr(ALICE).unwrap().csr_pem;
        for name in [
            "",
            "alice",
            "https://example.org/institute/alice",
            "spiffe://example.org/alice",
            "spiffe://example.org/institute/alice/more",
            "spiffe://example.org//alice",
            "spiffe://Example.org/institute/alice",
            "spiffe://example.org/institute/..",
            "spiffe://example.org/institute/a?b",
        ] {
            assert!(ca.issue_client_from_csr(&csr, name, 1).is_err(), "{name}");
            assert!(make_csr(name).is_err(), "{name}");
        }
        for days in [0, MAX_CERTIFICATE_DAYS + 1, u32::MAX] {
            assert!(ca.issue_client_from_csr(&csr, ALICE, days).is_err(), "{days}");
        }
        // A request whose signature does not fit its key.
        let broken = {
            let mut der = pem(&csr).contents;
            let last = der.len() - 1;
            der[last] ^= 1;
            CertificateSigningRequestParams::from_der(&der.into())
        };
        assert!(broken.is_err());
        assert!(ca.issue_client_from_csr("nonsense", ALICE, 1).is_err());
        assert!(
            ca.issue_client_from_csr(&"x".repeat(MAX_PEM_BYTES + 1), ALICE, 1)
                .is_err()
        );
        assert!(serial_of("nonsense").is_err());
        assert!(TrialCa::create("Not A Domain").is_err());
    }
}
