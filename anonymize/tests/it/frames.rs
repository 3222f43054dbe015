//! Frames made by hand, layer by layer. Lengths are true, checksums are stale on purpose: what comes out must have
//! been written anew. Every constant is a value that occurs nowhere else in a frame, so that it can be searched for.

pub const SRC: [u8; 4] = [203, 0, 113, 77];
pub const DST: [u8; 4] = [198, 51, 100, 23];
/// A router, a gateway, a hop.
pub const HOP: [u8; 4] = [192, 88, 99, 33];
/// The ends of what a tunnel carries.
pub const INNER_SRC: [u8; 4] = [151, 101, 67, 219];
pub const INNER_DST: [u8; 4] = [185, 61, 148, 29];
/// Its interface id is made of the MAC 00:11:22:33:44:55.
pub const SRC6: [u8; 16] = [
    0x20, 1, 0xd, 0xb8, 0xaa, 0xbb, 0xcc, 0xdd, 2, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55,
];
pub const DST6: [u8; 16] = [
    0x20, 1, 0xd, 0xb8, 0x12, 0x34, 0x56, 0x78, 9, 0x8a, 0xbc, 0xde, 0xf1, 0x23, 0x45, 0x67,
];
pub const HOP6: [u8; 16] = [
    0x2a, 2, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xc1, 0xd2, 0xe3, 0xf4, 0xa5, 0xb6, 0xc7, 0xd8, 0xe9,
];
pub const INNER_SRC6: [u8; 16] = [
    0x2a, 4, 0x4e, 0x42, 0x5b, 0xc3, 0x9c, 0x3d, 0x8d, 0x1e, 0x64, 0xf2, 0x1b, 0x7a, 0x19, 0xd5,
];
pub const INNER_DST6: [u8; 16] = [
    0x26, 0x20, 0x6d, 0x7e, 0x83, 0x91, 0xa2, 0xb3, 0x5c, 0x9d, 0x6e, 0x3f, 0x47, 0x58, 0x69, 0x7a,
];
pub const MAC_A: [u8; 6] = [0x3c, 0x97, 0x0e, 0xb1, 0x4a, 0xc5];
pub const MAC_B: [u8; 6] = [0x00, 0x1b, 0x21, 0x65, 0x43, 0x21];
pub const INNER_MAC: [u8; 6] = [0x00, 0x26, 0xb9, 0x9e, 0x8d, 0x7c];
/// What no level below `payload` may show.
pub const BODY: &[u8] = b"SECRETBODY";

pub fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub fn link(dst: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    joined(&[&dst, &MAC_A, &ethertype.to_be_bytes(), payload])
}

pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    link(MAC_B, ethertype, payload)
}

/// Ethernet and IPv4.
pub fn e4(packet: Vec<u8>) -> Vec<u8> {
    ethernet(0x0800, &packet)
}

/// Ethernet and IPv6.
pub fn e6(packet: Vec<u8>) -> Vec<u8> {
    ethernet(0x86dd, &packet)
}

pub fn ipv4_between(src: [u8; 4], dst: [u8; 4], protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut header = vec![0x40 | (header_len / 4) as u8, 0xb8];
    header.extend(((header_len + payload.len()) as u16).to_be_bytes());
    header.extend([0xbe, 0xef, 0x40, 0, 61, protocol, 0xab, 0xcd]);
    joined(&[&header, &src, &dst, options, payload])
}

pub fn ipv4_with(protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    ipv4_between(SRC, DST, protocol, options, payload)
}

pub fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(protocol, &[], payload)
}

pub fn ipv6_between(src: [u8; 16], dst: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x6b, 0x8a, 0xbc, 0xde];
    header.extend((payload.len() as u16).to_be_bytes());
    header.extend([next, 61]);
    joined(&[&header, &src, &dst, payload])
}

pub fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    ipv6_between(SRC6, DST6, next, payload)
}

/// To port 443.
pub fn tcp(options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0xc7, 0x39, 0x01, 0xbb];
    header.extend([0xde, 0xad, 0x12, 0x34, 0xfe, 0xed, 0x56, 0x78]);
    header.extend([(5 + options.len() as u8 / 4) << 4, 0x18, 0x72, 0x11]);
    header.extend([0xca, 0xfe, 0x13, 0x37]);
    joined(&[&header, options, payload])
}

pub fn udp_to(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len() as u16).to_be_bytes();
    joined(&[&[0xc7, 0x39], &port.to_be_bytes(), &len, &[0xca, 0xfe], payload])
}

/// To port 53.
pub fn udp(payload: &[u8]) -> Vec<u8> {
    udp_to(53, payload)
}

/// ICMP of either family: type, code, checksum, four bytes, the rest.
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    joined(&[&[kind, code, 0xca, 0xfe], &rest, payload])
}

/// The packets that tunnels carry: TCP with a body, in either family.
pub fn inner4() -> Vec<u8> {
    ipv4_between(INNER_SRC, INNER_DST, 6, &[], &tcp(&[], BODY))
}

pub fn inner6() -> Vec<u8> {
    ipv6_between(INNER_SRC6, INNER_DST6, 6, &tcp(&[], BODY))
}
