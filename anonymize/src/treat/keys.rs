//! The tables of one mapping key: every keyed function that a treatment may use, each under its own label.
//! Holds secrets: no `Debug`, nothing of it is ever serialised.

use como_keys::labels::mapping as label;
use como_keys::mapping::MappingKey;

use crate::crypto::cryptopan::{CryptoPan4, CryptoPan6};
use crate::crypto::permutation::{AesFeistel, TableFeistel, TablePermutation};
use crate::crypto::prf::Prf;
use crate::treat::port::is_exact_port;

// Labels of parts of fields, under the field's own name in `como_keys::labels::mapping`.
const MAC_NIC_TWEAK: &str = "mac/nic/tweak";
const IP_ID_HOST: &str = "ipv4/id/host";
const IPV6_FRAGMENT_ID: &str = "ipv6/fragment-id";
const IPV6_FRAGMENT_HOST: &str = "ipv6/fragment-id/host";
const SEQUENCE_V6: &str = "tcp/sequence/ipv6";
const COARSE_ADDRESS_V6: &str = "coarse/address/ipv6";

/// Keyed functions, one per family and field, so that no two fields ever share a permutation (P5).
pub(crate) struct FieldKeys {
    pub(crate) ipv4: CryptoPan4,
    pub(crate) ipv6_prefix: CryptoPan6,
    pub(crate) ipv6_interface: AesFeistel,
    /// Whether `ipv6_prefix` maps the interface id too, instead of `ipv6_interface`.
    pub(crate) ipv6_whole: bool,
    pub(crate) mac_vendor: TableFeistel<11>,
    pub(crate) mac_nic: TableFeistel<12>,
    pub(crate) mac_tweak: Prf,
    pub(crate) vlan: TablePermutation,
    pub(crate) port: TablePermutation,
    pub(crate) ip_id: TablePermutation,
    pub(crate) ip_id_host: Prf,
    pub(crate) ipv6_fragment_id: AesFeistel,
    pub(crate) ipv6_fragment_host: Prf,
    pub(crate) flow_label: TableFeistel<10>,
    pub(crate) sequence_v4: Prf,
    pub(crate) sequence_v6: Prf,
    pub(crate) icmp_id: TablePermutation,
    pub(crate) spi: AesFeistel,
    pub(crate) mpls: TableFeistel<10>,
    pub(crate) pppoe: TableFeistel<8>,
    pub(crate) vni: TableFeistel<12>,
    pub(crate) teid: AesFeistel,
    pub(crate) gre_key: AesFeistel,
    pub(crate) gre_call: TableFeistel<8>,
    pub(crate) l2tp_tunnel: TableFeistel<8>,
    pub(crate) l2tp_session: TableFeistel<8>,
    pub(crate) sctp_tag: AesFeistel,
    pub(crate) coarse_v4: Prf,
    pub(crate) coarse_v6: Prf,
    pub(crate) headers_nic: TableFeistel<12>,
}

impl FieldKeys {
    pub(crate) fn new(keys: &MappingKey) -> Self {
        let key = |label: &str| keys.subkey::<16>(label);
        FieldKeys {
            ipv4: CryptoPan4::new(&keys.subkey::<32>(label::IPV4)),
            ipv6_prefix: CryptoPan6::new(&keys.subkey::<32>(label::IPV6_PREFIX)),
            ipv6_interface: AesFeistel::new(&key(label::IPV6_IID)),
            ipv6_whole: false,
            mac_vendor: TableFeistel::new(&key(label::MAC_OUI)),
            mac_nic: TableFeistel::new(&key(label::MAC_NIC)),
            mac_tweak: Prf::new(&key(MAC_NIC_TWEAK)),
            vlan: TablePermutation::new(&key(label::VLAN), 1 << 12, |_| false),
            port: TablePermutation::new(&key(label::PORT), 1 << 16, is_exact_port),
            ip_id: TablePermutation::new(&key(label::IP_ID), (1 << 16) - 1, |_| false),
            ip_id_host: Prf::new(&key(IP_ID_HOST)),
            ipv6_fragment_id: AesFeistel::new(&key(IPV6_FRAGMENT_ID)),
            ipv6_fragment_host: Prf::new(&key(IPV6_FRAGMENT_HOST)),
            flow_label: TableFeistel::new(&key(label::IPV6_FLOW_LABEL)),
            sequence_v4: Prf::new(&key(label::TCP_SEQUENCE)),
            sequence_v6: Prf::new(&key(SEQUENCE_V6)),
            icmp_id: TablePermutation::new(&key(label::ICMP_ID), 1 << 16, |_| false),
            spi: AesFeistel::new(&key(label::SPI)),
            mpls: TableFeistel::new(&key(label::MPLS)),
            pppoe: TableFeistel::new(&key(label::PPPOE)),
            vni: TableFeistel::new(&key(label::VNI)),
            teid: AesFeistel::new(&key(label::TEID)),
            gre_key: AesFeistel::new(&key(label::GRE_KEY)),
            gre_call: TableFeistel::new(&key(label::GRE_CALL)),
            l2tp_tunnel: TableFeistel::new(&key(label::L2TP)),
            l2tp_session: TableFeistel::new(&key(label::L2TP_SESSION)),
            sctp_tag: AesFeistel::new(&key(label::SCTP_TAG)),
            coarse_v4: Prf::new(&key(label::COARSE_ADDRESS)),
            coarse_v6: Prf::new(&key(COARSE_ADDRESS_V6)),
            headers_nic: TableFeistel::new(&key(label::HEADERS_NIC)),
        }
    }
}
