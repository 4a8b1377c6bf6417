//! The kinds of value that a configuration holds: sizes, secrets, the backend's address.

use std::fmt;
use std::path::PathBuf;

/// A number of bytes, written `"256MiB"`, `"64KiB"` or as a plain number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(pub u64);

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
    /// `http://host:port`
    Tcp { host: String, port: u16 },
    /// `unix:/path/to.sock`
    Unix(PathBuf),
}
