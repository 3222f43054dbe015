//! What a row of the benchmark says, and when it is `ok`. Must never measure anything itself.

use serde_json::{Value, json};

/// What one side reached, or why it reached nothing.
pub type Figure = Result<f64, String>;

/// The other side of a row.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name, with what matters of its options.
    pub name: &'static str,
    /// What it reached, in the row's unit.
    pub figure: Figure,
}

/// What a row has to reach. The ratio is ours divided by the peer's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// To be reported; any figure is good.
    Report,
    /// The figure itself.
    AtLeast(f64),
    /// The figure itself.
    AtMost(f64),
    /// Ours against the peer's.
    RatioAtMost(f64),
    /// Ours against the peer's.
    RatioAtLeast(f64),
    /// Nothing: what should have been measured was not reached, by nobody's fault among the two sides.
    Void,
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// Ours.
    pub ours: Figure,
    /// Of both figures.
    pub unit: &'static str,
    /// Who else does it.
    pub peer: Option<Peer>,
    /// What is to be reached, and whose figure that is.
    pub aim: Aim,
    /// Where the aim comes from, and what the reader must know; empty: nothing.
    pub note: String,
}

impl Row {
    /// Ours divided by the peer's.
    pub fn ratio(&self) -> Option<f64> {
        let peer = *self.peer.as_ref()?.figure.as_ref().ok()?;
        let ours = *self.ours.as_ref().ok()?;
        (peer > 0.0).then(|| ours / peer)
    }

    /// Whether the aim is reached. A row that could not be measured did not reach it.
    pub fn is_ok(&self) -> bool {
        let Ok(ours) = self.ours else { return false };
        match self.aim {
            Aim::Report => true,
            Aim::Void => false,
            Aim::AtLeast(aim) => ours >= aim,
            Aim::AtMost(aim) => ours <= aim,
            Aim::RatioAtMost(aim) => self.ratio().is_some_and(|ratio| ratio <= aim),
            Aim::RatioAtLeast(aim) => self.ratio().is_some_and(|ratio| ratio >= aim),
        }
    }

    /// `ok`, `short` or `void`.
    pub fn verdict(&self) -> &'static str {
        match self.aim {
            Aim::Void => "void",
            _ if self.is_ok() => "ok",
            _ => "short",
        }
    }

    /// Why a side has no figure.
    pub fn reasons(&self) -> Vec<String> {
        let ours = self.ours.as_ref().err().map(|reason| format!("ours: {reason}"));
        let peer = self.peer.as_ref().and_then(|peer| {
            let reason = peer.figure.as_ref().err()?;
            Some(format!("{}: {reason}", peer.name))
        });
        let note = (!self.note.is_empty()).then(|| self.note.clone());
        ours.into_iter().chain(peer).chain(note).collect()
    }

    /// The row for scripts.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "ours": self.ours.as_ref().ok(),
            "unit": self.unit,
            "peer": self.peer.as_ref().map(|peer| peer.name),
            "peer_figure": self.peer.as_ref().and_then(|peer| peer.figure.as_ref().ok()),
            "ratio": self.ratio(),
            "aim": self.aim.to_string(),
            "verdict": self.verdict(),
            "notes": self.reasons(),
        })
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Report => write!(f, "report"),
            Self::Void => write!(f, "-"),
            Self::AtLeast(aim) => write!(f, ">= {}", human(*aim)),
            Self::AtMost(aim) => write!(f, "<= {}", human(*aim)),
            Self::RatioAtMost(aim) => write!(f, "<= {aim}x peer"),
            Self::RatioAtLeast(aim) => write!(f, ">= {aim}x peer"),
        }
    }
}

/// A figure with three digits and a decimal prefix.
pub fn human(figure: f64) -> String {
    let (value, prefix) = match figure.abs() {
        x if x >= 1e9 => (figure / 1e9, " G"),
        x if x >= 1e6 => (figure / 1e6, " M"),
        x if x >= 1e3 => (figure / 1e3, " k"),
        _ => (figure, ""),
    };
    let digits = match value.abs() {
        x if x >= 100.0 => 0,
        x if x >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: Figure, peer: Option<Figure>, aim: Aim) -> Row {
        Row {
            name: "row",
            ours,
            unit: "packets/s",
            peer: peer.map(|figure| Peer { name: "peer", figure }),
            aim,
            note: String::new(),
        }
    }

    #[test]
    fn a_row_that_could_not_be_measured_is_short_and_says_why() {
        let row = row(Err("no node".into()), Some(Ok(1.0)), Aim::Report);
        assert_eq!(row.verdict(), "short");
        assert_eq!(row.reasons(), ["ours: no node"]);
        assert_eq!(row.json()["ours"], Value::Null);
    }

    #[test]
    fn an_aim_against_a_peer_needs_the_peer() {
        let aim = Aim::RatioAtMost(5.0);
        assert_eq!(row(Ok(10.0), Some(Ok(2.0)), aim).verdict(), "ok");
        assert_eq!(row(Ok(10.1), Some(Ok(2.0)), aim).verdict(), "short");
        assert_eq!(
            row(Ok(10.0), Some(Err("not installed".into())), aim).verdict(),
            "short"
        );
        assert_eq!(row(Ok(10.0), None, aim).verdict(), "short");
        let aim = Aim::RatioAtLeast(5.0);
        assert_eq!(row(Ok(10.0), Some(Ok(2.0)), aim).verdict(), "ok");
        assert_eq!(row(Ok(9.9), Some(Ok(2.0)), aim).verdict(), "short");
        assert_eq!(row(Ok(10.0), None, aim).verdict(), "short");
    }

    #[test]
    fn aims_on_the_figure_itself_need_no_peer() {
        assert_eq!(row(Ok(3.0), None, Aim::AtLeast(3.0)).verdict(), "ok");
        assert_eq!(row(Ok(2.9), None, Aim::AtLeast(3.0)).verdict(), "short");
        assert_eq!(
            row(Ok(3.0), Some(Err("gone".into())), Aim::AtMost(3.0)).verdict(),
            "ok"
        );
        assert_eq!(row(Ok(3.1), None, Aim::AtMost(3.0)).verdict(), "short");
    }

    #[test]
    fn figures_read_like_those_of_the_field() {
        let shown: Vec<String> = [0.56, 12.34, 311_000.0, 2_500_000.0, 1.5e9].map(human).to_vec();
        assert_eq!(shown, ["0.56", "12.3", "311 k", "2.50 M", "1.50 G"]);
    }
}
