//! The kinds of value that a configuration holds: sizes, secrets, the backend's address.
//!
//! Each is parsed from its text by one `FromStr`, whose error is the rest of a sentence: "… must be …".

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::Authority;

/// A number of bytes, written `"256MiB"`, `"64KiB"`, `"1MB"` or as a plain number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

/// Why a text is not a value of its kind: the rest of a sentence that begins with the key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(pub(super) &'static str);

impl FromStr for ByteSize {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim_start());
        let scale = match unit {
            "" => Some(1),
            _ => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|&(_, scale)| scale),
        };
        let bytes = scale.and_then(|scale| number.parse::<u64>().ok()?.checked_mul(scale));
        bytes.map(Self).ok_or(BadValue("must be a size such as \"64KiB\", \"1MB\" or a number of bytes"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |scale: u64| self.0 >= scale && self.0.is_multiple_of(scale);
        match UNITS.iter().find(|&&(_, scale)| scale > 1 && fits(scale)) {
            Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
            None => write!(f, "{}", self.0),
        }
    }
}

/// How much memory may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryBound {
    Off,
    /// Of what there is.
    Percent(u8),
    /// By the process.
    Bytes(ByteSize),
}

/// A value that no log, error or `Debug` output may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that compares or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where the application behind us listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Backend {
    /// `http://host:port`, or `https://` with TLS; an IPv6 address stands here without its brackets.
    Tcp { host: String, port: u16, tls: bool },
    /// `unix:/path/to.sock`
    Unix(PathBuf),
}

impl FromStr for Backend {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix);
        }
        let plain = text.strip_prefix("http://").map(|rest| (rest, false));
        let secure = text.strip_prefix("https://").map(|rest| (rest, true));
        let Some((rest, tls)) = plain.or(secure) else {
            return Err(BadValue("must be http://host:port, https://host:port or unix:/path/to.sock"));
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(BadValue("cannot have a path or a query: requests keep their own"));
        }
        if authority.contains('@') {
            return Err(BadValue("cannot have a user or a password: requests keep their own headers"));
        }
        let bad = BadValue("must be http://host:port, with a valid host and a port from 1 to 65535");
        let Ok(parsed) = authority.parse::<Authority>() else { return Err(bad) };
        let host = parsed.host();
        let port = match authority[host.len()..].strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|&port| port != 0),
            None => Some(if tls { 443 } else { 80 }),
        };
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match port {
            Some(port) if !host.is_empty() => Ok(Self::Tcp { host: host.to_owned(), port, tls }),
            _ => Err(bad),
        }
    }
}

/// The path of a Unix socket.
pub(super) fn socket_path(path: &str) -> Result<PathBuf, BadValue> {
    // One less than the system's smallest `sun_path` (macOS), whose last byte is a NUL.
    const MAX: usize = 103;
    if !path.starts_with('/') || path.contains('\0') {
        return Err(BadValue("must name its socket by an absolute path: unix:/path/to.sock"));
    }
    if path.len() > MAX {
        return Err(BadValue("is longer than the path of a Unix socket can be (103 bytes)"));
    }
    Ok(PathBuf::from(path))
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{scheme}://{open}{host}{close}:{port}")
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        for (text, bytes, shown) in [
            ("0", 0, "0"),
            ("1000", 1000, "1KB"),
            ("1025", 1025, "1025"),
            ("1025B", 1025, "1025"),
            ("64KiB", 64 << 10, "64KiB"),
            ("256 mib", 256 << 20, "256MiB"),
            ("1MB", 1_000_000, "1MB"),
            ("2TiB", 2 << 40, "2TiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "1 M", "1k", "16777216TiB", "99999999999999999999", "1MiB "] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_backend_is_an_http_origin_or_a_socket() {
        for (text, shown) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://app.internal/", "http://app.internal:80"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://app.internal", "https://app.internal:443"),
            ("https://[::1]:3000", "https://[::1]:3000"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ] {
            assert_eq!(text.parse::<Backend>().unwrap().to_string(), shown);
        }
        let v6 = Backend::Tcp { host: "::1".to_owned(), port: 3000, tls: false };
        assert_eq!("http://[::1]:3000".parse(), Ok(v6));
        let long = format!("unix:/{}", "x".repeat(103));
        for text in [
            "",
            "localhost:3000",
            "ftp://localhost",
            "http://",
            "http://:3000",
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "http://a b",
            "http://[::1",
            "http://::1:3000",
            "http://a/path",
            "http://a?x",
            "http://user:pw@a",
            "unix:run/app.sock",
            "unix:",
            &long,
        ] {
            assert!(text.parse::<Backend>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
