use rustls::pki_types::ServerName;

use super::*;

/// A certificate for `localhost` that vouches for itself, and its key.
fn made() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn identity<'a>(chain: &'a str, key: &'a str) -> Identity<'a> {
    Identity { chain: chain.as_bytes(), key: key.as_bytes() }
}

/// Both ends of one handshake, in memory.
fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Result<Option<Vec<u8>>, rustls::Error> {
    let mut client =
        rustls::ClientConnection::new(client, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut server = rustls::ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(client.alpn_protocol().map(<[u8]>::to_vec))
}

#[test]
fn a_client_that_trusts_the_authority_shakes_hands_and_agrees_on_a_protocol() {
    let (chain, key) = made();
    let server = server(identity(&chain, &key), &[b"h2", b"http/1.1"]).unwrap();
    let own = |alpn: &[&[u8]]| client(Trust::Only(chain.as_bytes()), None, alpn).unwrap();
    assert_eq!(
        handshake(own(&[b"http/1.1", b"h2"]), Arc::clone(&server)).unwrap().as_deref(),
        Some(&b"h2"[..])
    );
    assert_eq!(
        handshake(own(&[b"http/1.1"]), Arc::clone(&server)).unwrap().as_deref(),
        Some(&b"http/1.1"[..])
    );
    assert_eq!(handshake(own(&[]), server).unwrap(), None);
}

#[test]
fn a_client_that_does_not_trust_the_authority_refuses() {
    let (chain, key) = made();
    let (other, _) = made();
    let server = server(identity(&chain, &key), &[]).unwrap();
    let client = client(Trust::Only(other.as_bytes()), None, &[]).unwrap();
    assert!(matches!(handshake(client, server), Err(rustls::Error::InvalidCertificate(_))));
}

#[test]
fn one_text_may_hold_certificate_and_key_in_any_order() {
    let (chain, key) = made();
    for both in [format!("{chain}{key}"), format!("{key}{chain}")] {
        server(identity(&both, &both), &[]).unwrap();
    }
}

#[test]
fn a_client_takes_an_identity_of_its_own() {
    let (chain, key) = made();
    client(Trust::Only(chain.as_bytes()), Some(identity(&chain, &key)), &[]).unwrap();
    let (other, _) = made();
    let bad = client(Trust::Only(chain.as_bytes()), Some(identity(&other, &key)), &[]);
    assert!(matches!(bad, Err(BadTls::AnothersKey)), "{bad:?}");
}

#[test]
fn what_is_wrong_is_told_apart() {
    let (chain, key) = made();
    let (_, other) = made();
    let cut = &chain[..chain.len() / 2];
    let forged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let bad = |chain: &str, key: &str| server(identity(chain, key), &[]).unwrap_err();
    assert!(matches!(bad("", &key), BadTls::NoCertificate));
    assert!(matches!(bad(&key, &key), BadTls::NoCertificate));
    assert!(matches!(bad(cut, &key), BadTls::BadPem(_)));
    assert!(matches!(bad(forged, &key), BadTls::BadCertificate(_)));
    assert!(matches!(bad(&chain, &chain), BadTls::NoKey));
    assert!(matches!(bad(&chain, sealed), BadTls::NoKey));
    assert!(matches!(bad(&chain, no_key), BadTls::BadKey(_)));
    assert!(matches!(bad(&chain, &other), BadTls::AnothersKey));
}

#[test]
fn a_server_has_a_name_or_an_address() {
    for host in ["localhost", "redis.example.org", "127.0.0.1", "::1", "[::1]"] {
        server_name(host).unwrap();
    }
    assert_eq!(server_name("[::1]").unwrap(), server_name("::1").unwrap());
    for host in ["", "a b", "exam/ple"] {
        assert!(matches!(server_name(host), Err(BadTls::BadServerName(_))), "{host}");
    }
}
