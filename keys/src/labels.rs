//! Every HKDF label and every signed payload type, so that no two purposes can share one by accident.
//! Must never change a label once released: what it derived would no longer open.

/// Prefix of every HKDF `info` of CoMo.
pub(crate) const PREFIX: &str = "como/v1/";

/// Sub-keys of a data key (`DataKey::derive`): `como/v1/data/` label 0x00 index.
pub(crate) const DATA: &str = "data/";
/// Sub-keys of a mapping key (`MappingKey::subkey`): `como/v1/mapping/` label.
pub(crate) const MAPPING: &str = "mapping/";
/// Key that seals the key file, from the root secret.
pub(crate) const KEY_FILE: &str = "key-file";

/// Labels of the mapping sub-keys, one per family and field (`MappingKey::subkey`).
pub mod mapping {
    /// IPv4 addresses, Crypto-PAn (32 bytes).
    pub const IPV4: &str = "ipv4";
    /// First 64 bits of IPv6 addresses, Crypto-PAn (32 bytes).
    pub const IPV6_PREFIX: &str = "ipv6/prefix";
    /// IPv6 interface ids, bound to the prefix.
    pub const IPV6_IID: &str = "ipv6/iid";
    /// IPv6 flow label.
    pub const IPV6_FLOW_LABEL: &str = "ipv6/flow-label";
    /// MAC address, vendor half.
    pub const MAC_OUI: &str = "mac/oui";
    /// MAC address, device half.
    pub const MAC_NIC: &str = "mac/nic";
    /// VLAN identifiers.
    pub const VLAN: &str = "vlan";
    /// MPLS labels.
    pub const MPLS: &str = "mpls";
    /// PPPoE session ids.
    pub const PPPOE: &str = "pppoe";
    /// VXLAN and GENEVE network identifiers.
    pub const VNI: &str = "vni";
    /// GTP tunnel endpoint ids.
    pub const TEID: &str = "gtp/teid";
    /// GRE keys.
    pub const GRE_KEY: &str = "gre/key";
    /// Call ids of PPTP, in the place of a GRE key.
    pub const GRE_CALL: &str = "gre/call";
    /// IPsec security parameter indexes.
    pub const SPI: &str = "ipsec/spi";
    /// L2TP tunnel ids.
    pub const L2TP: &str = "l2tp";
    /// L2TP session ids.
    pub const L2TP_SESSION: &str = "l2tp/session";
    /// SCTP verification tags.
    pub const SCTP_TAG: &str = "sctp/tag";
    /// Ports outside the exact list.
    pub const PORT: &str = "port";
    /// IPv4 identification.
    pub const IP_ID: &str = "ipv4/id";
    /// ICMP echo identifiers.
    pub const ICMP_ID: &str = "icmp/id";
    /// TCP sequence numbers.
    pub const TCP_SEQUENCE: &str = "tcp/sequence";
    /// Pseudonyms of the coarse level, which preserve no prefix.
    pub const COARSE_ADDRESS: &str = "coarse/address";

    /// Device half of a MAC as level `headers` shows it, in interface ids and solicited-node groups too.
    pub const HEADERS_NIC: &str = "headers/mac/nic";

    #[cfg(test)]
    pub(crate) const ALL: &[&str] = &[
        IPV4,
        IPV6_PREFIX,
        IPV6_IID,
        IPV6_FLOW_LABEL,
        MAC_OUI,
        MAC_NIC,
        VLAN,
        MPLS,
        PPPOE,
        VNI,
        TEID,
        GRE_KEY,
        GRE_CALL,
        SPI,
        L2TP,
        L2TP_SESSION,
        SCTP_TAG,
        PORT,
        IP_ID,
        ICMP_ID,
        TCP_SEQUENCE,
        COARSE_ADDRESS,
        HEADERS_NIC,
    ];
}

/// DSSE payload types that this crate signs itself; formats of other crates own theirs.
pub mod payload_type {
    /// A [`crate::signing::Certificate`].
    pub const CERTIFICATE: &str = "application/vnd.como.certificate.v1";
    /// A head of the audit log.
    pub const AUDIT_HEAD: &str = "application/vnd.como.audit-head.v1";
}

#[cfg(test)]
mod tests {
    #[test]
    fn labels_are_distinct() {
        let mut seen = std::collections::BTreeSet::new();
        assert!(super::mapping::ALL.iter().all(|label| seen.insert(label)));
    }
}
