//! Crypto-PAn under keys of other tools, in place of the derived ones: for agreement with what they made. Nothing
//! else of the treatment changes. Must never be used for a node's views: their keys are made and destroyed by epoch.

use super::Anonymizer;
use super::memory::Memory;
use crate::crypto::cryptopan::{CryptoPan4, CryptoPan6};

impl Anonymizer {
    /// IPv4 addresses go through Crypto-PAn under exactly this key.
    #[must_use]
    pub fn with_cryptopan_v4(mut self, key: &[u8; 32]) -> Self {
        self.keys.ipv4 = CryptoPan4::new(key);
        self.memory = Memory::new();
        self
    }

    /// IPv6 addresses go through Crypto-PAn under exactly this key, all 128 bits: agreement means that the
    /// interface id keeps common prefixes too, and is bound to nothing.
    #[must_use]
    pub fn with_cryptopan_v6(mut self, key: &[u8; 32]) -> Self {
        self.keys.ipv6_prefix = CryptoPan6::new(key);
        self.keys.ipv6_whole = true;
        self.memory = Memory::new();
        self
    }
}

#[cfg(test)]
mod tests {
    use como_keys::mapping::MappingKey;

    use super::*;

    #[test]
    fn addresses_agree_with_the_published_map_and_nothing_else_changes() {
        let key = b"32-char-str-for-AES-key-and-pad.";
        let derived = Anonymizer::new(&MappingKey::from_bytes(&[1; 32]));
        let exact = Anonymizer::new(&MappingKey::from_bytes(&[1; 32]))
            .with_cryptopan_v4(key)
            .with_cryptopan_v6(key);
        assert_eq!(exact.map_v4(0x8001_0203), CryptoPan4::new(key).map(0x8001_0203));
        let addresses = [
            0x2001_0db8_0000_0001_0221_70ff_fec0_77aa,
            0x2001_0db8_0000_0001_0221_70ff_fec0_77ab,
        ];
        let published = addresses.map(|address| CryptoPan6::new(key).map(address));
        assert_eq!(addresses.map(|address| exact.map_v6(address)), published);
        assert_eq!(exact.map_v6_few(addresses), published);
        assert_ne!(addresses.map(|address| derived.map_v6(address)), published);
        assert_eq!(exact.map_port(40_000), derived.map_port(40_000));
        assert_eq!(
            exact.map_mac([2, 1, 2, 3, 4, 5]),
            derived.map_mac([2, 1, 2, 3, 4, 5])
        );
    }
}
