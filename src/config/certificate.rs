//! The certificate of a listener and its key: two PEM files, given both or not at all, and tried while reading.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::config::reader::Place;
use crate::config::section::{Section, subject};
use crate::config::sections::Tls;
use crate::net::tls;
use crate::net::tls::{Identity, Part};

const CERTIFICATE: &str = "tls_certificate";
const KEY: &str = "tls_key";

/// A file is read up to here.
const MAX: u64 = 1 << 20;

impl Tls {
    /// The files' contents: the certificates, then the key. An error comes with the file that it is about.
    pub fn texts(&self) -> Result<(Vec<u8>, Vec<u8>), (PathBuf, io::Error)> {
        let read = |path: &Path| read(path).map_err(|why| (path.to_owned(), why));
        Ok((read(&self.certificate)?, read(&self.key)?))
    }

    pub(super) fn read(s: &mut Section<'_, '_>) -> Option<Self> {
        let (certificate, key) = (s.pem(CERTIFICATE), s.pem(KEY));
        let (certificate, key) = match (certificate, key) {
            (None, None) => return None,
            (Some(certificate), Some(key)) => (certificate, key),
            (lone, _) => {
                let (there, lacks) = if lone.is_some() { (CERTIFICATE, KEY) } else { (KEY, CERTIFICATE) };
                let message = format!("`{there}` is given without `{lacks}`");
                s.complain(&[there, lacks], message, Some("TLS needs both, or neither".to_owned()));
                return None;
            }
        };
        if let Err(bad) = tls::server(Identity { chain: &certificate.text, key: &key.text }, &[]) {
            let (name, file) = match bad.part() {
                Part::Key => (KEY, key),
                Part::Certificate | Part::Other => (CERTIFICATE, certificate),
            };
            let subject = subject(name, &file.place);
            s.judge::<()>(name, &subject, file.place, Err(format!("names a file that {bad}").into()));
            return None;
        }
        Some(Self { certificate: certificate.path, key: key.path })
    }
}

/// A file that a key names.
struct Pem {
    path: PathBuf,
    text: Vec<u8>,
    place: Place,
}

impl Section<'_, '_> {
    fn pem(&mut self, key: &'static str) -> Option<Pem> {
        let (raw, place) = self.find(key, false)?;
        let found = raw.text("the path of a file").and_then(|name| {
            let path = match place {
                Place::File(_) => self.reader.folder.join(name),
                _ => Path::new(name).to_owned(),
            };
            match read(&path) {
                Ok(text) => Ok(Pem { path, text, place: place.clone() }),
                Err(why) => Err(format!("names a file that cannot be read: {why}").into()),
            }
        });
        let subject = subject(key, &place);
        self.judge(key, &subject, place, found)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1MiB"));
    }
    Ok(bytes)
}
