//! Certificates and keys: what is refused, and where they open what is closed without.

use super::*;
use crate::tls::test_certificates::Authority;

impl Files {
    /// The same with an authority, a certificate of it with its key, and what is not quite as it should be.
    fn with_certificates(config: &str) -> Self {
        let (files, authority) = (Self::new(config), Authority::new());
        let (ours, other) = (authority.certify(&["host.test"]), authority.certify(&["host.test"]));
        files
            .put("ca.pem", &authority.pem, 0o644)
            .put("c.pem", &ours.certificate, 0o644)
            .put("k.pem", &ours.key, 0o600)
            .put("open.pem", &ours.key, 0o640)
            .put("other.pem", &other.key, 0o600);
        files
    }
}

#[test]
fn certificates_that_cannot_be_used_are_refused_by_field_and_file() {
    let pair = "tls_cert = 'c.pem'\ntls_key = 'k.pem'\n";
    let remote = "[[remote_runtimes]]\nruntime_id = 'a'\nendpoint = 'https://10.0.0.1:1'\n";
    let at = "remote_runtimes[0]";
    for (config, error) in [
        ("tls_cert = 'c.pem'", "w.toml:1: tls_cert: needs tls_key beside it".to_owned()),
        ("tls_key = 'k.pem'", "w.toml:1: tls_key: needs tls_cert beside it".to_owned()),
        ("tls_client_ca = 'ca.pem'", "w.toml:1: tls_client_ca: needs tls_cert and tls_key".to_owned()),
        (&pair.replace("c.pem", "absent"), "w.toml:1: tls_cert: absent cannot be read".to_owned()),
        (&pair.replace("c.pem", "empty"), "w.toml:1: tls_cert: empty has no certificate in it".to_owned()),
        (&pair.replace("k.pem", "open.pem"), "w.toml:2: tls_key: open.pem is open to others than its owner".to_owned()),
        (&pair.replace("k.pem", "tokens"), "w.toml:2: tls_key: tokens has no private key".to_owned()),
        (&pair.replace("k.pem", "other.pem"), "w.toml:2: tls_key: other.pem is not the key of c.pem".to_owned()),
        (&format!("{pair}tls_client_ca = 'tokens'"), "w.toml:3: tls_client_ca: tokens has no certificate".to_owned()),
        (&format!("{pair}listen = '0.0.0.0:1'"), "w.toml:3: listen: only loopback".to_owned()),
        (&format!("{remote}client_cert = 'c.pem'"), format!("w.toml:4: {at}.client_cert: needs client_key")),
        (&format!("{remote}client_key = 'k.pem'"), format!("w.toml:4: {at}.client_key: needs client_cert")),
        (&format!("{remote}ca_file = 'absent'"), format!("w.toml:4: {at}.ca_file: absent cannot be read")),
        (&format!("{remote}ca_file = 'k.pem'"), format!("w.toml:4: {at}.ca_file: k.pem has no certificate in it")),
        (&format!("{remote}server_name = 'a b'"), format!("w.toml:4: {at}.server_name: must be a DNS name or an IP")),
        (
            &format!("{remote}ca_file = 'ca.pem'\nclient_cert = 'c.pem'\nclient_key = 'other.pem'"),
            format!("w.toml:6: {at}.client_key: other.pem is not the key of c.pem"),
        ),
    ] {
        let refused = Files::with_certificates(config).serve().map(|_| ()).unwrap_err();
        assert!(refused.starts_with(&error), "{config}\n  {refused}\n  {error}");
        assert!(!refused.contains('\n') && !refused.contains("PRIVATE"), "{refused}");
    }
}

#[test]
fn over_tls_tokens_may_cross_a_network() {
    let server = "listen = '0.0.0.0:1'\ntoken_file = 'tokens'\ntls_cert = 'c.pem'\ntls_key = 'k.pem'\ntls_client_ca = 'ca.pem'\n";
    let remote = "[[remote_runtimes]]\nruntime_id = 'a'\nendpoint = 'https://10.0.0.1:1'\nca_file = 'ca.pem'\ntoken_file = 'tokens'\n\
                  server_name = 'host.test'\nclient_cert = 'c.pem'\nclient_key = 'k.pem'\n";
    let files = Files::with_certificates(&format!("{server}{remote}"));
    let config = files.serve().unwrap();
    let (tls, _) = config.server.tls.unwrap();
    assert_eq!(tls.paths().collect::<Vec<_>>(), [&files.path("c.pem"), &files.path("k.pem"), &files.path("ca.pem")]);
    let [remote] = &config.remotes[..] else { panic!("one remote runtime") };
    assert_eq!(remote.tls.as_ref().unwrap().name(), "host.test");
    assert_eq!(remote.files.paths().count(), 4);
    // The endpoint's own host is the name where none is said.
    let config = Files::with_certificates(
        "[[remote_runtimes]]\nruntime_id = 'a'\nendpoint = 'https://[::1]:1'\nca_file = 'ca.pem'\n",
    );
    assert_eq!(config.serve().unwrap().remotes[0].tls.as_ref().unwrap().name(), "::1");
}

#[test]
fn that_tls_comes_or_goes_waits_for_a_restart() {
    let started = Fixed::from(&Files::new("").runtime().unwrap());
    let later = Files::with_certificates("tls_cert = 'c.pem'\ntls_key = 'k.pem'\n").runtime().unwrap();
    assert_eq!(started.changed(&Fixed::from(&later)), ["tls_cert"]);
}
