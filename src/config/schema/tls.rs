//! The certificate of a listener and its key: two PEM files, given both or not at all, and tried while reading; and who
//! vouches for clients.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::config::key_spec::KeySpec;
use crate::config::location::Location;
use crate::config::parsers::{pem, short_text};
use crate::config::reader::KeyKind;
use crate::config::schema::expiry::warn_of_expiry;
use crate::config::schema::table::key;
use crate::config::section_reader::{SectionReader, subject};
use crate::config::values::Secret;
use crate::net::tls;
use crate::net::tls::{Identity, IdentityPart, Trust};

const CERTIFICATE: &str = "tls_certificate";
const KEY: &str = "tls_key";
const CLIENTS: &str = "tls_client_ca";

/// A file is read up to here.
const MAX: u64 = 1 << 20;

/// `tls_certificate`, `tls_key` and `tls_client_ca` of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// PEM: the server's certificate, and after it those that vouch for it.
    pub certificate: PathBuf,
    /// PEM: the private key of the first certificate.
    pub key: PathBuf,
    /// PEM: the authorities of clients, who have to show a certificate then.
    pub client_ca: Option<PathBuf>,
}

/// The contents of its files.
#[derive(PartialEq, Eq)]
pub struct TlsTexts {
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
    pub client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// The files' contents. An error comes with the file that it is about.
    pub fn texts(&self) -> Result<TlsTexts, (PathBuf, io::Error)> {
        let read = |path: &PathBuf| read(path).map_err(|why| (path.clone(), why));
        let client_ca = self.client_ca.as_ref().map(read).transpose()?;
        Ok(TlsTexts { chain: read(&self.certificate)?, key: read(&self.key)?, client_ca })
    }

    /// That of the internal listener, for which clients may have to show one as well.
    pub(in crate::config) fn read_internal(s: &mut SectionReader<'_, '_>) -> Option<Self> {
        let about = "TLS: a file (PEM) of the certificate with those that vouch for it. Over TCP the \
            listener then takes TLS only (HTTP/1.1). Renewed files are taken up as those of `public.tls_certificate`.";
        let files = Self::of(s, about);
        let about = "A file (PEM) of the authorities that vouch for clients: who shows no certificate of theirs gets no \
            answer. Keys are needed all the same.";
        let client_ca = s.pem(key!(CLIENTS, "certificates/clients.pem", about));
        let Some(client_ca) = client_ca else { return files };
        let Some(files) = files else {
            let lacks = "without a certificate of its own the listener cannot ask for one";
            s.report(
                &[CLIENTS, CERTIFICATE],
                format!("`{CLIENTS}` is given without `{CERTIFICATE}`: {lacks}"),
                None,
            );
            return None;
        };
        if let Err(bad) = tls::client(Trust::Only(&client_ca.text), None, &[]) {
            let subject = subject(CLIENTS, &client_ca.place);
            s.judge::<()>(CLIENTS, &subject, client_ca.place, Err(format!("names a file that {bad}").into()));
            return Some(files);
        }
        warn_of_expiry(s, CLIENTS, "the authority of clients", &client_ca.text);
        Some(Self { client_ca: Some(client_ca.path), ..files })
    }

    pub(in crate::config) fn read(s: &mut SectionReader<'_, '_>) -> Option<Self> {
        let about = "TLS, where no proxy in front does it: a file (PEM) of the certificate with those that vouch for it. \
            With it the listener takes TLS only (HTTP/2 and HTTP/1.1). Renewed files are taken up within seconds, at once \
            on SIGHUP. A relative path is meant from the folder of this file.";
        Self::of(s, about)
    }

    fn of(s: &mut SectionReader<'_, '_>, about: &'static str) -> Option<Self> {
        let certificate = s.pem(key!(CERTIFICATE, "certificates/fullchain.pem", about));
        let about = "The file (PEM) of that certificate's key.";
        let key = s.pem(key!(KEY, "certificates/privkey.pem", about));
        let (certificate, key) = match (certificate, key) {
            (None, None) => return None,
            (Some(certificate), Some(key)) => (certificate, key),
            (lone, _) => {
                let (there, lacks) = if lone.is_some() { (CERTIFICATE, KEY) } else { (KEY, CERTIFICATE) };
                let message = format!("`{there}` is given without `{lacks}`");
                s.report(&[there, lacks], message, Some("TLS needs both, or neither".to_owned()));
                return None;
            }
        };
        if let Err(bad) = tls::server(Identity { chain: &certificate.text, key: &key.text }, None, &[]) {
            let (name, file) = match bad.part() {
                IdentityPart::Key => (KEY, key),
                _ => (CERTIFICATE, certificate),
            };
            let subject = subject(name, &file.place);
            s.judge::<()>(name, &subject, file.place, Err(format!("names a file that {bad}").into()));
            return None;
        }
        warn_of_expiry(s, CERTIFICATE, "the certificate", &certificate.text);
        Some(Self { certificate: certificate.path, key: key.path, client_ca: None })
    }
}

/// A certificate of our own and its key, for a server that asks for one: two files, both or neither, tried while
/// reading.
pub(in crate::config) fn client_identity(
    s: &mut SectionReader<'_, '_>,
    certificate: KeySpec,
    key: KeySpec,
) -> Option<(Secret, Secret)> {
    let names = [certificate.name, key.name];
    let (certificate, key) = match (s.file(certificate, pem), s.file(key, pem)) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return None,
        _ => {
            let message = format!("`{}` and `{}` are given together or not at all", names[0], names[1]);
            s.report(&names, message, None);
            return None;
        }
    };
    let own = Identity { chain: certificate.expose().as_bytes(), key: key.expose().as_bytes() };
    if let Err(bad) = tls::client(Trust::Only(own.chain), Some(own), &[]) {
        let name = if bad.part() == IdentityPart::Key { names[1] } else { names[0] };
        s.report(&[name], format!("the file of `{name}` {bad}"), None);
    }
    warn_of_expiry(s, names[0], &format!("the certificate of `{}`", names[0]), own.chain);
    Some((certificate, key))
}

/// A file that a key names.
struct Pem {
    path: PathBuf,
    text: Vec<u8>,
    place: Location,
}

impl SectionReader<'_, '_> {
    fn pem(&mut self, key: KeySpec) -> Option<Pem> {
        self.document(key, KeyKind::File, &short_text);
        let (raw, place) = self.find(key.name, false)?;
        let found = self.path(&raw, &place).and_then(|path| match read(&path) {
            Ok(text) => Ok(Pem { path, text, place: place.clone() }),
            Err(why) => Err(format!("names a file that cannot be read: {why}").into()),
        });
        let subject = subject(key.name, &place);
        self.judge(key.name, &subject, place, found)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1MiB"));
    }
    // Some editors begin a file with a byte order mark.
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(bytes)
}
