//! Recursive descent over the words. Owns the depth and size limits and every refusal's wording.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::ast::{Compare, Expr, Scope, Side, TUNNELS, Test};
use super::lexer::{Token, tokens};
use super::{FilterError, MAX_FILTER_DEPTH, MAX_FILTER_TESTS};
use crate::dissect::transport::{
    PROTOCOL_ICMP, PROTOCOL_ICMP6, PROTOCOL_IGMP, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP,
};

const NUMERIC: &str = "Only numeric addresses, ports and protocols are understood; names are never resolved.";
const SUBSET: &str = "Use host, net, port, portrange, proto, a protocol name, ether host, vlan, len, greater, less or tcp[tcpflags].";
const IP_AND_SIDE: &str = "Write for example: ip src host 192.0.2.1, or: tcp dst port 443.";

pub(super) fn parse(text: &str) -> Result<Expr, FilterError> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(Expr::Any);
    }
    let mut parser = Parser {
        tokens,
        at: 0,
        end: text.len(),
        tests: 0,
        last: None,
    };
    let expr = parser.list(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.refuse(
            "cannot stand here",
            "Join tests with and, or; check the parentheses.",
        )),
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    end: usize,
    tests: usize,
    /// Keywords of the last test with a value: a bare value repeats them.
    last: Option<Keywords>,
}

#[derive(Clone, Copy)]
struct Keywords {
    protocol: Protocol,
    side: Side,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    None,
    Ether,
    Ip,
    Ip6,
    Arp,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Igmp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).map(|token| token.text)
    }

    fn accept(&mut self, words: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| words.contains(&word));
        self.at += usize::from(found);
        found
    }

    /// An error about the word at hand.
    fn refuse(&self, what: &str, advice: &'static str) -> FilterError {
        match self.tokens.get(self.at) {
            Some(token) => FilterError::new(token.position, format!("`{}` {what}", token.text), advice),
            None => FilterError::new(self.end, "the filter ends too early", advice),
        }
    }

    /// Tests joined by and, or: equal precedence, left to right.
    fn list(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut left = self.factor(depth)?;
        loop {
            if self.accept(&["and", "&&"]) {
                left = Expr::and(left, self.factor(depth)?);
            } else if self.accept(&["or", "||"]) {
                left = Expr::or(left, self.factor(depth)?);
            } else {
                return Ok(left);
            }
        }
    }

    fn factor(&mut self, depth: usize) -> Result<Expr, FilterError> {
        if depth >= MAX_FILTER_DEPTH {
            return Err(self.refuse(
                "is nested too deeply",
                "Use at most 32 levels of parentheses and negations.",
            ));
        }
        if self.accept(&["not", "!"]) {
            return Ok(match self.factor(depth + 1)? {
                Expr::Not(inner) => *inner,
                inner => Expr::Not(Box::new(inner)),
            });
        }
        if self.accept(&["("]) {
            let inner = self.list(depth + 1)?;
            if !self.accept(&[")"]) {
                return Err(self.refuse("stands where `)` is missing", "Close the parenthesis."));
            }
            return Ok(inner);
        }
        if self.tests >= MAX_FILTER_TESTS {
            return Err(self.refuse(
                "is one test too many",
                "Use at most 256 tests; nets replace lists of hosts.",
            ));
        }
        self.tests += 1;
        self.test().map(Expr::Test)
    }

    fn test(&mut self) -> Result<Test, FilterError> {
        if self.accept(&["vlan"]) {
            return self.vlan();
        }
        if let Some((_, kind)) = TUNNELS.iter().find(|(word, _)| self.accept(&[word])) {
            return Ok(Test::Tunnel(*kind));
        }
        if self.accept(&["len"]) {
            let compare = self.compare()?;
            return Ok(Test::Length {
                compare,
                bytes: self.number()?,
            });
        }
        if self.accept(&["greater"]) {
            return Ok(Test::Length {
                compare: Compare::GreaterOrEqual,
                bytes: self.number()?,
            });
        }
        if self.accept(&["less"]) {
            return Ok(Test::Length {
                compare: Compare::LessOrEqual,
                bytes: self.number()?,
            });
        }
        let start = self.at;
        let protocol = self.protocol();
        if protocol == Protocol::Tcp && self.accept(&["["]) {
            return self.tcp_flags();
        }
        let side = self.side()?;
        let kind = self.kind();
        match (kind, side) {
            (None, None) if protocol != Protocol::None => self.bare_protocol(protocol),
            (None, None) => match self.last {
                // Nothing but a value: it repeats the keywords before it.
                Some(last) if self.starts_value() => self.value(last, start),
                _ if self.starts_value() => {
                    let keywords = Keywords {
                        protocol,
                        side: Side::Either,
                        kind: Kind::Host,
                    };
                    self.value(keywords, start)
                }
                _ => Err(self.refuse("is not a word of this filter language", SUBSET)),
            },
            (kind, side) => {
                let keywords = Keywords {
                    protocol,
                    side: side.unwrap_or(Side::Either),
                    kind: kind.unwrap_or(Kind::Host),
                };
                self.value(keywords, start)
            }
        }
    }

    fn protocol(&mut self) -> Protocol {
        let protocol = match self.peek() {
            Some("ether") => Protocol::Ether,
            Some("ip") => Protocol::Ip,
            Some("ip6") => Protocol::Ip6,
            Some("arp") => Protocol::Arp,
            Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some("sctp") => Protocol::Sctp,
            Some("icmp") => Protocol::Icmp,
            Some("icmp6") => Protocol::Icmp6,
            Some("igmp") => Protocol::Igmp,
            _ => return Protocol::None,
        };
        self.at += 1;
        protocol
    }

    /// `src`, `dst`, `src or dst`, `src and dst`, in either order.
    fn side(&mut self) -> Result<Option<Side>, FilterError> {
        let first = match self.peek() {
            Some("src") => Side::Src,
            Some("dst") => Side::Dst,
            _ => return Ok(None),
        };
        let other = if first == Side::Src { "dst" } else { "src" };
        self.at += 1;
        let joins = self
            .tokens
            .get(self.at + 1)
            .is_some_and(|token| token.text == other);
        // `src or dst host A`, but not `src A or dst B`, whose value stands in between.
        let side = match self.peek() {
            Some("or" | "||") if joins => Side::Either,
            Some("and" | "&&") if joins => Side::Both,
            _ => return Ok(Some(first)),
        };
        self.at += 2;
        Ok(Some(side))
    }

    fn kind(&mut self) -> Option<Kind> {
        let kind = match self.peek()? {
            "host" => Kind::Host,
            "net" => Kind::Net,
            "port" => Kind::Port,
            "portrange" => Kind::PortRange,
            "proto" => Kind::Proto,
            _ => return None,
        };
        self.at += 1;
        Some(kind)
    }

    fn starts_value(&self) -> bool {
        self.peek()
            .is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()) || word.contains(':'))
    }

    fn bare_protocol(&mut self, protocol: Protocol) -> Result<Test, FilterError> {
        Ok(match protocol {
            Protocol::Ip => Test::IpVersion(4),
            Protocol::Ip6 => Test::IpVersion(6),
            Protocol::Arp => Test::Arp,
            Protocol::Tcp => Test::Protocol {
                version: None,
                number: PROTOCOL_TCP,
            },
            Protocol::Udp => Test::Protocol {
                version: None,
                number: PROTOCOL_UDP,
            },
            Protocol::Sctp => Test::Protocol {
                version: None,
                number: PROTOCOL_SCTP,
            },
            Protocol::Igmp => Test::Protocol {
                version: Some(4),
                number: PROTOCOL_IGMP,
            },
            Protocol::Icmp => Test::Protocol {
                version: Some(4),
                number: PROTOCOL_ICMP,
            },
            Protocol::Icmp6 => Test::Protocol {
                version: Some(6),
                number: PROTOCOL_ICMP6,
            },
            Protocol::Ether | Protocol::None => {
                return Err(self.refuse(
                    "cannot follow `ether`",
                    "Write for example: ether src host 02:00:00:00:00:01.",
                ));
            }
        })
    }

    /// The value that `keywords` announce. `start` is the first word of the test, for errors.
    fn value(&mut self, keywords: Keywords, start: usize) -> Result<Test, FilterError> {
        let Keywords { protocol, side, kind } = keywords;
        let test = match (kind, protocol) {
            (Kind::Host, Protocol::Ether) => Test::Mac {
                side,
                mac: self.mac()?,
            },
            (Kind::Host, Protocol::None | Protocol::Ip | Protocol::Ip6 | Protocol::Arp) => {
                self.host(protocol, side)?
            }
            (Kind::Net, Protocol::None | Protocol::Ip | Protocol::Ip6 | Protocol::Arp) => {
                self.net(protocol, side)?
            }
            (
                Kind::Port | Kind::PortRange,
                Protocol::None | Protocol::Tcp | Protocol::Udp | Protocol::Sctp,
            ) => {
                let protocol = match protocol {
                    Protocol::Tcp => Some(PROTOCOL_TCP),
                    Protocol::Udp => Some(PROTOCOL_UDP),
                    Protocol::Sctp => Some(PROTOCOL_SCTP),
                    _ => None,
                };
                let (from, to) = self.ports(kind)?;
                Test::Port {
                    protocol,
                    side,
                    from,
                    to,
                }
            }
            (Kind::Proto, Protocol::None | Protocol::Ip | Protocol::Ip6) if side == Side::Either => {
                let version = match protocol {
                    Protocol::Ip => Some(4),
                    Protocol::Ip6 => Some(6),
                    _ => None,
                };
                Test::Protocol {
                    version,
                    number: self.protocol_number()?,
                }
            }
            _ => {
                self.at = start;
                return Err(self.refuse("cannot stand before these words", IP_AND_SIDE));
            }
        };
        self.last = Some(keywords);
        Ok(test)
    }

    fn vlan(&mut self) -> Result<Test, FilterError> {
        if !self.starts_value() {
            return Ok(Test::Vlan(None));
        }
        let at = self.at;
        match self.number()? {
            id @ 0..=4095 => Ok(Test::Vlan(Some(id as u16))),
            _ => {
                self.at = at;
                Err(self.refuse("is no VLAN id", "VLAN ids are 0 to 4095."))
            }
        }
    }

    fn host(&mut self, protocol: Protocol, side: Side) -> Result<Test, FilterError> {
        let is_net = self
            .tokens
            .get(self.at + 1)
            .is_some_and(|token| token.text == "/");
        if is_net {
            return Err(self.refuse(
                "is a net, not a host",
                "Write net before an address with a prefix length.",
            ));
        }
        let word = self.peek().unwrap_or("");
        let (version, prefix) = if let Ok(address) = word.parse::<Ipv4Addr>() {
            (4, v4_prefix(address.into()))
        } else if let Ok(address) = word.parse::<Ipv6Addr>() {
            (6, address.into())
        } else {
            return Err(self.refuse("is not an address", NUMERIC));
        };
        let scope = self.scope(protocol, version)?;
        self.at += 1;
        Ok(Test::Address {
            scope,
            side,
            version,
            prefix,
            bits: 128,
        })
    }

    fn net(&mut self, protocol: Protocol, side: Side) -> Result<Test, FilterError> {
        let start = self.at;
        let word = self.peek().unwrap_or("");
        let (version, prefix, implied) = if let Ok(address) = word.parse::<Ipv6Addr>() {
            (6, u128::from(address), 128)
        } else if let Some((address, bits)) = partial_v4(word) {
            (4, v4_prefix(address), 96 + bits)
        } else {
            return Err(self.refuse("is not a network", NUMERIC));
        };
        let scope = self.scope(protocol, version)?;
        self.at += 1;
        let bits = if self.accept(&["/"]) {
            let base = if version == 4 { 96 } else { 0 };
            let at = self.at;
            match self.number()? {
                bits if bits + base <= 128 => (bits + base) as u8,
                _ => {
                    self.at = at;
                    return Err(self.refuse(
                        "is too long a prefix",
                        "IPv4 prefixes end at /32, IPv6 ones at /128.",
                    ));
                }
            }
        } else if version == 4 && self.accept(&["mask"]) {
            self.mask()?
        } else {
            implied
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        if prefix & !mask != 0 {
            self.at = start;
            return Err(self.refuse(
                "has bits beyond its prefix length",
                "Clear the host bits, or write host.",
            ));
        }
        Ok(Test::Address {
            scope,
            side,
            version,
            prefix,
            bits,
        })
    }

    fn mask(&mut self) -> Result<u8, FilterError> {
        let mask = self
            .peek()
            .and_then(|word| word.parse::<Ipv4Addr>().ok())
            .map(u32::from);
        match mask {
            Some(mask) if mask.leading_ones() + mask.trailing_zeros() >= 32 => {
                self.at += 1;
                Ok(96 + mask.leading_ones() as u8)
            }
            _ => Err(self.refuse(
                "is not a network mask",
                "Write for example: net 192.0.2.0 mask 255.255.255.0.",
            )),
        }
    }

    fn scope(&self, protocol: Protocol, version: u8) -> Result<Scope, FilterError> {
        match (protocol, version) {
            (Protocol::None, _) => Ok(Scope::Any),
            (Protocol::Ip, 4) | (Protocol::Ip6, 6) => Ok(Scope::Ip),
            (Protocol::Arp, 4) => Ok(Scope::Arp),
            _ => Err(self.refuse(
                "is of the other address family",
                "ip and arp go with IPv4, ip6 with IPv6.",
            )),
        }
    }

    fn mac(&mut self) -> Result<[u8; 6], FilterError> {
        let mut mac = [0; 6];
        let mut parts = self.peek().unwrap_or("").split([':', '-']);
        for byte in &mut mac {
            let part = parts.next().filter(|part| matches!(part.len(), 1 | 2));
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value
                .ok_or_else(|| self.refuse("is not a MAC address", "Write six pairs: 02:00:00:00:00:01."))?;
        }
        if parts.next().is_some() {
            return Err(self.refuse("is not a MAC address", "Write six pairs: 02:00:00:00:00:01."));
        }
        self.at += 1;
        Ok(mac)
    }

    fn ports(&mut self, kind: Kind) -> Result<(u16, u16), FilterError> {
        let word = self.peek().unwrap_or("");
        let range = match (kind, word.split_once('-')) {
            (Kind::PortRange, Some((from, to))) => from.parse().ok().zip(to.parse().ok()),
            (Kind::PortRange, None) => None,
            _ => word.parse().ok().map(|port| (port, port)),
        };
        match range {
            Some((from, to)) if from <= to => {
                self.at += 1;
                Ok((from, to))
            }
            _ if kind == Kind::PortRange => Err(self.refuse(
                "is not a range of ports",
                "Write portrange 1024-2048, the smaller port first.",
            )),
            _ => Err(self.refuse("is not a port", NUMERIC)),
        }
    }

    fn protocol_number(&mut self) -> Result<u8, FilterError> {
        let word = self.peek().unwrap_or("");
        let number = match word.trim_start_matches('\\') {
            "tcp" => Some(PROTOCOL_TCP),
            "udp" => Some(PROTOCOL_UDP),
            "sctp" => Some(PROTOCOL_SCTP),
            "igmp" => Some(PROTOCOL_IGMP),
            "icmp" => Some(PROTOCOL_ICMP),
            "icmp6" => Some(PROTOCOL_ICMP6),
            word => word.parse().ok(),
        };
        let number = number.ok_or_else(|| self.refuse("is not an IP protocol", NUMERIC))?;
        self.at += 1;
        Ok(number)
    }

    /// After `tcp[`.
    fn tcp_flags(&mut self) -> Result<Test, FilterError> {
        if !self.accept(&["tcpflags", "13"]) {
            return Err(self.refuse(
                "is not a part of TCP that filters see",
                "Only tcp[tcpflags] is understood.",
            ));
        }
        if !self.accept(&["]"]) {
            return Err(self.refuse(
                "stands where `]` is missing",
                "Write tcp[tcpflags] & tcp-syn != 0.",
            ));
        }
        let mask = if self.accept(&["&"]) {
            let at = self.at;
            u8::try_from(self.flags()?).map_err(|_| {
                self.at = at;
                self.refuse("is more than the eight flags", "Flags are numbers up to 255.")
            })?
        } else {
            0xff
        };
        let compare = self.compare()?;
        Ok(Test::TcpFlags {
            mask,
            compare,
            value: self.flags()?,
        })
    }

    /// A number, a flag name, or several joined by `|`, in parentheses or not.
    fn flags(&mut self) -> Result<u32, FilterError> {
        if self.accept(&["("]) {
            let flags = self.flag_list()?;
            if !self.accept(&[")"]) {
                return Err(self.refuse("stands where `)` is missing", "Close the parenthesis."));
            }
            return Ok(flags);
        }
        self.flag_list()
    }

    fn flag_list(&mut self) -> Result<u32, FilterError> {
        let mut flags = self.flag()?;
        while self.accept(&["|"]) {
            flags |= self.flag()?;
        }
        Ok(flags)
    }

    fn flag(&mut self) -> Result<u32, FilterError> {
        const FLAGS: [&str; 8] = [
            "tcp-fin", "tcp-syn", "tcp-rst", "tcp-push", "tcp-ack", "tcp-urg", "tcp-ece", "tcp-cwr",
        ];
        if let Some(bit) = FLAGS.iter().position(|name| self.peek() == Some(name)) {
            self.at += 1;
            return Ok(1 << bit);
        }
        self.number()
    }

    fn compare(&mut self) -> Result<Compare, FilterError> {
        let compare = match self.peek() {
            Some("=" | "==") => Compare::Equal,
            Some("!=") => Compare::NotEqual,
            Some("<") => Compare::Less,
            Some("<=") => Compare::LessOrEqual,
            Some(">") => Compare::Greater,
            Some(">=") => Compare::GreaterOrEqual,
            _ => return Err(self.refuse("is not a comparison", "Use one of = == != < <= > >=.")),
        };
        self.at += 1;
        Ok(compare)
    }

    /// Decimal, or hexadecimal after 0x.
    fn number(&mut self) -> Result<u32, FilterError> {
        let word = self.peek().unwrap_or("");
        let number = match word.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        };
        let plain = word.starts_with(|c: char| c.is_ascii_digit()) && !word.contains('+');
        let number = number
            .filter(|_| plain)
            .ok_or_else(|| self.refuse("is not a number", NUMERIC))?;
        self.at += 1;
        Ok(number)
    }
}

/// An IPv4 address as columns hold it.
fn v4_prefix(address: u32) -> u128 {
    u128::from(address) | 0xffff << 32
}

/// `10`, `10.1`, `10.1.2`, `10.1.2.3`: the address and the bits that were given.
fn partial_v4(word: &str) -> Option<(u32, u8)> {
    let mut address = 0u32;
    let mut bits = 0u8;
    for part in word.split('.') {
        let plain = part.bytes().all(|digit| digit.is_ascii_digit());
        let byte: u8 = part.parse().ok().filter(|_| plain && bits < 32)?;
        address |= u32::from(byte) << (24 - bits);
        bits += 8;
    }
    Some((address, bits))
}
