//! A filter in other names: what a filter on real values or on an audience's pseudonyms means under the node's own
//! pseudonyms, in which the index of the trace is written. Owns the promise that the translation passes whatever
//! the filter passes; it may pass more.

use super::ast::{Compare, Expr, Test};
use super::narrow::is_coarse;
use super::{Filter, MAX_FILTER_TESTS};
use crate::treat::Anonymizer;
use crate::treat::headers::{FIRST_NIC_BIT, is_shown_address};
use crate::treat::port::is_exact_port;

/// Ports of a range that are translated one by one; a longer range is left to evaluation.
const MAX_TRANSLATED_PORTS: usize = 16;
/// An IPv4 address in the 128-bit form of columns has this many bits before it.
const V4_OFFSET: u8 = 96;

/// Whose names a filter uses.
#[derive(Clone, Copy)]
pub enum Names<'a> {
    /// Real values, as `payload` shows them and `headers` but for the NIC parts of addresses; with the node's map.
    Real(&'a Anonymizer),
    /// Pseudonyms that an audience's map made of the node's.
    Audience(&'a Anonymizer),
}

/// What becomes of one test.
enum Translated {
    Exact(Expr),
    /// Passes more than it should.
    Wider(Expr),
    /// Nothing can be said.
    Unknown,
}

impl Filter {
    /// The filter under the node's own pseudonyms: whatever passes this one passes that. `None` where the
    /// translation would be longer than a filter may be.
    pub fn under_node(&self, names: Names<'_>) -> Option<Filter> {
        if self.is_any() {
            return Some(Filter::any());
        }
        let filter = Filter(translate(&self.0, names, true));
        let fits = filter.0.tests().count() <= MAX_FILTER_TESTS;
        // What is sent to a reader as text must come back as it is.
        (fits && Filter::parse(&filter.canonical()).as_ref() == Ok(&filter)).then_some(filter)
    }
}

/// Below a negation everything turns: what passes less makes the negation pass more.
fn translate(expr: &Expr, names: Names<'_>, upright: bool) -> Expr {
    match expr {
        Expr::Any => Expr::Any,
        Expr::Test(test) => match (translate_test(test, names), upright) {
            (Translated::Exact(expr), _) | (Translated::Wider(expr), true) => expr,
            (Translated::Unknown, true) => Expr::Test(ALWAYS),
            (Translated::Wider(_) | Translated::Unknown, false) => Expr::Test(NEVER),
        },
        Expr::Not(inner) => Expr::Not(Box::new(translate(inner, names, !upright))),
        Expr::And(parts) => {
            let parts = parts.iter().map(|part| translate(part, names, upright));
            parts.reduce(Expr::and).unwrap_or(Expr::Test(ALWAYS))
        }
        Expr::Or(parts) => {
            let parts = parts.iter().map(|part| translate(part, names, upright));
            parts.reduce(Expr::or).unwrap_or(Expr::Test(NEVER))
        }
    }
}

const ALWAYS: Test = Test::Length {
    compare: Compare::GreaterOrEqual,
    bytes: 0,
};
const NEVER: Test = Test::Length {
    compare: Compare::Less,
    bytes: 0,
};

fn translate_test(test: &Test, names: Names<'_>) -> Translated {
    match *test {
        Test::Address { prefix, bits, .. } if is_coarse(prefix, bits) => Translated::Unknown,
        Test::Address {
            scope,
            side,
            version,
            prefix,
            bits,
        } => {
            let (prefix, to_bits) = match version {
                4 => (v4(prefix, bits, names), bits),
                _ => v6(prefix, bits, names),
            };
            let expr = Expr::Test(Test::Address {
                scope,
                side,
                version,
                prefix,
                bits: to_bits,
            });
            if to_bits == bits {
                Translated::Exact(expr)
            } else {
                Translated::Wider(expr)
            }
        }
        Test::Port { from, to, .. } if (from, to) == (0, u16::MAX) || (from..=to).all(is_exact_port) => {
            Translated::Exact(Expr::Test(*test))
        }
        Test::Port {
            protocol,
            side,
            from,
            to,
        } if usize::from(to - from) < MAX_TRANSLATED_PORTS
            && (from == to || side != super::ast::Side::Both) =>
        {
            let one = |port| {
                let port = translate_port(port, names);
                Expr::Test(Test::Port {
                    protocol,
                    side,
                    from: port,
                    to: port,
                })
            };
            (from..=to)
                .map(one)
                .reduce(Expr::or)
                .map_or(Translated::Unknown, Translated::Exact)
        }
        Test::Port { .. } | Test::Mac { .. } | Test::Vlan(Some(_)) => Translated::Unknown,
        Test::IpVersion(_)
        | Test::Arp
        | Test::Protocol { .. }
        | Test::Vlan(None)
        | Test::Tunnel(_)
        | Test::Length { .. }
        | Test::TcpFlags { .. } => Translated::Exact(Expr::Test(*test)),
    }
}

fn translate_port(port: u16, names: Names<'_>) -> u16 {
    match names {
        Names::Real(node) => node.map_port(port),
        Names::Audience(audience) => audience.unmap_port(port),
    }
}

/// Crypto-PAn maps a prefix to a prefix: any address under it tells which.
fn v4(prefix: u128, bits: u8, names: Names<'_>) -> u128 {
    if bits < V4_OFFSET {
        return prefix;
    }
    let mapped = match names {
        Names::Real(node) => node.map_v4(prefix as u32),
        Names::Audience(audience) => audience.unmap_v4(prefix as u32),
    };
    (prefix >> 32 << 32 | u128::from(mapped)) & mask(bits)
}

/// The prefix and its bits: fewer where the map preserves no prefix of that length.
fn v6(prefix: u128, bits: u8, names: Names<'_>) -> (u128, u8) {
    let (map, hides_nic) = match names {
        Names::Real(map) => (
            map,
            bits > FIRST_NIC_BIT && !is_shown_address(prefix.to_be_bytes()),
        ),
        Names::Audience(map) => (map, false),
    };
    let bits = match bits {
        128 if !hides_nic => 128,
        bits => bits
            .min(map.v6_prefix_bits())
            .min(if hides_nic { 64 } else { 128 }),
    };
    let mapped = match names {
        Names::Real(node) => node.map_v6(prefix),
        Names::Audience(audience) => audience.unmap_v6(prefix),
    };
    (mapped & mask(bits), bits)
}

fn mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}
