//! Both sides of a handshake with each other, over a pipe.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::test_certificates::{Authority, Certified, Kind};
use super::*;

fn identity(certified: &Certified) -> Identity {
    let chain = certificates(certified.certificate.as_bytes()).unwrap();
    (chain, private_key(certified.key.as_bytes()).unwrap())
}

fn server(certified: &Certified, clients: Option<&Authority>) -> ServerTls {
    ServerTls::new(identity(certified), clients.map(|it| roots(it.pem.as_bytes()).unwrap())).unwrap()
}

fn client(trusts: &Authority, name: &str, shows: Option<&Certified>) -> ClientTls {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    ClientTls::new(roots(trusts.pem.as_bytes()).unwrap(), name, shows.map(identity)).unwrap()
}

/// A word from the server to the client; why the client refused, or was refused.
async fn said(server: &ServerTls, client: &ClientTls) -> Result<(), Option<Refused>> {
    let (near, far) = duplex(1 << 16);
    let refused = Arc::default();
    let speak = async {
        let mut io = server.accept(far).await.map_err(|(error, _)| error)?;
        assert_eq!(io.get_ref().1.alpn_protocol(), Some(HTTP_2));
        io.write_all(b"word").await?;
        io.flush().await
    };
    let listen = async {
        let mut io = client.connect(near, &refused).await?;
        let mut word = [0; 4];
        io.read_exact(&mut word).await.map(drop)
    };
    let (_, heard): (io::Result<()>, _) = tokio::join!(speak, listen);
    heard.map_err(|_| refused.get().copied())
}

#[tokio::test]
async fn a_client_takes_only_a_certificate_of_its_authority_for_its_name_and_in_its_time() {
    let (ours, other) = (Authority::new(), Authority::new());
    let names = ["host.test", "127.0.0.1"];
    let good = server(&ours.certify(&names), None);
    assert_eq!(said(&good, &client(&ours, "host.test", None)).await, Ok(()));
    assert_eq!(said(&good, &client(&ours, "127.0.0.1", None)).await, Ok(()));
    assert_eq!(said(&good, &client(&ours, "other.test", None)).await, Err(Some(Refused::OtherName)));
    let unknown = Refused::Certificate("certificate is of no authority that is trusted here");
    assert_eq!(said(&good, &client(&other, "host.test", None)).await, Err(Some(unknown)));
    let expired = server(&ours.certify_expired(&names), None);
    let over = Refused::Certificate("certificate has expired");
    assert_eq!(said(&expired, &client(&ours, "host.test", None)).await, Err(Some(over)));
    // One that has signed itself vouches for itself.
    let alone = Authority::alone("host.test");
    let mut itself = Authority::new();
    itself.pem.clone_from(&alone.certificate);
    assert_eq!(said(&server(&alone, None), &client(&itself, "host.test", None)).await, Ok(()));
    // What the doctor says of them.
    for (kind, words) in
        [(Kind::Authority, "certificate cannot be used"), (Kind::Client, "certificate is not for this purpose")]
    {
        let unfit = server(&ours.certify_for(kind, &names), None);
        let refused = Refused::Certificate(words);
        assert_eq!(said(&unfit, &client(&ours, "host.test", None)).await, Err(Some(refused)));
    }
}

#[tokio::test]
async fn a_server_that_asks_for_certificates_takes_only_those_of_its_authority() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let server = server(&ours.certify(&["host.test"]), Some(&clients));
    let shown =
        async |certified: Option<Certified>| said(&server, &client(&ours, "host.test", certified.as_ref())).await;
    assert_eq!(shown(Some(clients.certify(&["plane.test"]))).await, Ok(()));
    let asked = Refused::Asked;
    assert_eq!(shown(None).await, Err(Some(asked)));
    let refused = Refused::Ours;
    for certified in [ours.certify(&["plane.test"]), clients.certify_expired(&["plane.test"])] {
        assert_eq!(shown(Some(certified)).await, Err(Some(refused)));
    }
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_told_as_that() {
    let ours = Authority::new();
    let (near, mut far) = duplex(1 << 16);
    let refused = Arc::default();
    // What a server of HTTP/2 in clear begins with.
    far.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
    assert!(client(&ours, "host.test", None).connect(near, &refused).await.is_err());
    assert_eq!(refused.get(), Some(&Refused::InClear));
    assert_eq!(Refused::OtherName.told("host.test"), "certificate is not valid for host.test");
}

#[tokio::test]
async fn a_server_of_tls_that_is_spoken_to_in_clear_is_told_as_that() {
    let server = server(&Authority::new().certify(&["host.test"]), None);
    for (answers_in_clear, found) in [(true, None), (false, Some(Refused::Secured))] {
        let (near, mut far) = duplex(1 << 16);
        let refused = Arc::default();
        let mut near = Plain::new(near, &refused);
        near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        if answers_in_clear {
            // Only what comes first tells: later on it may be anything.
            far.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
            near.read_exact(&mut [0; 9]).await.unwrap();
            far.write_all(&[0x15, 0x03]).await.unwrap();
            drop(far);
        } else {
            assert!(server.accept(far).await.is_err());
        }
        // However little comes at once.
        while near.read(&mut [0; 1]).await.is_ok_and(|read| read > 0) {}
        assert_eq!(refused.get().copied(), found);
    }
}

#[test]
fn what_is_no_pem_or_lacks_what_it_should_have_is_told_without_its_words() {
    let certified = Authority::new().certify(&["host.test"]);
    let broken = certified.key.replace("-----BEGIN PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----\n%%s3cret%%\n");
    assert_eq!(certificates(b"").unwrap_err(), BadPem::NoCertificate);
    assert_eq!(certificates(certified.key.as_bytes()).unwrap_err(), BadPem::NoCertificate);
    assert_eq!(private_key(certified.certificate.as_bytes()).unwrap_err(), BadPem::NoKey);
    assert_eq!(private_key(broken.as_bytes()).unwrap_err(), BadPem::Form);
    assert_eq!(private_key(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").unwrap_err(), BadPem::Form);
    let nothing = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(roots(nothing.as_bytes()).unwrap_err(), BadPem::Certificate);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ours = Authority::new();
    let (one, other) = (ours.certify(&["host.test"]), ours.certify(&["host.test"]));
    let mixed = Certified { certificate: one.certificate, key: other.key };
    assert!(matches!(ServerTls::new(identity(&mixed), None), Err(rustls::Error::InconsistentKeys(_))));
}
