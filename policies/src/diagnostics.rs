//! Cedar's errors as people read them: `file:line:column: message`, the line, a caret under the place.
//! Must never alter what it quotes.

use cedar_policy::Policy;
use miette::Diagnostic;
use std::fmt::Write;

/// Errors shown of one file; more would only scroll the first away.
const MAX_SHOWN: usize = 10;

/// A text with the name that people know it by.
pub(crate) struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// All that a Cedar error says, with its places.
    pub(crate) fn render(&self, error: &dyn Diagnostic) -> String {
        let mut all = vec![self.render_one(error)];
        for related in error.related().into_iter().flatten().take(MAX_SHOWN - 1) {
            all.push(self.render_one(related));
        }
        all.join("\n")
    }

    fn render_one(&self, error: &dyn Diagnostic) -> String {
        let mut message = error.to_string();
        let label = error.labels().and_then(|mut labels| labels.next());
        if let Some(text) = label.as_ref().and_then(|label| label.label()) {
            let _ = write!(message, ": {text}");
        }
        let mut rendered = match label {
            Some(label) => self.at(label.offset(), &message),
            None => format!("{}: {message}", self.name),
        };
        if let Some(help) = error.help() {
            let _ = write!(rendered, "\nhelp: {help}");
        }
        rendered
    }

    /// `message` with the line around byte `offset` and a caret.
    pub(crate) fn at(&self, offset: usize, message: &str) -> String {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let start = self.text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let line_number = self.text[..start].matches('\n').count() + 1;
        let column = self.text[start..offset].chars().count() + 1;
        let line = self.text[start..].lines().next().unwrap_or("");
        // Tabs are kept in the indent, so that the caret stands right whatever their width.
        let indent: String = self.text[start..offset]
            .chars()
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!(
            "{}:{line_number}:{column}: {message}\n  {line}\n  {indent}^",
            self.name
        )
    }

    /// Where a policy of this text begins.
    pub(crate) fn offset_of(&self, policy: &Policy) -> usize {
        self.text.find(&policy.to_string()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        let source = Source {
            name: "x.cedar",
            text: "one\n\ttwo häh x\nthree",
        };
        let at = source.text.find('x').unwrap();
        assert_eq!(
            source.at(at, "wrong"),
            "x.cedar:2:10: wrong\n  \ttwo häh x\n  \t        ^"
        );
        assert_eq!(source.at(999, "end"), "x.cedar:3:6: end\n  three\n       ^");
        assert_eq!(Source { name: "e", text: "" }.at(0, "m"), "e:1:1: m\n  \n  ^");
    }
}
