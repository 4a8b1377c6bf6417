//! What a request is known by on its way through several programs: its id, and its place in a trace as [W3C Trace
//! Context](https://www.w3.org/TR/trace-context-2/) has it. Read strictly, because both come from outside; knows no
//! clock.

use std::fmt;

use data_encoding::HEXLOWER;
use http::header::{HeaderMap, HeaderName, HeaderValue};

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A place in a trace: the trace, and the span that is the parent of what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// The caller may have recorded the trace, and whoever is called should.
const SAMPLED: u8 = 1;
/// The trace's id is random, at least its last seven bytes.
const RANDOM: u8 = 2;

impl TraceContext {
    /// The beginning of a trace of its own. None without randomness of the system.
    pub fn root(sampled: bool) -> Option<Self> {
        let mut bytes = [0; 24];
        getrandom::fill(&mut bytes).ok()?;
        let (trace, span) = bytes.split_at(16);
        let flags = RANDOM | if sampled { SAMPLED } else { 0 };
        let context = Self { trace: trace.try_into().ok()?, span: span.try_into().ok()?, flags };
        context.is_sound().then_some(context)
    }

    /// A span below this one. None without randomness of the system.
    pub fn child(self) -> Option<Self> {
        let span = getrandom::u64().ok().filter(|span| *span != 0)?;
        Some(Self { span: span.to_be_bytes(), ..self })
    }

    /// What the text of a `traceparent` says, or nothing if it is not one to the letter.
    pub fn parse(text: &[u8]) -> Option<Self> {
        const LENGTH: usize = 55;
        let (version, rest) = (hex::<1>(text.get(..2)?)?[0], text.get(2..)?);
        // Later versions may add to the end; what stands before it stays.
        let fits = match version {
            0 => text.len() == LENGTH,
            0xff => false,
            _ => text.len() == LENGTH || text.get(LENGTH) == Some(&b'-'),
        };
        let dashes = [0, 33, 50].iter().all(|&at| rest.get(at) == Some(&b'-'));
        if !fits || !dashes {
            return None;
        }
        let (trace, span) = (hex(rest.get(1..33)?)?, hex(rest.get(34..50)?)?);
        // Others have no meaning yet, and are not passed on.
        let flags = hex::<1>(rest.get(51..53)?)?[0] & (SAMPLED | RANDOM);
        let context = Self { trace, span, flags };
        context.is_sound().then_some(context)
    }

    /// What a head says, where it says it once and to the letter.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(TRACEPARENT).iter();
        let first = fields.next()?;
        if fields.next().is_some() { None } else { Self::parse(first.as_bytes()) }
    }

    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same, recorded or not.
    pub fn sampled(self, is_sampled: bool) -> Self {
        Self { flags: self.flags & !SAMPLED | if is_sampled { SAMPLED } else { 0 }, ..self }
    }

    /// As they stand in the header.
    pub fn flags(self) -> u8 {
        self.flags
    }

    /// The last half of the trace's id, which is random at least in its last seven bytes.
    pub fn random_part(self) -> u64 {
        let mut half = [0; 8];
        half.copy_from_slice(&self.trace[8..]);
        u64::from_be_bytes(half)
    }

    pub fn trace_id(self) -> String {
        HEXLOWER.encode(&self.trace)
    }

    pub fn span_id(self) -> String {
        HEXLOWER.encode(&self.span)
    }

    /// As the value of the header.
    pub fn to_value(self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).expect("hexadecimal digits are a header value")
    }

    /// Ids of zeros stand for none.
    fn is_sound(&self) -> bool {
        self.trace != [0; 16] && self.span != [0; 8]
    }
}

/// As it stands in the header, in the version that everybody reads.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id(), self.span_id(), self.flags)
    }
}

/// Lower-case digits only, as the header has them.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    HEXLOWER.decode_mut(text, bytes.get_mut(..text.len() / 2)?).ok().filter(|&length| length == N)?;
    Some(bytes)
}

/// The most members of a `tracestate`, and how long it may be.
const MOST_MEMBERS: usize = 32;
const LONGEST_STATE: usize = 512;
/// Members that are longer go first.
const LONG_MEMBER: usize = 128;

/// What `tracestate` says, as one value of bounded length; nothing if it breaks the rules.
pub fn trace_state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut members: Vec<&str> = Vec::new();
    for line in headers.get_all(TRACESTATE) {
        let listed = line.to_str().ok()?.split(',').map(|member| member.trim_matches([' ', '\t']));
        for member in listed.filter(|member| !member.is_empty()) {
            let key = |member: &str| member.split('=').next().unwrap_or_default().to_owned();
            let twice = members.iter().any(|known| key(known) == key(member));
            if !is_member(member) || twice || members.len() == MOST_MEMBERS {
                return None;
            }
            members.push(member);
        }
    }
    let length =
        |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while length(&members) > LONGEST_STATE {
        let long = members.iter().rposition(|member| member.len() > LONG_MEMBER);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    if members.is_empty() { None } else { HeaderValue::try_from(members.join(",")).ok() }
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let further = |byte: u8| first(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    let key_is_sound = key.len() <= 256 && key.bytes().next().is_some_and(first) && key.bytes().all(further);
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    key_is_sound && (1..=256).contains(&value.len()) && value.bytes().all(plain)
}

/// What a request is known by.
#[derive(Clone, Default, Debug)]
pub struct RequestMarks {
    /// Letters, digits and a few signs.
    pub id: Option<HeaderValue>,
    pub trace: Option<TraceContext>,
}

impl RequestMarks {
    /// The id for a line of the log.
    pub fn id(&self) -> Option<&str> {
        self.id.as_ref()?.to_str().ok()
    }

    /// The trace's id for a line of the log.
    pub fn trace_id(&self) -> Option<String> {
        self.trace.map(TraceContext::trace_id)
    }
}

/// An id that no other request has: 128 random bits. None without randomness of the system.
pub fn random_request_id() -> Option<HeaderValue> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    HeaderValue::try_from(HEXLOWER.encode(&bytes)).ok()
}

/// Whether an id that somebody else has made may stand in logs and headers: 1 to 128 letters, digits and `-_.~:;/+=@`.
pub fn is_request_id(id: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~:;/+=@".contains(byte);
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_to_the_letter() {
        let context = TraceContext::parse(GOOD.as_bytes()).unwrap();
        assert_eq!((context.to_string().as_str(), context.is_sampled()), (GOOD, true));
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033311-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0F-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_later_version_and_flags_without_meaning_are_written_as_what_is_known_of_them() {
        for (text, known) in [
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", GOOD),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like", GOOD),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fd", GOOD),
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
            ),
        ] {
            assert_eq!(TraceContext::parse(text.as_bytes()).unwrap().to_string(), known, "{text}");
        }
    }

    #[test]
    fn a_head_that_says_it_twice_says_nothing() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceContext::of(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(TraceContext::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(TraceContext::of(&headers), None);
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let root = TraceContext::root(false).unwrap();
        let child = root.child().unwrap();
        assert_eq!((child.trace_id(), child.is_sampled()), (root.trace_id(), false));
        assert_ne!(child.span_id(), root.span_id());
        assert_eq!(TraceContext::parse(root.to_string().as_bytes()), Some(root));
        assert!(
            root.to_string().ends_with("-02")
                && TraceContext::root(true).unwrap().to_string().ends_with("-03")
        );
    }

    fn state(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(TRACESTATE, HeaderValue::from_str(line).unwrap());
        }
        trace_state(&headers).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_tracestate_goes_on_within_bounds_or_not_at_all() {
        assert_eq!(state(&[]), None);
        assert_eq!(
            state(&["rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"]).unwrap(),
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
        );
        assert_eq!(state(&["a=1", " ,\t,b@c=2 3"]).unwrap(), "a=1,b@c=2 3");
        for bad in [
            &["a"][..],
            &["a=1,a=2"],
            &["a=1", "a=2"],
            &["A=1"],
            &["a="],
            &["=1"],
            &["a=b=c"],
            &["a\u{fc}=1"],
        ] {
            assert_eq!(state(bad), None, "{bad:?}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=1")).collect();
        assert!(state(&[&many[..32].join(",")]).is_some());
        assert_eq!(state(&[&many.join(",")]), None);
        let (long, short) = ("x".repeat(200), "y".repeat(100));
        let lines = format!("a={short},b={long},c={short},d={long},e={short},f={short},g={short}");
        assert_eq!(state(&[&lines]).unwrap(), format!("a={short},c={short},e={short},f={short}"));
    }

    #[test]
    fn a_request_id_is_a_word_that_breaks_no_line() {
        for (id, is_one) in [
            ("7f3a", true),
            ("Root=1-67891233-abcdef012345678912345678;Self=1", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("a\tb", false),
            ("a,b", false),
        ] {
            assert_eq!(is_request_id(&HeaderValue::from_str(id).unwrap()), is_one, "{id}");
        }
        assert!(!is_request_id(&HeaderValue::from_str(&"a".repeat(129)).unwrap()));
        assert!(!is_request_id(&HeaderValue::from_bytes(b"\xfc").unwrap()));
        assert!(is_request_id(&random_request_id().unwrap()));
    }
}
