//! Filters: a documented subset of pcap-filter, parsed by our own code and evaluated on the columns of the
//! asker's view. Never sees a packet, never resolves a name.
//!
//! ```text
//! ip  ip6  arp  tcp  udp  icmp  icmp6            ip proto N   ip6 proto N   proto N
//! [ip|ip6|arp] [src|dst|src or dst|src and dst] host A        the word `host` may be left out
//! [ip|ip6|arp] [src|dst|...] net A/BITS          net A mask M    net 10.1 (= 10.1.0.0/16)
//! [tcp|udp] [src|dst|...] port N                 [tcp|udp] [...] portrange N-M
//! ether [src|dst|...] host MAC                   vlan [ID]
//! len OP N   greater N   less N                  OP is one of  =  ==  !=  <  <=  >  >=
//! tcp[tcpflags] OP V     tcp[tcpflags] & V OP V  V is a number or flag names: (tcp-syn|tcp-ack)
//! not E  ! E   E and E  E && E   E or E  E || E   ( E )
//! ```
//!
//! As in pcap-filter, `and` and `or` have equal precedence and group from left to right, and a value without a
//! keyword repeats the keywords before it: `port 80 or 443`. Unlike there, `vlan` tells tagged packets and
//! shifts nothing: all other words look into the tag anyway. An empty text is the filter that all packets pass.

mod ast;
mod eval;
mod lexer;
mod names;
mod narrow;
mod parser;

use como_policies::AccessLevel;
use thiserror::Error;

use crate::bitmap::Bitmap;
use crate::columns::Columns;
use ast::Expr;
pub use names::Names;
pub use narrow::Fact;

/// Longest filter text, bytes.
pub const MAX_FILTER_BYTES: usize = 4096;
/// Deepest nesting of parentheses and negations.
pub const MAX_FILTER_DEPTH: usize = 32;
/// Most tests in one filter.
pub const MAX_FILTER_TESTS: usize = 256;

/// A parsed filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Expr);

/// Why a text is not a filter. Two lines: what is wrong and where, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("filter, column {}: {what}\n{advice}", position + 1)]
pub struct FilterError {
    /// Byte offset of the word in question, from 0.
    pub position: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

impl FilterError {
    fn new(position: usize, what: impl Into<String>, advice: &'static str) -> Self {
        FilterError {
            position,
            what: what.into(),
            advice,
        }
    }

    /// The filter with a caret under the word, then the error.
    pub fn with_caret(&self, text: &str) -> String {
        let clean: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let column = text
            .char_indices()
            .take_while(|(at, _)| *at < self.position)
            .count();
        format!("{clean}\n{:column$}^\n{self}", "")
    }
}

impl Filter {
    /// The filter that every packet passes.
    pub fn any() -> Self {
        Filter(Expr::Any)
    }

    /// Parses a filter.
    ///
    /// # Errors
    /// Names the first word that is not of the subset, with its position.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parser::parse(text).map(Filter)
    }

    /// The rows that pass.
    pub fn eval(&self, columns: &Columns) -> Bitmap {
        self.0.eval(columns)
    }

    /// One spelling for all that parse to the same; parsing it gives the same filter. Empty for `any`.
    pub fn canonical(&self) -> String {
        self.0.to_string()
    }

    /// The columns that evaluating it looks at: a reader need open no others.
    pub fn columns(&self) -> impl Iterator<Item = crate::columns::Column> + '_ {
        self.0.tests().flat_map(|test| test.columns().iter().copied())
    }

    /// Whether it is the filter that every packet passes.
    pub fn is_any(&self) -> bool {
        self.0 == Expr::Any
    }

    /// Whether it names values that are pseudonyms at a level: there it holds for one audience and epoch.
    pub fn names_pseudonyms_at(&self, level: AccessLevel) -> bool {
        self.0.tests().any(|test| test.names_pseudonym_at(level))
    }

    /// Both filters at once: what a requester's and a module's filter make together on one view.
    pub fn and(self, other: Filter) -> Filter {
        Filter(Expr::and(self.0, other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::PacketRow;
    use crate::tunnel::TunnelKind;

    #[test]
    fn tunnels_and_the_newer_protocols_have_their_words() {
        let mut columns = Columns::default();
        columns.push(&PacketRow {
            ip_version: 4,
            protocol: 132,
            src_port: 2905,
            tunnel: TunnelKind::Mpls.as_u8(),
            ..PacketRow::default()
        });
        for (text, passes) in [
            ("mpls", true),
            ("vxlan or geneve or pppoes", false),
            ("sctp", true),
            ("sctp src port 2905", true),
            ("port 2905", true),
            ("udp port 2905", false),
            ("igmp", false),
            ("ip proto sctp", true),
        ] {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(filter.eval(&columns).get(0), passes, "{text}");
            assert_eq!(Filter::parse(&filter.canonical()).unwrap(), filter, "{text}");
        }
    }
}
