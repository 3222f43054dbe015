//! Fetching one dataset into a file, across broken connections and across runs.
//!
//! While it comes, `FILE.part` holds the bytes and `FILE.part.etag` names the dataset that they
//! belong to (the node's tag for it); both go when `FILE` is complete. Must never glue parts of two datasets
//! together, nor leave a half file under the final name.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hyper::{HeaderMap, StatusCode, header};

use crate::client::{Client, Event, READ_RETRIES, RETRY_PAUSE, may_pass, problem};
use crate::error::{ClientError, Result};
use crate::keys::read_text;

/// Largest dataset that is fetched, in bytes.
pub const MAX_DATASET_BYTES: u64 = 16 << 40;
/// Longest ETag that is kept, in bytes.
const MAX_TAG_BYTES: u64 = 256;

/// Fetches `path` of the node into `out`; gives its length.
pub(crate) async fn fetch(
    client: &Client,
    path: &str,
    out: &Path,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<u64> {
    let part = Part::beside(out);
    let (mut failures, mut pause) = (0, RETRY_PAUSE);
    loop {
        let before = part.len();
        match attempt(client, path, &part, on_event).await {
            Ok(total) => {
                part.finish(out)?;
                return Ok(total);
            }
            Err(error) if may_pass(&error) => {
                if part.len() > before {
                    (failures, pause) = (0, RETRY_PAUSE);
                }
                if failures == READ_RETRIES {
                    return Err(error);
                }
                on_event(Event::Retrying(&error));
                failures += 1;
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn attempt(
    client: &Client,
    path: &str,
    part: &Part,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<u64> {
    let held = part.held();
    let headers = match &held {
        Some(held) => {
            vec![
                (header::RANGE, format!("bytes={}-", held.bytes)),
                (header::IF_RANGE, held.tag.clone()),
            ]
        }
        None => Vec::new(),
    };
    let (connection, response) = client.open(path, &headers).await?;
    let plan = match plan(held.as_ref(), response.status(), response.headers()) {
        Some(plan) => plan?,
        None => {
            let status = response.status();
            let body = connection.collect(response.into_body()).await?;
            return Err(problem(status, &body));
        }
    };
    let (mut file, mut done, total) = match plan {
        Plan::Complete { total } => return Ok(total),
        Plan::Discard => {
            part.discard()?;
            return Err(ClientError::unreachable(
                "the node's dataset changed while it was fetched",
                "fetch it again",
            ));
        }
        Plan::Append { from, total } => (part.append()?, from, total),
        Plan::Start { tag, total } => (part.start(tag.as_deref())?, 0, total),
    };
    let mut body = response.into_body();
    while let Some(piece) = connection.next_piece(&mut body).await? {
        done += piece.len() as u64;
        if done > total {
            return Err(ClientError::verification(
                format!("the node sent more than the {total} bytes it announced"),
                "fetch it again; if it lasts, tell the node's operator",
            ));
        }
        // A blocking write: the one task of this program has nothing better to do meanwhile.
        file.write_all(&piece)
            .map_err(|error| ClientError::write(&part.bytes, error))?;
        on_event(Event::Fetched { done, total });
    }
    if done < total {
        return Err(ClientError::unreachable(
            format!("the answer ended after {done} of {total} bytes"),
            "run `como fetch` to go on from there",
        ));
    }
    file.sync_all()
        .map_err(|error| ClientError::write(&part.bytes, error))?;
    client.give_back(connection).await;
    Ok(total)
}

/// What the head of an answer means for what is already here.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// The body goes behind the `from` bytes that are here.
    Append { from: u64, total: u64 },
    /// The body is the whole dataset.
    Start { tag: Option<String>, total: u64 },
    /// All is here already.
    Complete { total: u64 },
    /// What is here belongs to nothing any more.
    Discard,
}

/// `None`: an error answer.
fn plan(held: Option<&Held>, status: StatusCode, headers: &HeaderMap) -> Option<Result<Plan>> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &header::HeaderValue| value.to_str().ok())
    };
    let nonsense = |what: &str| {
        Some(Err(ClientError::unreachable(
            format!("the node's answer makes no sense: {what}"),
            "use a como of the same release as the node",
        )))
    };
    let plan = match (status, held) {
        (StatusCode::OK, _) => {
            let Some(total) = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()) else {
                return nonsense("a dataset without Content-Length");
            };
            // A weak tag does not promise the same bytes: such a download is never resumed.
            let strong = |tag: &&str| tag.starts_with('"') && tag.len() as u64 <= MAX_TAG_BYTES;
            Plan::Start {
                tag: text(header::ETAG).filter(strong).map(str::to_owned),
                total,
            }
        }
        (StatusCode::PARTIAL_CONTENT, Some(held)) => {
            if text(header::ETAG).is_some_and(|tag| tag != held.tag) {
                return Some(Ok(Plan::Discard));
            }
            match text(header::CONTENT_RANGE).and_then(content_range) {
                Some((Some((from, last)), total)) if from == held.bytes && last + 1 == total => {
                    Plan::Append { from, total }
                }
                _ => return nonsense("another range than asked for"),
            }
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(held)) => {
            match text(header::CONTENT_RANGE).and_then(content_range) {
                Some((None, total)) if total == held.bytes => Plan::Complete { total },
                _ => Plan::Discard,
            }
        }
        _ => return None,
    };
    if let Plan::Append { total, .. } | Plan::Start { total, .. } = &plan
        && *total > MAX_DATASET_BYTES
    {
        return nonsense("a dataset larger than any");
    }
    Some(Ok(plan))
}

/// `bytes FIRST-LAST/TOTAL` or `bytes */TOTAL` (RFC 9110, 14.4).
fn content_range(text: &str) -> Option<(Option<(u64, u64)>, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let total: u64 = total.parse().ok()?;
    if range == "*" {
        return Some((None, total));
    }
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < total).then_some((Some((first, last)), total))
}

/// What an earlier attempt left.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    bytes: u64,
    tag: String,
}

/// The two files of a download that is not complete.
struct Part {
    bytes: PathBuf,
    tag: PathBuf,
}

impl Part {
    fn beside(out: &Path) -> Self {
        let suffixed = |suffix: &str| {
            let mut name = out.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Self {
            bytes: suffixed(".part"),
            tag: suffixed(".part.etag"),
        }
    }

    fn len(&self) -> u64 {
        fs::metadata(&self.bytes).map_or(0, |metadata| metadata.len())
    }

    fn held(&self) -> Option<Held> {
        let tag = read_text(&self.tag, MAX_TAG_BYTES).ok()?;
        let bytes = self.len();
        (bytes > 0 && tag.starts_with('"')).then_some(Held { bytes, tag })
    }

    fn append(&self) -> Result<File> {
        OpenOptions::new()
            .append(true)
            .open(&self.bytes)
            .map_err(|error| ClientError::write(&self.bytes, error))
    }

    /// The tag goes away before the bytes do and comes after them: bytes never stand under a wrong tag.
    fn start(&self, tag: Option<&str>) -> Result<File> {
        self.discard()?;
        let file = File::create(&self.bytes).map_err(|error| ClientError::write(&self.bytes, error))?;
        if let Some(tag) = tag {
            fs::write(&self.tag, tag).map_err(|error| ClientError::write(&self.tag, error))?;
        }
        Ok(file)
    }

    fn discard(&self) -> Result<()> {
        for path in [&self.tag, &self.bytes] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ClientError::write(path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(&self, out: &Path) -> Result<()> {
        fs::rename(&self.bytes, out).map_err(|error| ClientError::write(out, error))?;
        self.discard()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    fn planned(
        held: Option<&Held>,
        status: u16,
        pairs: &[(header::HeaderName, &str)],
    ) -> Option<Result<Plan>> {
        plan(held, StatusCode::from_u16(status).unwrap(), &headers(pairs))
    }

    #[test]
    fn a_resume_appends_only_what_fits() {
        let held = Held {
            bytes: 10,
            tag: "\"r\"".into(),
        };
        let ok = planned(
            Some(&held),
            206,
            &[
                (header::CONTENT_RANGE, "bytes 10-99/100"),
                (header::ETAG, "\"r\""),
            ],
        );
        assert_eq!(ok.unwrap().unwrap(), Plan::Append { from: 10, total: 100 });
        for wrong in [
            "bytes 0-99/100",
            "bytes 11-99/100",
            "bytes 10-50/100",
            "bytes 10-99/*",
            "junk",
        ] {
            assert!(
                planned(Some(&held), 206, &[(header::CONTENT_RANGE, wrong)])
                    .unwrap()
                    .is_err(),
                "{wrong}"
            );
        }
        let other = planned(
            Some(&held),
            206,
            &[
                (header::CONTENT_RANGE, "bytes 10-99/100"),
                (header::ETAG, "\"s\""),
            ],
        );
        assert_eq!(other.unwrap().unwrap(), Plan::Discard);
        assert!(planned(None, 206, &[(header::CONTENT_RANGE, "bytes 0-99/100")]).is_none());
    }

    #[test]
    fn a_whole_answer_starts_over() {
        let held = Held {
            bytes: 10,
            tag: "\"r\"".into(),
        };
        let plan = planned(
            Some(&held),
            200,
            &[(header::CONTENT_LENGTH, "7"), (header::ETAG, "\"s\"")],
        );
        assert_eq!(
            plan.unwrap().unwrap(),
            Plan::Start {
                tag: Some("\"s\"".into()),
                total: 7
            }
        );
        let weak = planned(
            None,
            200,
            &[(header::CONTENT_LENGTH, "7"), (header::ETAG, "W/\"s\"")],
        );
        assert_eq!(weak.unwrap().unwrap(), Plan::Start { tag: None, total: 7 });
        assert!(planned(None, 200, &[]).unwrap().is_err());
        assert!(
            planned(None, 200, &[(header::CONTENT_LENGTH, "18446744073709551615")])
                .unwrap()
                .is_err()
        );
    }

    #[test]
    fn what_is_complete_is_not_fetched_again() {
        let held = Held {
            bytes: 100,
            tag: "\"r\"".into(),
        };
        let range = |text| {
            planned(Some(&held), 416, &[(header::CONTENT_RANGE, text)])
                .unwrap()
                .unwrap()
        };
        assert_eq!(range("bytes */100"), Plan::Complete { total: 100 });
        assert_eq!(range("bytes */50"), Plan::Discard);
        assert!(planned(None, 416, &[]).is_none());
        assert!(planned(Some(&held), 404, &[]).is_none());
    }
}
