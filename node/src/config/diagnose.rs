//! Says what is wrong with the configuration: file, line, column, the line itself with a caret under the
//! place, and what to do. One form for typos, wrong types and wrong values alike.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::reference;

/// Largest configuration file, bytes.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Most characters of a line that are shown.
const MAX_SHOWN_CHARS: usize = 160;
/// Changes of one letter that still count as a typo.
const MAX_TYPO_DISTANCE: usize = 3;

/// A configuration that cannot be used. The operator acts.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {why}\nname the configuration with --config, or make a node with `como-node init DIR`", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        why: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}:{column}: {what}\n{excerpt}\n{fix}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong.
        what: String,
        /// The line and the caret.
        excerpt: String,
        /// What to do.
        fix: String,
    },
}

pub(super) fn read(file: &Path) -> Result<String, ConfigError> {
    let unreadable = |why| ConfigError::Unreadable {
        file: file.to_owned(),
        why,
    };
    let mut text = String::new();
    std::fs::File::open(file)
        .map_err(unreadable)?
        .take(MAX_CONFIG_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(unreadable(std::io::Error::other(format!(
            "larger than {MAX_CONFIG_BYTES} bytes"
        ))));
    }
    Ok(text)
}

/// Anything that stands at a place in the file.
pub(super) trait Where {
    /// Its bytes in the file.
    fn range(&self) -> Range<usize>;
}

impl Where for Range<usize> {
    fn range(&self) -> Range<usize> {
        self.clone()
    }
}

impl<T> Where for &Spanned<T> {
    fn range(&self) -> Range<usize> {
        self.span()
    }
}

/// The text that errors point into.
#[derive(Clone, Copy)]
pub(super) struct Located<'a> {
    pub file: &'a Path,
    pub text: &'a str,
}

impl Located<'_> {
    /// An error at a range of bytes.
    pub fn error(&self, at: Range<usize>, what: String, fix: String) -> ConfigError {
        let start = floor(self.text, at.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |end| end + 1);
        let line_text = self.text[line_start..].lines().next().unwrap_or("");
        let line = self.text[..line_start].matches('\n').count() + 1;
        let column = self.text[line_start..start].chars().count() + 1;
        let marked = self.text[start..floor(self.text, at.end.max(start))]
            .lines()
            .next()
            .map_or(1, |marked| marked.chars().count().max(1));
        ConfigError::Invalid {
            file: self.file.to_owned(),
            line,
            column,
            what,
            excerpt: excerpt(line, line_text, column, marked),
            fix,
        }
    }

    /// The parser's error in our words.
    pub fn of_toml(&self, error: &toml::de::Error) -> ConfigError {
        let at = error.span().unwrap_or(0..0);
        let section = self.section_of(&at);
        let message = error.message().trim();
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let (what, fix) = match quoted.as_slice() {
            [key, known @ ..] if message.starts_with("unknown field") => (
                format!("unknown key `{key}`{}", within(&section)),
                hint(key, known),
            ),
            [value, known @ ..] if message.starts_with("unknown variant") => {
                (format!("`{value}` is not one of the values"), hint(value, known))
            }
            [key] if message.starts_with("missing field") => {
                let of = if section.is_empty() {
                    key.to_string()
                } else {
                    section.clone()
                };
                (
                    format!("`{key}` is missing{}", within(&section)),
                    reference::describe(&of, key).unwrap_or_else(|| format!("add a section [{key}]")),
                )
            }
            _ => {
                let key = self.key_at(&at);
                let fix = reference::describe(&section, &key)
                    .unwrap_or_else(|| "see docs/configuration.md for every key".to_owned());
                (message.lines().collect::<Vec<_>>().join("; "), fix)
            }
        };
        self.error(at, what, fix)
    }

    /// Where the value of a key stands; the start of the file if it is not written on a line of its own.
    pub fn key(&self, section: &str, key: &str) -> Range<usize> {
        let mut at = 0;
        for line in self.text.split_inclusive('\n') {
            let start = at;
            at += line.len();
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            if name.trim() == key && self.section_of(&(start..start)) == section {
                let from = start + name.len() + 1 + (value.len() - value.trim_start().len());
                return from..from + value.split('#').next().unwrap_or("").trim().len();
            }
        }
        0..0
    }

    /// Name of the section that a place lies in; a header belongs to its own.
    fn section_of(&self, at: &Range<usize>) -> String {
        let start = floor(self.text, at.start);
        let end = self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |end| start + end);
        self.text[..end]
            .lines()
            .rev()
            .find_map(|line| line.trim().strip_prefix('[')?.split(']').next())
            .unwrap_or("")
            .trim()
            .to_owned()
    }

    fn key_at(&self, at: &Range<usize>) -> String {
        let start = floor(self.text, at.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |end| end + 1);
        let line = self.text[line_start..].lines().next().unwrap_or("");
        line.split('=').next().unwrap_or("").trim().to_owned()
    }
}

fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

fn within(section: &str) -> String {
    if section.is_empty() {
        String::new()
    } else {
        format!(" in [{section}]")
    }
}

fn excerpt(line: usize, text: &str, column: usize, marked: usize) -> String {
    // Tabs and control characters would move the caret; long lines show the part around it.
    let skip = column.saturating_sub(MAX_SHOWN_CHARS / 2);
    let skip = if text.chars().count() <= MAX_SHOWN_CHARS {
        0
    } else {
        skip
    };
    let shown: String = text
        .chars()
        .skip(skip)
        .take(MAX_SHOWN_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let before = " ".repeat(column - 1 - skip);
    let room = MAX_SHOWN_CHARS.saturating_sub(column - 1 - skip).max(1);
    let carets = "^".repeat(marked.min(room));
    format!("{gutter} |\n{number} | {shown}\n{gutter} | {before}{carets}")
}

fn hint(word: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .min();
    match nearest {
        Some((distance, candidate)) if distance <= MAX_TYPO_DISTANCE.min(candidate.len() / 2) => {
            format!("did you mean `{candidate}`?")
        }
        _ => format!("known here: {}", known.join(", ")),
    }
}

/// Edit distance, a transposition counting as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in table.iter_mut().enumerate() {
        row[0] = i;
    }
    table[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = best;
        }
    }
    table[a.len()][b.len()]
}
