//! `/v1/events`: what the control thread tells of, as server-sent events.
//!
//! The last thousand are kept for whoever comes late or back. A reader costs its place in them and
//! its connection's buffer; one that reads too slowly is told how many it missed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::routing::{MethodRouter, get};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use weir_control::driver::{Event, Events, Happening};

use super::api::{Api, Problem, Shareable};
use super::date;
use crate::views::VERSION;

/// Events kept: 1 MiB or so, unless refused configurations have hundreds of mistakes.
const EVENTS_KEPT: usize = 1024;
/// Octets of one event's text: longer ones are cut, so that what is kept stays bounded.
const TEXT_LEN_MAX: usize = 4 << 10;
/// Readers of one listener at a time; readers over TCP cannot lock out those of the unix socket.
const READERS_MAX: usize = 16;
/// A comment after so long without an event: it shows that the connection lives, to both ends.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event, ready to be sent.
#[derive(Clone, Debug)]
struct Kept {
    sequence: u64,
    kind: &'static str,
    data: Arc<str>,
}

/// The last events, and who waits for the next.
#[derive(Debug)]
pub(crate) struct Log {
    /// Tells numbers of this start from those of an earlier one.
    start: u64,
    kept: Mutex<VecDeque<Kept>>,
    newest: watch::Sender<u64>,
}

/// What an event is on the wire.
#[derive(Serialize)]
struct View<'a> {
    version: u32,
    sequence: u64,
    time: String,
    kind: &'a str,
    #[serde(flatten)]
    what: What<'a>,
}

/// The fields of each kind.
#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Vrrp {
        instance: &'a str,
        from: &'a str,
        to: &'a str,
        why: &'a str,
    },
    Server {
        service: &'a str,
        server: &'a str,
        up: bool,
        reason: &'a str,
    },
    Quorum {
        service: &'a str,
        met: bool,
        weight: u32,
    },
    Link {
        port: &'a str,
        up: bool,
    },
    Leak {
        vip: String,
        mac: String,
        port: &'a str,
        server: Option<&'a str>,
        how: &'a str,
        fix: &'a str,
    },
    Config {
        applied: bool,
        revision: Option<u64>,
        text: &'a str,
    },
}

impl Log {
    /// An empty log of a daemon that starts at `start`.
    pub(crate) fn new(start: SystemTime) -> Self {
        let since = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            start: since.as_secs(),
            kept: Mutex::default(),
            newest: watch::Sender::new(0),
        }
    }

    /// Keeps everything that the control thread tells, until it ends.
    pub(crate) async fn follow(self: Arc<Self>, mut events: Events) {
        while let Some(event) = events.recv().await {
            self.push(&event);
        }
    }

    fn push(&self, event: &Event) {
        let (sequence, kind) = (event.sequence, event.what.kind());
        let data = view(event).into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == EVENTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept {
            sequence,
            kind,
            data,
        });
        drop(kept);
        self.newest.send_replace(sequence);
    }

    /// The first event kept that is not before number `at`.
    fn first_from(&self, at: u64) -> Option<Kept> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let index = kept.partition_point(|event| event.sequence < at);
        kept.get(index).cloned()
    }

    /// Where a reader begins that has seen `last`: after it; before all that is kept if that is of
    /// another start; and without it with the next event to come.
    fn place(&self, last: Option<&str>) -> u64 {
        let next = *self.newest.borrow() + 1;
        let Some(last) = last else { return next };
        let of_this_start = last
            .split_once('-')
            .filter(|(start, _)| *start == self.start.to_string());
        match of_this_start.and_then(|(_, sequence)| sequence.parse::<u64>().ok()) {
            Some(sequence) => sequence.saturating_add(1).min(next),
            None => self.first_from(0).map_or(next, |first| first.sequence),
        }
    }

    fn id(&self, sequence: u64) -> String {
        format!("{}-{sequence}", self.start)
    }
}

fn view(event: &Event) -> String {
    let what = match &event.what {
        Happening::Vrrp {
            instance,
            from,
            to,
            why,
        } => What::Vrrp {
            instance,
            from: from.name(),
            to: to.name(),
            why,
        },
        Happening::Server {
            service,
            server,
            up,
            reason,
        } => What::Server {
            service,
            server,
            up: *up,
            reason: cut(reason),
        },
        Happening::Quorum {
            service,
            met,
            weight,
        } => What::Quorum {
            service,
            met: *met,
            weight: *weight,
        },
        Happening::Link { port, up } => What::Link { port, up: *up },
        Happening::Leak { port, leak } => What::Leak {
            vip: leak.vip.to_string(),
            mac: leak.mac.to_string(),
            port,
            server: leak.server.as_deref(),
            how: leak.how.label(),
            fix: leak.fix(),
        },
        Happening::Applied { revision, text } => What::Config {
            applied: true,
            revision: Some(*revision),
            text: cut(text),
        },
        Happening::Refused { text } => What::Config {
            applied: false,
            revision: None,
            text: cut(text),
        },
    };
    let view = View {
        version: VERSION,
        sequence: event.sequence,
        time: date::rfc3339(event.time),
        kind: event.what.kind(),
        what,
    };
    serde_json::to_string(&view).expect("texts and numbers only")
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_LEN_MAX)]
}

/// One who reads.
struct Reader {
    log: Arc<Log>,
    news: watch::Receiver<u64>,
    /// The number of the event that it has not seen yet.
    next: u64,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// What comes next, now.
    fn take(&mut self) -> Option<Sent> {
        let kept = self.log.first_from(self.next)?;
        let lost = kept.sequence - self.next;
        if lost > 0 {
            self.next = kept.sequence;
            let data = format!(r#"{{"version":{VERSION},"kind":"lost","count":{lost}}}"#);
            return Some(Sent::default().event("lost").data(data));
        }
        self.next += 1;
        let event = Sent::default().id(self.log.id(kept.sequence));
        Some(event.event(kept.kind).data(&*kept.data))
    }

    /// What comes next. The daemon's end ends it from outside.
    async fn wait(mut self) -> Option<(Result<Sent, Infallible>, Self)> {
        loop {
            if let Some(event) = self.take() {
                return Some((Ok(event), self));
            }
            self.news.changed().await.ok()?;
        }
    }
}

/// `GET /v1/events` of one listener.
pub(crate) fn route() -> MethodRouter<Arc<Api>> {
    let places = Arc::new(Semaphore::new(READERS_MAX));
    get(async move |State(api): Shareable, headers: HeaderMap| {
        let place = Arc::clone(&places).try_acquire_owned().map_err(|_| {
            let text = format!("{READERS_MAX} clients read events already: close one of them");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        let last = headers.get("last-event-id");
        let reader = Reader {
            news: api.events.newest.subscribe(),
            next: api.events.place(last.and_then(|last| last.to_str().ok())),
            log: Arc::clone(&api.events),
            _place: place,
        };
        let alive = KeepAlive::new().interval(KEEP_ALIVE);
        let events = stream::unfold(reader, Reader::wait);
        Ok::<_, Problem>(Sse::new(events).keep_alive(alive).into_response())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(count: u64) -> Arc<Log> {
        let log = Log::new(UNIX_EPOCH + Duration::from_secs(77));
        for sequence in 1..=count {
            log.push(&event(sequence));
        }
        Arc::new(log)
    }

    fn event(sequence: u64) -> Event {
        Event {
            sequence,
            time: UNIX_EPOCH + Duration::from_millis(1_764_274_716_042),
            what: Happening::Link {
                port: "wan0".into(),
                up: sequence.is_multiple_of(2),
            },
        }
    }

    fn reader(log: &Arc<Log>, last: Option<&str>) -> Reader {
        let places = Arc::new(Semaphore::new(1));
        Reader {
            news: log.newest.subscribe(),
            next: log.place(last),
            log: Arc::clone(log),
            _place: places.try_acquire_owned().unwrap(),
        }
    }

    /// The numbers of all that a reader gets now; a loss as 0.
    fn numbers(reader: &mut Reader) -> Vec<u64> {
        std::iter::from_fn(|| {
            let at = reader.next;
            let _ = reader.take()?;
            Some(if reader.next == at + 1 { at } else { 0 })
        })
        .collect()
    }

    #[test]
    fn a_reader_begins_with_what_comes_and_resumes_after_what_it_saw() {
        let log = log(5);
        assert!(numbers(&mut reader(&log, None)).is_empty());
        assert_eq!(numbers(&mut reader(&log, Some("77-3"))), [4, 5]);
        // Of an earlier start, or nonsense: everything that is kept.
        for other in ["76-3", "0", "77-", "77-x", "-", ""] {
            assert_eq!(numbers(&mut reader(&log, Some(other))), [1, 2, 3, 4, 5]);
        }
        // From the future: what comes.
        let mut ahead = reader(&log, Some("77-18446744073709551615"));
        assert!(numbers(&mut ahead).is_empty());
        log.push(&event(6));
        assert_eq!(numbers(&mut ahead), [6]);
    }

    #[test]
    fn memory_is_bounded_and_a_slow_reader_is_told_what_it_missed() {
        let log = log(1);
        let mut slow = reader(&log, Some("77-0"));
        let mut early = reader(&log, Some("0"));
        assert_eq!(numbers(&mut early), [1]);
        for sequence in 2..=EVENTS_KEPT as u64 * 3 {
            log.push(&event(sequence));
        }
        assert_eq!(log.kept.lock().unwrap().len(), EVENTS_KEPT);
        let got = numbers(&mut slow);
        assert_eq!(got.len(), EVENTS_KEPT + 1);
        assert_eq!(got[..2], [0, EVENTS_KEPT as u64 * 2 + 1]);
        // A gap that the control thread's queue left shows likewise.
        log.push(&event(9000));
        assert_eq!(numbers(&mut slow), [0, 9000]);
    }

    #[test]
    fn an_event_is_one_object_with_number_time_and_kind() {
        assert_eq!(
            view(&event(4)),
            r#"{"version":1,"sequence":4,"time":"2025-11-27T20:18:36.042Z","kind":"link","#
                .to_owned()
                + r#""port":"wan0","up":true}"#
        );
        let long = Event {
            what: Happening::Refused {
                text: "ü".repeat(TEXT_LEN_MAX),
            },
            ..event(5)
        };
        assert!(view(&long).len() < TEXT_LEN_MAX + 200);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reader_waits_for_the_next() {
        let log = log(0);
        let waiting = tokio::spawn(reader(&log, None).wait());
        tokio::task::yield_now().await;
        log.push(&event(1));
        let (_, reader) = waiting.await.unwrap().unwrap();
        assert_eq!(reader.next, 2);
    }
}
