//! `[metrics]`: where the operator's monitoring reads counters. Must refuse an address that others could reach: metrics
//! are the operator's, and nothing of them is encrypted.

use std::net::SocketAddr;

use serde::Deserialize;
use toml::Spanned;

use super::diagnose::{ConfigError, Located};

/// `[metrics]`: counters for the operator's monitoring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Loopback address and port that answers `GET /metrics`; `None`: nothing listens.
    pub listen: Option<SocketAddr>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenMetrics {
    listen: Option<Spanned<String>>,
}

pub(super) fn check(located: &Located<'_>, written: WrittenMetrics) -> Result<Metrics, ConfigError> {
    let Some(text) = written.listen else {
        return Ok(Metrics::default());
    };
    let wrong = |what: &str, fix: &str| located.error(text.span(), what.to_owned(), fix.to_owned());
    match text.get_ref().parse::<SocketAddr>() {
        Err(_) => Err(wrong(
            "this is not an address with a port",
            "write \"127.0.0.1:9464\" or \"[::1]:9464\"",
        )),
        Ok(listen) if !listen.ip().is_loopback() => Err(wrong(
            "metrics are served on this machine only",
            "write \"127.0.0.1:9464\" or \"[::1]:9464\"; let a collector or tunnel of yours carry them further",
        )),
        Ok(listen) => Ok(Metrics { listen: Some(listen) }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn parse(listen: &str) -> Result<Config, String> {
        let text = format!(
            "[node]\nname = \"spiffe://c.example/o/n\"\n[source]\nkind = \"live\"\ninterface = \"eth0\"\n\
             [metrics]\nlisten = \"{listen}\"\n"
        );
        Config::parse(Path::new("como.toml"), &text).map_err(|e| e.to_string())
    }

    #[test]
    fn metrics_are_off_by_default_and_never_leave_the_machine() {
        let without =
            "[node]\nname = \"spiffe://c.example/o/n\"\n[source]\nkind = \"live\"\ninterface = \"eth0\"\n";
        let config = Config::parse(Path::new("como.toml"), without).unwrap();
        assert_eq!(config.metrics.listen, None);
        for good in ["127.0.0.1:9464", "[::1]:9464", "127.1.2.3:1"] {
            assert!(parse(good).unwrap().metrics.listen.is_some());
        }
        for bad in [
            "0.0.0.0:9464",
            "[::]:9464",
            "192.0.2.1:9464",
            "localhost:9464",
            "9464",
        ] {
            let told = parse(bad).unwrap_err();
            assert!(
                told.contains("como.toml:7:10") && told.contains("127.0.0.1:9464"),
                "{told}"
            );
        }
    }
}
