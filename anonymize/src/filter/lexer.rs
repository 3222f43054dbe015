//! Words and signs of a filter, with their positions. Owns the length limit; knows no keyword.

use super::{FilterError, MAX_FILTER_BYTES};

/// One word or sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) position: usize,
}

/// Signs, longer ones first.
const SIGNS: [&str; 17] = [
    "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "!", "&", "|", "=", "<", ">", "/",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, FilterError> {
    if text.len() > MAX_FILTER_BYTES {
        let what = format!("{} bytes are too long", text.len());
        return Err(FilterError::new(
            MAX_FILTER_BYTES,
            what,
            "Use at most 4096 bytes; nets replace lists of hosts.",
        ));
    }
    let mut found = Vec::new();
    let mut position = 0;
    while let Some(next) = text[position..].chars().next() {
        if next.is_ascii_whitespace() {
            position += 1;
            continue;
        }
        let rest = &text[position..];
        let len = match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => sign.len(),
            None => rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()),
        };
        if len == 0 {
            let what = format!("the character {next:?} has no meaning here");
            return Err(FilterError::new(
                position,
                what,
                "Use the words and signs of the documented subset.",
            ));
        }
        found.push(Token {
            text: &rest[..len],
            position,
        });
        position += len;
    }
    Ok(found)
}

/// Addresses, ranges and flag names are words.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '\\')
}
