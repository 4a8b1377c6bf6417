//! The walk through the public address: from reaching it to watching a stream, each step only if the one before left
//! something to look at.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::Duration;

use http::Method;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, LOCATION};
use tokio::time::Instant;

use super::address::PublicAddress;
use super::cures::Obstacle;
use super::exchange::{Browser, NoAnswer, PublicAnswer};
use super::finding::{Diagnosis, Finding, Subject};
use super::front::{FrontProxy, recognise};
use super::publisher::{TestEvents, TestPublisher};
use super::stream::{Greeting, OpenedStream};
use super::watch::seconds;
use super::{head, origin, resume, watch};
use crate::cli::output::chain;

/// How long one step may take that should take no time to speak of.
const STEP: Duration = Duration::from_secs(10);
/// How much later than an empty answer's head a first event may come.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How much time the last test event has to arrive.
const ARRIVES: Duration = Duration::from_secs(1);
/// For so long a stream with events goes on after the idle one was cut: does it live longer?
const OUTLIVES: Duration = Duration::from_secs(3);
const MOST_REDIRECTS: usize = 5;

/// What is to be looked at, and how.
pub(super) struct Examination {
    pub(super) browser: Browser,
    pub(super) address: PublicAddress,
    pub(super) watch: Duration,
    pub(super) heartbeat: Duration,
    pub(super) origin: Option<HeaderValue>,
    pub(super) proxies: Vec<FrontProxy>,
    pub(super) publisher: Option<TestPublisher>,
    pub(super) sends_authorization: bool,
    /// Whether the server's certificate is.
    pub(super) verifies: bool,
}

/// What has been found so far, and where the way has led.
struct Walk {
    address: PublicAddress,
    proxies: Vec<FrontProxy>,
    findings: Vec<Finding>,
}

/// What came of HEAD: how soon it was answered.
type HeadTook = Option<Duration>;

impl Walk {
    fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn heard(&mut self, answer: &PublicAnswer) {
        recognise(&answer.headers, &mut self.proxies);
    }
}

impl Examination {
    pub(super) async fn run(self) -> Diagnosis {
        let mut walk =
            Walk { address: self.address.clone(), proxies: self.proxies.clone(), findings: Vec::new() };
        let saw_a_stream = self.walk(&mut walk).await;
        let Walk { address, proxies, mut findings } = walk;
        findings.sort_by_key(|finding| finding.subject as u8);
        Diagnosis {
            address: address.shown(),
            path: address.path().to_owned(),
            proxies,
            findings,
            saw_a_stream,
        }
    }

    /// Whether there was a stream.
    async fn walk(&self, walk: &mut Walk) -> bool {
        let Some((answer, head_took)) = self.reach(walk).await else { return false };
        let Some(stream) = self.open(walk, answer, head_took).await else { return false };
        let Some(greeting) = stream.greeting.clone() else { return false };
        self.watch(walk, stream, &greeting).await;
        true
    }

    fn step(&self) -> Duration {
        STEP.min(self.watch)
    }

    /// Follows redirects to where a stream may be; gives its answer's head.
    async fn reach(&self, walk: &mut Walk) -> Option<(PublicAnswer, HeadTook)> {
        for _ in 0..=MOST_REDIRECTS {
            let head_took = match self.browser.ask(Method::HEAD, &walk.address, &[], self.step()).await {
                Err(NoAnswer::NoLink(why)) => {
                    walk.found(head::no_link(&why, &walk.address.host));
                    return None;
                }
                Err(why) => {
                    walk.found(head_refused(&chain(&why)));
                    None
                }
                Ok(answer) => {
                    walk.heard(&answer);
                    if redirects(walk, &answer) {
                        continue;
                    }
                    walk.findings.extend(head::reached(&answer.link, self.verifies));
                    let is_good = answer.status.is_success();
                    walk.found(if is_good {
                        Finding::good(Subject::Head, answer.status.to_string())
                    } else {
                        head_refused(&answer.status.to_string())
                    });
                    is_good.then_some(answer.took)
                }
            };
            match self.browser.get(&walk.address, &[], self.watch).await {
                Ok(answer) => {
                    walk.heard(&answer);
                    if redirects(walk, &answer) {
                        walk.findings.retain(|finding| finding.subject == Subject::Redirect);
                        continue;
                    }
                    if !walk.findings.iter().any(|finding| finding.subject == Subject::Reached) {
                        walk.findings.extend(head::reached(&answer.link, self.verifies));
                    }
                    return Some((answer, head_took));
                }
                Err(why) => {
                    walk.found(unanswered(&why, head_took));
                    return None;
                }
            }
        }
        walk.found(Finding::bad(Subject::Redirect, "redirects without an end", "EventSource gives up."));
        None
    }

    /// Judges the head and waits for the first event.
    async fn open(
        &self,
        walk: &mut Walk,
        mut answer: PublicAnswer,
        head_took: HeadTook,
    ) -> Option<OpenedStream> {
        if head::no_stream(&answer, b"", self.sends_authorization).is_some() {
            let body = answer.beginning().await;
            walk.findings.extend(head::no_stream(&answer, &body, self.sends_authorization));
            return None;
        }
        walk.findings.extend(head::headers(&answer));
        walk.found(head::clock(&answer));
        if let Some(origin) = &self.origin {
            walk.found(origin::may_read(&answer.headers, origin));
        }
        let is_compressed = !matches!(answer.header(&CONTENT_ENCODING), "" | "identity");
        let mut stream = OpenedStream::new(answer);
        let until = Instant::now() + self.step();
        let read = |stream: &OpenedStream| stream.greeting.is_some() || stream.is_foreign;
        stream.read(until, |stream| is_compressed && stream.first.is_some() || read(stream)).await;
        if is_compressed && stream.first.is_some() {
            // Looked at further without the compression, which has been named.
            let plain = [(ACCEPT_ENCODING, HeaderValue::from_static("identity"))];
            stream = resume::open(&self.browser, &walk.address, &plain, self.step()).await.ok()?;
        }
        walk.found(first_event(&stream, head_took));
        if stream.greeting.is_some() {
            walk.found(stream_found(&stream));
        }
        Some(stream)
    }

    /// Watches the stream; beside it comes back with an id, publishes to another stream, and asks as pages elsewhere
    /// do.
    async fn watch(&self, walk: &mut Walk, mut idle: OpenedStream, greeting: &Greeting) {
        let deadline = idle.head.asked + self.watch;
        let stop = Cell::new(deadline);
        let address = walk.address.clone();
        let watching = async {
            idle.read(deadline, |_| false).await;
            if idle.end.is_some() {
                stop.set(deadline.min(Instant::now() + OUTLIVES));
            }
        };
        let resuming = resume::examine(&self.browser, &address, greeting, self.step());
        let preflight = async {
            match &self.origin {
                Some(_) => Some(origin::preflight(&self.browser, &address, self.step()).await),
                None => None,
            }
        };
        let ((), resumed, preflight, busy) =
            tokio::join!(watching, resuming, preflight, self.busy(&address, &stop));
        walk.findings.extend(resumed);
        walk.findings.extend(preflight);
        match &busy {
            None => walk.found(Finding::not_seen(
                Subject::OneAtATime,
                "whether events come one at a time is seen with a publish key (--key-file)",
            )),
            Some((busy, published, address)) => {
                walk.found(watch::one_at_a_time(busy, published));
                walk.found(address.clone());
            }
        }
        walk.found(watch::heartbeats(&idle, self.heartbeat));
        let events =
            busy.as_ref().filter(|(_, published, _)| !published.at.is_empty()).map(|(busy, ..)| busy);
        walk.found(watch::lived(&idle, events));
    }

    /// A stream to which events are published until `stop`.
    async fn busy(
        &self,
        address: &PublicAddress,
        stop: &Cell<Instant>,
    ) -> Option<(OpenedStream, TestEvents, Finding)> {
        let publisher = self.publisher.as_ref()?;
        let mut stream = resume::open(&self.browser, address, &[], self.step()).await.ok()?;
        let client = stream.greeting.as_ref()?.client.clone();
        let seen = client_address(publisher.address_of(&client).await, stream.head.link.local.ip());
        // The last event has a moment to arrive.
        let publishing = publisher.publish(&client, || Instant::now() + ARRIVES < stop.get());
        let reading = async {
            // In pieces, because `stop` may come nearer meanwhile.
            while stream.end.is_none() && Instant::now() < stop.get() {
                let piece = stop.get().min(Instant::now() + ARRIVES);
                stream.read(piece, |_| false).await;
            }
        };
        let (published, ()) = tokio::join!(publishing, reading);
        Some((stream, published, seen))
    }
}

fn head_refused(seen: &str) -> Finding {
    let means = "Monitors that look by HEAD take the stream for down. Pages are not concerned.";
    Finding::warn(Subject::Head, seen, means)
}

/// Goes where a redirect leads. Whether this answer is one.
fn redirects(walk: &mut Walk, answer: &PublicAnswer) -> bool {
    let Some(to) =
        Some(answer).filter(|answer| answer.status.is_redirection()).map(|answer| answer.header(&LOCATION))
    else {
        return false;
    };
    let Some(next) = walk.address.follow(to) else { return false };
    let same = next.authority == walk.address.authority && next.is_https == walk.address.is_https;
    let means = if same {
        "EventSource follows it each time it reconnects. Use the address where it ends."
    } else {
        "Where it ends is another origin: pages need CORS there, and fetch drops Authorization on the way. Use the \
         address where it ends."
    };
    walk.found(Finding::warn(
        Subject::Redirect,
        format!("{} to {}", answer.status.as_u16(), next.shown()),
        means,
    ));
    walk.address = next;
    true
}

/// No head came for a GET.
fn unanswered(why: &NoAnswer, head_took: HeadTook) -> Finding {
    match (why, head_took) {
        (NoAnswer::Slow(waited), Some(took)) => Finding::bad(
            Subject::Buffering,
            format!(
                "nothing of the stream came within {}, while HEAD was answered in {}",
                seconds(*waited),
                seconds(took)
            ),
            BUFFERED,
        )
        .by(Obstacle::Buffering),
        (why, _) => {
            Finding::bad(Subject::Stream, chain(why), "Pages wait, and EventSource tries again for ever.")
                .by(Obstacle::Upstream)
        }
    }
}

const BUFFERED: &str = "Pages stay empty: something collects the answer before it passes it on.";

/// How the first event came.
fn first_event(stream: &OpenedStream, head_took: HeadTook) -> Finding {
    let quick = head_took.unwrap_or_default();
    match (&stream.greeting, stream.first) {
        (Some(_), Some(first)) if first <= quick + AT_ONCE => {
            Finding::good(Subject::Buffering, format!("none: the first event came after {}", seconds(first)))
        }
        (Some(_), Some(first)) => Finding::bad(
            Subject::Buffering,
            format!("the first event came after {}, while HEAD was answered in {}", seconds(first), seconds(quick)),
            "Something collects the beginning of the answer before it passes it on.",
        )
        .by(Obstacle::Buffering),
        _ if stream.refused.is_some() => {
            let reason = stream.refused.as_deref().unwrap_or_default();
            Finding::not_seen(Subject::Stream, format!("sidestream takes no stream for now: {reason}"))
        }
        _ if stream.is_foreign => Finding::bad(
            Subject::Stream,
            "an event stream, but not one of sidestream's",
            "The application answers this path itself: the proxy does not send it to sidestream, or no [[stream]] has it.",
        )
        .by(Obstacle::NotRouted),
        _ if stream.end.is_some() => {
            Finding::bad(Subject::Stream, "the stream ended before its first event", "Pages reconnect for ever.")
        }
        _ => Finding::bad(
            Subject::Buffering,
            format!("the head came after {}, and nothing of the stream within {}", seconds(stream.head.took), seconds(stream.age())),
            BUFFERED,
        )
        .by(Obstacle::Buffering),
    }
}

fn stream_found(stream: &OpenedStream) -> Finding {
    let topics = stream.greeting.as_ref().map(|greeting| greeting.topics.join(", ")).unwrap_or_default();
    let topics = if topics.is_empty() { "no topics".to_owned() } else { format!("topics: {topics}") };
    Finding::good(Subject::Stream, format!("200 text/event-stream of sidestream, {topics}"))
}

/// Whose stream sidestream takes it for.
fn client_address(found: Result<Option<String>, crate::cli::error::Error>, local: IpAddr) -> Finding {
    let subject = Subject::ClientAddress;
    let address = match found {
        Ok(Some(text)) => text,
        Ok(None) => return Finding::not_seen(subject, "the daemon does not say which address it sees"),
        Err(why) => return Finding::not_seen(subject, chain(&why)),
    };
    let Ok(seen) = address.parse::<IpAddr>() else { return Finding::not_seen(subject, address) };
    if seen.is_loopback() && local.is_loopback() {
        return Finding::not_seen(
            subject,
            "everything is on this machine, so nobody can tell one address from another",
        );
    }
    if seen == local || !is_private(seen) {
        return Finding::good(subject, format!("sidestream counts this stream as {seen}'s"));
    }
    Finding::warn(
        subject,
        format!("sidestream counts this stream as {seen}'s; this machine's own address is {local}"),
        "If that is the proxy's address, all clients count as one (limits.streams_per_address), and the application sees \
         the proxy everywhere.",
    )
    .by(Obstacle::AddressHidden(address))
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
