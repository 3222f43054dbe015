//! Who a certificate speaks for: exactly one SPIFFE URI (X509-SVID). Must never look at common names.

use rustls_pki_types::CertificateDer;

/// Longest SPIFFE id, in bytes (SPIFFE-ID section 2.3).
pub const MAX_SPIFFE_BYTES: usize = 2048;
/// Longest trust domain name, in bytes.
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

const SCHEME: &str = "spiffe://";

/// A well-formed SPIFFE id with a path, such as `spiffe://consortium.example/organisation/alice`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    uri: String,
    domain_end: usize,
}

impl SpiffeId {
    /// Parses an id; the error says what is wrong with it.
    pub fn parse(uri: &str) -> Result<Self, &'static str> {
        if uri.len() > MAX_SPIFFE_BYTES {
            return Err("its URI is too long");
        }
        let rest = uri.strip_prefix(SCHEME).ok_or("its URI is not a spiffe:// one")?;
        let (domain, path) = rest.split_once('/').ok_or("its SPIFFE id has no path")?;
        if !is_trust_domain(domain) {
            return Err("its SPIFFE id has a malformed trust domain");
        }
        if !path.split('/').all(is_path_segment) {
            return Err("its SPIFFE id has a malformed path");
        }
        Ok(SpiffeId {
            uri: uri.to_string(),
            domain_end: SCHEME.len() + domain.len(),
        })
    }

    /// The id of a certificate: its only URI name.
    ///
    /// Names that are not UTF-8 are invisible here, and can be nobody's id.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, &'static str> {
        let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| "it cannot be parsed")?;
        let mut names = parsed.valid_uri_names();
        match (names.next(), names.next()) {
            (Some(uri), None) => Self::parse(uri),
            (None, _) => Err("it names no SPIFFE id (a common name is not an identity)"),
            (Some(_), Some(_)) => Err("it names more than one URI"),
        }
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The trust domain: whose authority must have issued the certificate.
    pub fn trust_domain(&self) -> &str {
        &self.uri[SCHEME.len()..self.domain_end]
    }
}

/// Whether this is a SPIFFE trust domain name.
pub fn is_trust_domain(domain: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    !domain.is_empty() && domain.len() <= MAX_TRUST_DOMAIN_BYTES && domain.bytes().all(allowed)
}

fn is_path_segment(segment: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_has_a_domain_and_a_path() {
        let id = SpiffeId::parse("spiffe://lab.example/upenn/alice").unwrap();
        assert_eq!(id.trust_domain(), "lab.example");
        assert_eq!(id.as_str(), "spiffe://lab.example/upenn/alice");
    }

    #[test]
    fn malformed_ids_are_refused() {
        for bad in [
            "",
            "spiffe://",
            "spiffe://lab.example",
            "spiffe://lab.example/",
            "spiffe:///upenn/alice",
            "SPIFFE://lab.example/a",
            "https://lab.example/a",
            "spiffe://Lab.example/a",
            "spiffe://lab.example:80/a",
            "spiffe://user@lab.example/a",
            "spiffe://lab.example/a//b",
            "spiffe://lab.example/a/../b",
            "spiffe://lab.example/a/",
            "spiffe://lab.example/a?b",
            "spiffe://lab.example/a#b",
            "spiffe://lab.example/a%2fb",
            "spiffe://lab.example/a b",
            "spiffe://lab.example/ä",
        ] {
            assert!(SpiffeId::parse(bad).is_err(), "{bad:?}");
        }
        let long = format!("spiffe://lab.example/{}", "a".repeat(MAX_SPIFFE_BYTES));
        assert!(SpiffeId::parse(&long).is_err());
        assert!(!is_trust_domain(&"a".repeat(MAX_TRUST_DOMAIN_BYTES + 1)));
    }
}
