//! When a certificate ends, read from its DER: rustls checks others' certificates, never the day of our own.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::problem::Severity;
use crate::config::section_reader::SectionReader;

/// The time since 1970 until which the first certificate of a PEM file is good.
pub fn certificate_end(pem: &[u8]) -> Option<Duration> {
    ends(pem).next().flatten()
}

/// Warns of a certificate that has expired or soon will: the first of the file that the key `name` names. `whose`
/// begins the sentence.
pub(super) fn warn_of_expiry(s: &mut SectionReader<'_, '_>, name: &str, whose: &str, pem: &[u8]) {
    const SOON: u64 = 14;
    const DAY: u64 = 24 * 3600;
    let Some(end) = certificate_end(pem) else { return };
    let message = match end.checked_sub(now()).map(|left| left.as_secs() / DAY) {
        None => format!("{whose} has expired"),
        Some(0) => format!("{whose} expires today"),
        Some(days) if days < SOON => format!("{whose} expires in {days} days"),
        Some(_) => return,
    };
    s.warn(Severity::Warning, &[name], message, "renew it; a new file is taken up without a restart");
}

/// Warns of authorities that can vouch for nobody any more: all of the file that `ca_file`, or the like, names.
pub(super) fn warn_of_old_authorities(s: &mut SectionReader<'_, '_>, name: &str, pem: Option<&String>) {
    let Some(pem) = pem else { return };
    let now = now();
    if ends(pem.as_bytes()).all(|end| end.is_some_and(|end| end < now)) {
        let message = format!("all certificates of `{name}` have expired: nobody is believed");
        s.warn(Severity::Warning, &[name], message, "get the authority's new certificate");
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// When each certificate of a PEM file ends, where that can be read.
fn ends(pem: &[u8]) -> impl Iterator<Item = Option<Duration>> {
    CertificateDer::pem_slice_iter(pem).map(|certificate| Some(certificate_times(&certificate.ok()?)?.1))
}

/// The times since 1970 from which and until which a certificate is good.
pub fn certificate_times(der: &CertificateDer<'_>) -> Option<(Duration, Duration)> {
    let (_, certificate, _) = element(der)?;
    let (_, mut fields, _) = element(certificate)?;
    // An explicit version may stand first; then serial number, algorithm, issuer, validity.
    if element(fields)?.0 == 0xa0 {
        fields = element(fields)?.2;
    }
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (_, validity, _) = element(fields)?;
    let (begin_tag, begin, validity) = element(validity)?;
    let (end_tag, end, _) = element(validity)?;
    Some((time(begin_tag, begin)?, time(end_tag, end)?))
}

/// Tag, content and what follows of the first element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDhhmmssZ` (UTCTime, from 1950 on) or `YYYYMMDDhhmmssZ`.
fn time(tag: u8, text: &[u8]) -> Option<Duration> {
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year_digits = match (tag, text.len()) {
        (0x17, 12) => 2,
        (0x18, 14) => 4,
        _ => return None,
    };
    let year: u64 = text[..year_digits].parse().ok()?;
    let year = if year_digits == 4 { year } else { year + if year < 50 { 2000 } else { 1900 } };
    let part = |at: usize| text[year_digits + at..year_digits + at + 2].parse::<u64>().ok();
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Some(Duration::ZERO);
    }
    // Days by the proleptic Gregorian calendar, its years counted from March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let since_1970 = days - 719_468;
    Some(Duration::from_secs(since_1970 * 86_400 + hour * 3600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_time_are_understood() {
        let seconds = |tag, text: &[u8]| time(tag, text).map(|time| time.as_secs());
        assert_eq!(seconds(0x17, b"700101000000Z"), Some(0));
        assert_eq!(seconds(0x17, b"261130071241Z"), Some(1_796_022_761));
        assert_eq!(seconds(0x18, b"20240229235959Z"), Some(1_709_251_199));
        assert_eq!(seconds(0x18, b"20500101000000Z"), Some(2_524_608_000));
        for odd in [&b""[..], b"2611300712Z", b"261130071241", b"26113007124xZ"] {
            assert_eq!(seconds(0x17, odd), None);
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_found() {
        let pem = include_bytes!("../../../tests/config/valid/certificates/localhost.crt");
        assert_eq!(certificate_end(pem).map(|end| end.as_secs()), Some(2_110_625_788));
        assert_eq!(certificate_end(b"no certificate"), None);
        for cut in 0..8 {
            let _ = element(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0, 0][..cut]);
        }
    }
}
