//! TLS for everything that listens or connects: rustls configurations made of PEM texts.
//!
//! The cryptography is aws-lc-rs, handed over explicitly: nothing here reads or sets a process-wide default. Only TLS
//! 1.2 and 1.3 are spoken. This file must not know what a configuration is for, nor where its texts were stored.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, aws_lc_rs as provider_of, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, ServerConfig, SignatureScheme,
};

/// Which servers a client trusts.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// The system's authorities; those of `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set.
    System,
    /// The system's authorities and the ones in this PEM text.
    SystemAnd(&'a [u8]),
    /// The ones in this PEM text alone.
    Only(&'a [u8]),
    /// Nobody but who holds one of these keys: each the SHA-256 of a SubjectPublicKeyInfo.
    Keys(&'a [[u8; 32]]),
    /// Every server, whatever its certificate says. For a look by hand, never for the daemon.
    Anyone,
}

/// Who one is: PEM texts of a certificate with what signed it, and of the key. One text may hold both.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    pub chain: &'a [u8],
    pub key: &'a [u8],
}

/// Why there is no TLS with what was given. The sentences hold nothing of a key.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    #[error("holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    #[error("holds no private key in PEM form (PKCS#8, PKCS#1 or SEC1, without a passphrase)")]
    NoKey,
    #[error("holds a certificate that is not sound PEM: {0}")]
    BadPem(&'static str),
    #[error("holds a private key that is not sound PEM: {0}")]
    BadKeyPem(&'static str),
    #[error("holds a certificate that cannot be used: {0}")]
    BadCertificate(rustls::Error),
    #[error("holds a private key that cannot be used: {0}")]
    BadKey(rustls::Error),
    #[error("holds a private key that is not the one of the first certificate")]
    AnothersKey,
    #[error("the system has no trusted authorities: {0}")]
    NoAuthorities(String),
    /// Of those who vouch for clients.
    #[error("{0}")]
    BadClientAuthorities(Box<Self>),
    #[error("is neither a host name nor an address")]
    BadServerName(#[from] InvalidDnsNameError),
}

/// Which part of the operator's files a [`BadTls`] is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdentityPart {
    Certificate,
    Key,
    /// Who vouches for clients.
    ClientAuthorities,
    Other,
}

impl BadTls {
    pub fn part(&self) -> IdentityPart {
        match self {
            Self::NoCertificate | Self::BadPem(_) | Self::BadCertificate(_) => IdentityPart::Certificate,
            Self::NoKey | Self::BadKeyPem(_) | Self::BadKey(_) | Self::AnothersKey => IdentityPart::Key,
            Self::BadClientAuthorities(_) => IdentityPart::ClientAuthorities,
            Self::NoAuthorities(_) | Self::BadServerName(_) => IdentityPart::Other,
        }
    }
}

/// What a listener answers handshakes with. `alpn` names its protocols, the preferred one first.
///
/// With `clients`, a PEM text, a client has to show a certificate that one of these authorities vouches for.
///
/// A client that comes back resumes by a ticket that it holds itself, so sessions cost this side no memory.
pub fn server(
    identity: Identity<'_>,
    clients: Option<&[u8]>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, BadTls> {
    let provider = provider();
    let (chain, key) = parse(identity, &provider)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks the default versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(text) => {
            let refused = |why: BadTls| BadTls::BadClientAuthorities(Box::new(why));
            let store = Arc::new(authorities(Trust::Only(text)).map_err(refused)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(store, provider)
                .build()
                .map_err(|bad| refused(BadTls::NoAuthorities(bad.to_string())))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(sorted)?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // Without one, sessions would be kept here, and lost after a few hundred.
    config.ticketer = provider_of::Ticketer::new().map_err(BadTls::BadKey)?;
    Ok(Arc::new(config))
}

/// What a client opens handshakes with; `identity` is for servers that ask for a certificate.
///
/// Reads the system's authorities from disk where `trust` names them: call it once and share what it gives.
pub fn client(
    trust: Trust<'_>,
    identity: Option<Identity<'_>>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, BadTls> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks the default versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier(trust, &provider)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = parse(identity, &provider)?;
            builder.with_client_auth_cert(chain, key).map_err(sorted)?
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The name that a server's certificate must have: a host name or an address, IPv6 with or without its brackets.
pub fn server_name(host: &str) -> Result<ServerName<'static>, BadTls> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    Ok(ServerName::try_from(bare.to_owned())?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(provider_of::default_provider())
}

fn parse(
    identity: Identity<'_>,
    provider: &CryptoProvider,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), BadTls> {
    let chain = certificates(identity.chain)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key).map_err(|bad| match bad {
        pem::Error::NoItemsFound => BadTls::NoKey,
        bad => BadTls::BadKeyPem(wrong_with(&bad)),
    })?;
    // Tried alone first, so that an error tells which of the two it is about.
    provider.key_provider.load_private_key(key.clone_key()).map_err(BadTls::BadKey)?;
    Ok((chain, key))
}

fn sorted(error: rustls::Error) -> BadTls {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => BadTls::AnothersKey,
        other => BadTls::BadCertificate(other),
    }
}

/// In words of ours: its own may hold the line that it could not read.
fn wrong_with(pem: &pem::Error) -> &'static str {
    match pem {
        pem::Error::MissingSectionEnd { .. } => "a BEGIN line has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is broken off",
        pem::Error::Base64Decode(_) => "what stands between its BEGIN and END lines is not base64",
        _ => "it cannot be read",
    }
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|bad| BadTls::BadPem(wrong_with(&bad)))?;
    if certificates.is_empty() { Err(BadTls::NoCertificate) } else { Ok(certificates) }
}

/// Believes a server for its certificate, if it holds that one's key.
#[derive(Debug)]
struct ServerTrust {
    trusted: Trusted,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Trusted {
    Anyone,
    /// A certificate of one of these keys, whatever it says beside: each the SHA-256 of a SubjectPublicKeyInfo.
    Keys(Vec<[u8; 32]>),
    /// One of the operator's own, to the letter and whatever name it has; otherwise one that an authority vouches for.
    OwnOrSigned {
        own: Vec<CertificateDer<'static>>,
        signed: Arc<WebPkiServerVerifier>,
    },
}

fn verifier(trust: Trust<'_>, provider: &Arc<CryptoProvider>) -> Result<Arc<ServerTrust>, BadTls> {
    let own = match trust {
        Trust::Keys(_) | Trust::System | Trust::Anyone => Vec::new(),
        Trust::SystemAnd(text) | Trust::Only(text) => certificates(text)?,
    };
    let trusted = match trust {
        Trust::Anyone => Trusted::Anyone,
        Trust::Keys(keys) => Trusted::Keys(keys.to_vec()),
        Trust::System | Trust::SystemAnd(_) | Trust::Only(_) => {
            let store = Arc::new(authorities(trust)?);
            let signed = WebPkiServerVerifier::builder_with_provider(store, Arc::clone(provider))
                .build()
                .map_err(|bad| BadTls::NoAuthorities(bad.to_string()))?;
            Trusted::OwnOrSigned { own, signed }
        }
    };
    Ok(Arc::new(ServerTrust { trusted, provider: Arc::clone(provider) }))
}

impl ServerCertVerifier for ServerTrust {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trusted {
            Trusted::Anyone => {}
            Trusted::Keys(keys) => {
                let key = ParsedCertificate::try_from(server)?.subject_public_key_info();
                let hash = digest(&SHA256, &key);
                if !keys.iter().any(|pinned| pinned == hash.as_ref()) {
                    let found = BASE64.encode(hash);
                    let error = format!("the server's key is not pinned: it is sha256//{found}");
                    return Err(rustls::Error::General(error));
                }
            }
            Trusted::OwnOrSigned { own, signed } => {
                if !own.iter().any(|own| own.as_ref() == server.as_ref()) {
                    return signed.verify_server_cert(server, intermediates, name, ocsp, now);
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    // That it holds the certificate's key is always asked.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, server, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, server, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn authorities(trust: Trust<'_>) -> Result<RootCertStore, BadTls> {
    let mut store = RootCertStore::empty();
    if let Trust::System | Trust::SystemAnd(_) = trust {
        let found = rustls_native_certs::load_native_certs();
        // A system's store may well hold one that nothing can read any more.
        store.add_parsable_certificates(found.certs);
        if store.is_empty() && matches!(trust, Trust::System) {
            let why = found.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
            return Err(BadTls::NoAuthorities(why));
        }
    }
    if let Trust::SystemAnd(text) | Trust::Only(text) = trust {
        for certificate in certificates(text)? {
            store.add(certificate).map_err(BadTls::BadCertificate)?;
        }
    }
    Ok(store)
}
