//! Who holds how many connections, requests and streams. Counts only; must never know what they are for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::identity::SpiffeId;
use super::limits::Limits;
use super::problem::Problem;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection past its handshake.
    Connection,
    /// A request, until its answer is sent.
    Request,
    /// A result being streamed.
    Stream,
}

const KINDS: usize = 3;

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Connection => "connections",
            Kind::Request => "requests",
            Kind::Stream => "result streams",
        }
    }
}

/// The counters of all principals.
pub struct Admission {
    per_principal: [usize; KINDS],
    in_all: [usize; KINDS],
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    in_all: [usize; KINDS],
    /// Only principals that hold something: bounded by the connections in all.
    by_principal: HashMap<SpiffeId, [usize; KINDS]>,
}

/// A place that was taken; given back when dropped.
pub struct Place {
    admission: Arc<Admission>,
    principal: SpiffeId,
    kind: Kind,
}

impl Admission {
    /// No place taken.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Admission {
            per_principal: [
                limits.connections_per_principal,
                limits.requests_per_principal,
                limits.streams_per_principal,
            ],
            in_all: [limits.connections, limits.requests, limits.streams],
            counts: Mutex::new(Counts::default()),
        })
    }

    /// Takes a place, or says whose bound is reached.
    pub fn enter(self: &Arc<Self>, kind: Kind, principal: &SpiffeId) -> Result<Place, Problem> {
        let slot = kind as usize;
        let mut counts = self.counts();
        let own = counts.by_principal.get(principal).map_or(0, |own| own[slot]);
        if own >= self.per_principal[slot] {
            return Err(Problem::TooMany(kind.name()));
        }
        if counts.in_all[slot] >= self.in_all[slot] {
            return Err(Problem::Busy(kind.name()));
        }
        counts.in_all[slot] += 1;
        counts.by_principal.entry(principal.clone()).or_default()[slot] += 1;
        Ok(Place {
            admission: self.clone(),
            principal: principal.clone(),
            kind,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let slot = self.kind as usize;
        let mut counts = self.admission.counts();
        counts.in_all[slot] -= 1;
        if let Some(own) = counts.by_principal.get_mut(&self.principal) {
            own[slot] -= 1;
            if own.iter().all(|&n| n == 0) {
                counts.by_principal.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://lab.example/{name}")).unwrap()
    }

    #[test]
    fn a_principal_and_all_of_them_have_bounds_and_places_come_back() {
        let limits = Limits {
            requests_per_principal: 2,
            requests: 3,
            ..Limits::default()
        };
        let admission = Admission::new(&limits);
        let one = admission.enter(Kind::Request, &id("a")).unwrap();
        let _two = admission.enter(Kind::Request, &id("a")).unwrap();
        let refused = |who| admission.enter(Kind::Request, &id(who)).err();
        assert_eq!(refused("a"), Some(Problem::TooMany("requests")));
        let three = admission.enter(Kind::Request, &id("b")).unwrap();
        assert_eq!(refused("c"), Some(Problem::Busy("requests")));
        assert!(
            admission.enter(Kind::Stream, &id("c")).is_ok(),
            "kinds are counted apart"
        );
        drop(one);
        assert_eq!(refused("a"), None);
        drop(three);
        assert_eq!(
            admission.counts().by_principal.len(),
            1,
            "who holds nothing is forgotten"
        );
    }
}
