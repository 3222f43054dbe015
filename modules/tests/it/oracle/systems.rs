//! A small routing table for the test captures, as text for the product and as a list for whoever reads packets by
//! themselves. Must share no code with the product: the longest prefix is found one by one.

/// Prefix, length, system: some lie in others, and cover what captures have.
const PREFIXES: [(&str, u32, u32); 9] = [
    ("0.0.0.0", 1, 100),
    ("10.0.0.0", 8, 101),
    ("10.0.0.0", 16, 102),
    ("128.0.0.0", 2, 103),
    ("192.168.0.0", 16, 104),
    ("198.18.0.0", 15, 105),
    ("2000::", 3, 106),
    ("2001:db8::", 32, 107),
    ("fe80::", 10, 108),
];

/// The table in CAIDA's format.
pub fn pfx2as() -> String {
    let line = |(prefix, len, system): &(&str, u32, u32)| format!("{prefix}\t{len}\t{system}\n");
    PREFIXES.iter().map(line).collect()
}

/// The system of an address in the form of columns; 0: none.
pub fn system_of(address: [u8; 16]) -> u32 {
    let mapped = |prefix: &str, len: u32| match prefix.parse().expect("an address") {
        std::net::IpAddr::V4(v4) => (v4.to_ipv6_mapped().octets(), len + 96),
        std::net::IpAddr::V6(v6) => (v6.octets(), len),
    };
    let holds = |prefix: &str, len: u32| {
        let (prefix, len) = mapped(prefix, len);
        let bit = |of: &[u8; 16], at: u32| of[at as usize / 8] >> (7 - at % 8) & 1;
        (0..len).all(|at| bit(&prefix, at) == bit(&address, at))
    };
    let found = PREFIXES.iter().filter(|(prefix, len, _)| holds(prefix, *len));
    let longest = found.max_by_key(|(prefix, len, _)| mapped(prefix, *len).1);
    longest.map_or(0, |(_, _, system)| *system)
}
