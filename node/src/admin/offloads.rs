//! Offloads of an interface that change what is captured: packets are merged before the kernel hands them over.
//! Asks ethtool(8), which the administration may start and no role may. Must never change a setting.

use std::process::{Command, Stdio};

/// What ethtool calls the offloads that merge or split packets, and how they are switched.
const MERGING: [(&str, &str); 4] = [
    ("generic-receive-offload", "gro"),
    ("large-receive-offload", "lro"),
    ("tcp-segmentation-offload", "tso"),
    ("generic-segmentation-offload", "gso"),
];

/// The offloads of an interface that are on, as ethtool switches them; `None`: ethtool is not there, or does
/// not know the interface.
pub(super) fn merging_offloads(interface: &str) -> Option<Vec<&'static str>> {
    let output = Command::new("ethtool")
        .args(["-k", interface])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    Some(switched_on(&String::from_utf8_lossy(&text)))
}

fn switched_on(features: &str) -> Vec<&'static str> {
    let is_on = |name: &str| {
        features.lines().any(|line| {
            line.trim()
                .split_once(": ")
                .is_some_and(|(feature, state)| feature == name && state.starts_with("on"))
        })
    };
    MERGING
        .into_iter()
        .filter(|(name, _)| is_on(name))
        .map(|(_, switch)| switch)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ethtool_says_is_understood() {
        let features = "Features for eth0:\nrx-checksumming: on\ntcp-segmentation-offload: on\n\
                        \ttx-tcp-segmentation: on\ngeneric-segmentation-offload: off\n\
                        generic-receive-offload: on [fixed]\nlarge-receive-offload: off [fixed]\n";
        assert_eq!(switched_on(features), ["gro", "tso"]);
        assert_eq!(switched_on("Features for eth0:\n"), Vec::<&str>::new());
    }

    #[test]
    fn an_interface_that_is_not_there_has_no_answer() {
        assert_eq!(merging_offloads("no-such-interface"), None);
    }
}
