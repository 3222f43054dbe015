//! SPIFFE ids: who is who. `spiffe://consortium/organisation/name`, exactly three parts.
//!
//! Owns their syntax (a strict subset of the SPIFFE standard); must never resolve one.

use std::fmt;
use std::str::FromStr;

use crate::error::ClientError;

/// Longest id, in bytes (SPIFFE's own limit is 2048).
const MAX_ID_BYTES: usize = 255;

/// A checked SPIFFE id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId(String);

impl SpiffeId {
    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part: the principal's own name.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SpiffeId {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let valid = text.len() <= MAX_ID_BYTES
            && text.strip_prefix("spiffe://").is_some_and(|path| {
                path.split('/').count() == 3
                    && path.split('/').enumerate().all(|(i, part)| is_part(part, i == 0))
            });
        if valid {
            return Ok(Self(text.to_owned()));
        }
        Err(ClientError::usage(
            format!(
                "`{}` is not a SPIFFE id of three parts",
                crate::answer::one_line(text)
            ),
            "write spiffe://CONSORTIUM/ORGANISATION/NAME in letters, digits, dots, dashes and underscores (the consortium in lower case)",
        ))
    }
}

fn is_part(part: &str, trust_domain: bool) -> bool {
    !part.is_empty()
        && part != "."
        && part != ".."
        && part.bytes().all(|b| {
            b.is_ascii_lowercase()
                || b.is_ascii_digit()
                || b"._-".contains(&b)
                || (!trust_domain && b.is_ascii_uppercase())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_and_nothing_else() {
        let id: SpiffeId = "spiffe://geant.example/uni-x/Alice_1".parse().unwrap();
        assert_eq!(id.name(), "Alice_1");
        for bad in [
            "",
            "alice",
            "spiffe://c/o",
            "spiffe://c/o/n/x",
            "spiffe:///o/n",
            "spiffe://c//n",
            "spiffe://c/o/..",
            "spiffe://C/o/n",
            "https://c/o/n",
            "spiffe://c/o/n ",
            "spiffe://c/o/n\n",
            "spiffe://c:1/o/n",
            "spiffe://c/o/ü",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad} was taken");
        }
        assert!(
            format!("spiffe://c/o/{}", "n".repeat(300))
                .parse::<SpiffeId>()
                .is_err()
        );
    }
}
