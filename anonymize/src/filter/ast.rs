//! What a filter says, and its canonical text. Owns the meaning of each test in words; evaluation is elsewhere.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use como_policies::AccessLevel;

use crate::columns::Column;
use crate::dissect::transport::{PROTOCOL_SCTP, PROTOCOL_TCP};
use crate::treat::headers::{FIRST_NIC_BIT, is_shown_address, is_shown_mac};
use crate::treat::port::is_exact_port;
use crate::tunnel::TunnelKind;

/// A filter's expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    Any,
    Test(Test),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

/// One question about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    IpVersion(u8),
    Arp,
    /// IP protocol, in the given IP version or either.
    Protocol {
        version: Option<u8>,
        number: u8,
    },
    /// Address under a prefix; `bits` counts in the 128-bit form of columns.
    Address {
        scope: Scope,
        side: Side,
        version: u8,
        prefix: u128,
        bits: u8,
    },
    Mac {
        side: Side,
        mac: [u8; 6],
    },
    Port {
        protocol: Option<u8>,
        side: Side,
        from: u16,
        to: u16,
    },
    Vlan(Option<u16>),
    /// The outermost tunnel is of this kind.
    Tunnel(TunnelKind),
    Length {
        compare: Compare,
        bytes: u32,
    },
    TcpFlags {
        mask: u8,
        compare: Compare,
        value: u32,
    },
}

/// In which packets an address counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Any,
    Ip,
    Arp,
}

/// Which end must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Either,
    Src,
    Dst,
    Both,
}

/// A comparison of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Compare {
    pub(super) fn holds(self, left: u32, right: u32) -> bool {
        match self {
            Compare::Equal => left == right,
            Compare::NotEqual => left != right,
            Compare::Less => left < right,
            Compare::LessOrEqual => left <= right,
            Compare::Greater => left > right,
            Compare::GreaterOrEqual => left >= right,
        }
    }
}

impl Expr {
    /// Flattens, so that `a and b and c` is one list however it was grouped.
    pub(super) fn and(left: Expr, right: Expr) -> Expr {
        if left == Expr::Any {
            return right;
        }
        if right == Expr::Any {
            return left;
        }
        let mut list = match left {
            Expr::And(list) => list,
            other => vec![other],
        };
        match right {
            Expr::And(more) => list.extend(more),
            other => list.push(other),
        }
        Expr::And(list)
    }

    /// Likewise for `or`.
    pub(super) fn or(left: Expr, right: Expr) -> Expr {
        if left == Expr::Any || right == Expr::Any {
            return Expr::Any;
        }
        let mut list = match left {
            Expr::Or(list) => list,
            other => vec![other],
        };
        match right {
            Expr::Or(more) => list.extend(more),
            other => list.push(other),
        }
        Expr::Or(list)
    }

    /// Every test in it.
    pub(super) fn tests(&self) -> Box<dyn Iterator<Item = &Test> + '_> {
        match self {
            Expr::Any => Box::new(std::iter::empty()),
            Expr::Test(test) => Box::new(std::iter::once(test)),
            Expr::Not(inner) => inner.tests(),
            Expr::And(list) | Expr::Or(list) => Box::new(list.iter().flat_map(Expr::tests)),
        }
    }
}

impl Test {
    /// The columns that deciding it looks at.
    pub(super) fn columns(&self) -> &'static [Column] {
        use Column::*;
        match self {
            Test::IpVersion(_) => &[IpVersion],
            Test::Arp => &[Ethertype],
            Test::Protocol { .. } => &[Protocol, IpVersion],
            Test::Address { .. } => &[Src, Dst, IpVersion, Ethertype],
            Test::Mac { .. } => &[SrcMac, DstMac, Ethertype],
            Test::Port { .. } => &[SrcPort, DstPort, Protocol, Fragment],
            Test::Vlan(_) => &[Vlan],
            Test::Tunnel(_) => &[Tunnel],
            Test::Length { .. } => &[WireLen],
            Test::TcpFlags { .. } => &[TcpFlags, Protocol, Fragment],
        }
    }

    /// Whether its value is a pseudonym at a level.
    pub(super) fn names_pseudonym_at(&self, level: AccessLevel) -> bool {
        match *self {
            _ if level == AccessLevel::Payload => false,
            Test::Mac { mac, .. } if level == AccessLevel::Headers => !is_shown_mac(mac),
            Test::Address {
                version: 6,
                prefix,
                bits,
                ..
            } if level == AccessLevel::Headers => {
                bits > FIRST_NIC_BIT && !is_shown_address(prefix.to_be_bytes())
            }
            _ if level == AccessLevel::Headers => false,
            Test::Address { .. } | Test::Mac { .. } | Test::Vlan(Some(_)) => true,
            // A range over all ports, or one of exact ports, means the same under every key.
            Test::Port { from, to, .. } => (from, to) != (0, u16::MAX) && !(from..=to).all(is_exact_port),
            _ => false,
        }
    }
}

/// Tunnels that pcap-filter has a word for.
pub(super) const TUNNELS: [(&str, TunnelKind); 4] = [
    ("geneve", TunnelKind::Geneve),
    ("mpls", TunnelKind::Mpls),
    ("pppoes", TunnelKind::Pppoe),
    ("vxlan", TunnelKind::Vxlan),
];

/// The word of a kind; the parser makes tests of no others.
fn tunnel_word(kind: TunnelKind) -> &'static str {
    TUNNELS
        .iter()
        .find(|(_, known)| *known == kind)
        .map_or("tunnel", |(word, _)| word)
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, list: &[Expr], word: &str| {
            for (at, part) in list.iter().enumerate() {
                if at > 0 {
                    write!(f, " {word} ")?;
                }
                // `and` and `or` have equal precedence: a list in a list is always put in parentheses.
                match part {
                    Expr::And(_) | Expr::Or(_) => write!(f, "({part})")?,
                    _ => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match self {
            Expr::Any => Ok(()),
            Expr::Test(test) => write!(f, "{test}"),
            Expr::Not(inner) => match **inner {
                Expr::And(_) | Expr::Or(_) => write!(f, "not ({inner})"),
                _ => write!(f, "not {inner}"),
            },
            Expr::And(parts) => list(f, parts, "and"),
            Expr::Or(parts) => list(f, parts, "or"),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Test::IpVersion(4) => f.write_str("ip"),
            Test::IpVersion(_) => f.write_str("ip6"),
            Test::Arp => f.write_str("arp"),
            Test::Protocol {
                version: None,
                number: 6,
            } => f.write_str("tcp"),
            Test::Protocol {
                version: None,
                number: 17,
            } => f.write_str("udp"),
            Test::Protocol {
                version: Some(4),
                number: 1,
            } => f.write_str("icmp"),
            Test::Protocol {
                version: Some(6),
                number: 58,
            } => f.write_str("icmp6"),
            Test::Protocol { version, number } => {
                f.write_str(match version {
                    None => "",
                    Some(4) => "ip ",
                    Some(_) => "ip6 ",
                })?;
                write!(f, "proto {number}")
            }
            Test::Address {
                scope,
                side,
                version,
                prefix,
                bits,
            } => {
                f.write_str(match (scope, version) {
                    (Scope::Any, _) => "",
                    (Scope::Ip, 4) => "ip ",
                    (Scope::Ip, _) => "ip6 ",
                    (Scope::Arp, _) => "arp ",
                })?;
                let word = if bits == 128 { "host" } else { "net" };
                write!(f, "{side}{word} ")?;
                if version == 4 {
                    write!(f, "{}", Ipv4Addr::from(prefix as u32))?;
                } else {
                    write!(f, "{}", Ipv6Addr::from(prefix))?;
                }
                match (bits, version) {
                    (128, _) => Ok(()),
                    (bits, 4) => write!(f, "/{}", bits - 96),
                    (bits, _) => write!(f, "/{bits}"),
                }
            }
            Test::Mac {
                side,
                mac: [a, b, c, d, e, g],
            } => {
                write!(
                    f,
                    "ether {side}host {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"
                )
            }
            Test::Port {
                protocol,
                side,
                from,
                to,
            } => {
                f.write_str(match protocol {
                    None => "",
                    Some(PROTOCOL_TCP) => "tcp ",
                    Some(PROTOCOL_SCTP) => "sctp ",
                    Some(_) => "udp ",
                })?;
                if from == to {
                    write!(f, "{side}port {from}")
                } else {
                    write!(f, "{side}portrange {from}-{to}")
                }
            }
            Test::Vlan(None) => f.write_str("vlan"),
            Test::Vlan(Some(id)) => write!(f, "vlan {id}"),
            Test::Tunnel(kind) => f.write_str(tunnel_word(kind)),
            Test::Length { compare, bytes } => write!(f, "len {compare} {bytes}"),
            Test::TcpFlags {
                mask: 0xff,
                compare,
                value,
            } => write!(f, "tcp[tcpflags] {compare} {value}"),
            Test::TcpFlags { mask, compare, value } => write!(f, "tcp[tcpflags] & {mask} {compare} {value}"),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Either => "",
            Side::Src => "src ",
            Side::Dst => "dst ",
            Side::Both => "src and dst ",
        })
    }
}

impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compare::Equal => "==",
            Compare::NotEqual => "!=",
            Compare::Less => "<",
            Compare::LessOrEqual => "<=",
            Compare::Greater => ">",
            Compare::GreaterOrEqual => ">=",
        })
    }
}
